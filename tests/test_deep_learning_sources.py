from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import replace
import functools
import hashlib
from http.server import BaseHTTPRequestHandler
from http.server import HTTPServer
import io
import json
from pathlib import Path
import tarfile
import threading
import wave

import numpy as np
from PIL import Image
import pytest
import torch

from benchmarks.deep_learning.sources import ag_news
from benchmarks.deep_learning.sources import blood_cells
from benchmarks.deep_learning.sources import boxes
from benchmarks.deep_learning.sources import instruments
from benchmarks.deep_learning.sources import membranes
from benchmarks.deep_learning.sources import mnist
from benchmarks.deep_learning.sources import raccoons
from benchmarks.deep_learning.sources import scenes
from benchmarks.deep_learning.sources import speech
from benchmarks.deep_learning.sources.archives import DATA_VARIABLE
from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import DataError
from benchmarks.deep_learning.sources.archives import is_offline
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.log_mel import HOP
from benchmarks.deep_learning.sources.log_mel import N_BANDS
from benchmarks.deep_learning.sources.log_mel import log_mel
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import standardised
from benchmarks.deep_learning.sources.splits import stratified_cuts
from benchmarks.deep_learning.sources.words import MAX_WORDS
from benchmarks.deep_learning.sources.words import UNKNOWN


FILES = {"data/one.txt": b"1", "data/two.txt": b"22", "other.txt": b"no"}
NOWHERE = "http://127.0.0.1:9"


def digest_of(files: Mapping[str, bytes]) -> str:
    lines = [f"{hashlib.sha256(b).hexdigest()}  {path}\n" for path, b in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def packed(files: Mapping[str, bytes], folder: str = "repository-123/") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(folder + path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = Archive(
    name="tiny",
    repository="owner/tiny",
    commit="123",
    files=r"data/.*\.txt",
    digest=digest_of({path: FILES[path] for path in ("data/one.txt", "data/two.txt")}),
    licence="none",
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv(DATA_VARIABLE, str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def host() -> Iterator[str]:
    """A server that has the archive at its commit, and a broken one at another."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = packed(FILES)
            if self.path == "/owner/tiny/tar.gz/123":
                self.send_response(200)
            elif self.path == "/owner/tiny/tar.gz/short":
                self.send_response(200)
                content = content[: len(content) // 2]
            else:
                self.send_response(404)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.01))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_archive_is_read_from_the_data_folder(data: Path) -> None:
    (data / "tiny.tar.gz").write_bytes(packed(FILES))
    assert is_offline(ARCHIVE)
    assert read_archive(ARCHIVE, host=NOWHERE) == {"data/one.txt": b"1", "data/two.txt": b"22"}


def test_an_archive_is_fetched_once(
    data: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not is_offline(ARCHIVE)
    fetched = read_archive(ARCHIVE, host=host)
    assert "tiny: " in capsys.readouterr().err  # progress
    assert is_offline(ARCHIVE)
    assert read_archive(ARCHIVE, host=NOWHERE) == fetched
    cached = [path.name for path in (data.parent / "cache" / "optuna-rocket").iterdir()]
    assert cached == ["tiny.tar.gz"]


@pytest.mark.parametrize("commit", ["gone", "short"])
def test_what_cannot_be_fetched_leaves_nothing_behind(data: Path, host: str, commit: str) -> None:
    broken = replace(ARCHIVE, commit=commit)
    reason = "404" if commit == "gone" else "no readable tar.gz"
    with pytest.raises(DataError, match=reason):
        read_archive(broken, host=host)
    assert not is_offline(broken)


def test_missing_data_says_where_it_was_looked_for(data: Path) -> None:
    with pytest.raises(DataError, match=DATA_VARIABLE) as raised:
        read_archive(ARCHIVE, host=NOWHERE)
    assert str(data) in str(raised.value) and "owner/tiny" in str(raised.value)


def test_other_content_is_refused(data: Path) -> None:
    (data / "tiny.tar.gz").write_bytes(packed(FILES | {"data/one.txt": b"2"}))
    with pytest.raises(DataError, match="checksum"):
        read_archive(ARCHIVE)


@pytest.mark.parametrize("folder", ["../", "/etc/", "a/../../"])
def test_a_path_that_leaves_the_archive_is_refused(data: Path, folder: str) -> None:
    (data / "tiny.tar.gz").write_bytes(packed(FILES, folder))
    with pytest.raises(DataError, match="leaves its folder"):
        read_archive(ARCHIVE)


def test_links_are_no_files(data: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        link = tarfile.TarInfo("repository-123/data/one.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (data / "tiny.tar.gz").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="checksum of its 0 files"):
        read_archive(ARCHIVE)


def test_cuts_are_disjoint_stratified_and_repeat() -> None:
    strata = np.repeat([0, 1, 2], [60, 30, 10])
    first, second, rest = stratified_cuts(strata, (20, 10), seed=3)
    assert sorted(np.concatenate([first, second, rest])) == list(range(100))
    assert np.abs(np.bincount(strata[first]) - [12, 6, 2]).max() <= 1
    assert np.abs(np.bincount(strata[second]) - [6, 3, 1]).max() <= 1
    assert np.array_equal(stratified_cuts(strata, (20, 10), seed=3)[0], first)
    assert not np.array_equal(stratified_cuts(strata, (20, 10), seed=4)[0], first)


def test_mnist_is_parsed_by_class() -> None:
    digits = np.zeros((2, 28 * 28))
    digits[1, 3] = 1.0
    content = json.dumps({"data": digits.ravel().tolist()}).encode()
    arrays = mnist.parse({"src/digits/7.json": content, "src/digits/0.json": content})
    assert arrays["labels"].tolist() == [0, 0, 7, 7]
    assert arrays["images"].shape == (4, 28, 28) and arrays["images"][3, 0, 3] == 255


def test_few_examples_of_late_digits() -> None:
    labels = np.tile(np.arange(10), 900)
    train, validation, test = mnist.long_tailed_cuts(labels)
    counts = np.bincount(labels[train])
    assert counts[0] == 600 and counts[9] == 6
    assert np.abs(counts[1:] / counts[:-1] - 0.01 ** (1 / 9)).max() < 0.05
    assert np.bincount(labels[validation]).tolist() == [100] * 10
    assert np.bincount(labels[test]).tolist() == [100] * 10
    assert len(set(train) | set(validation) | set(test)) == len(train) + 2000


def annotation(width: int, height: int, *objects: tuple[str, int, int, int, int]) -> bytes:
    """A VOC file; an object is a name, left, top, right, bottom."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    items = [
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{side}>{x}</{side}>" for side, x in zip(sides, places, strict=True))
        + "</bndbox></object>"
        for name, *places in objects
    ]
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{size}{''.join(items)}</annotation>".encode()


def jpeg(colours: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_boxes_are_relative_and_filled_up() -> None:
    content = annotation(200, 100, ("b", 20, 10, 100, 60), ("a", 5, 5, 5, 9), ("a", 0, 0, 220, 50))
    rows = boxes.read_rows(content, ("a", "b"))
    assert np.allclose(rows, [[1, 0.1, 0.1, 0.5, 0.6], [0, 0, 0, 1, 0.5]])  # one had no area
    stacked = boxes.stack_rows([rows, rows[:1], rows[:0]])
    assert stacked.shape == (3, 2, boxes.N_FIELDS)
    assert (stacked[:, :, 0] == [[1, 0], [1, boxes.NOTHING], [boxes.NOTHING] * 2]).all()


def test_blood_cells_are_cut_out_and_drawn() -> None:
    colours = np.full((480, 640, 3), 200, np.uint8)
    colours[100:200, 300:400] = 40
    dark = annotation(640, 480, ("WBC", 300, 100, 400, 200))
    files = {}
    for number in range(3):
        files[f"BCCD/JPEGImages/BloodImage_{number}.jpg"] = jpeg(colours)
        files[f"BCCD/Annotations/BloodImage_{number}.xml"] = dark
    files["BCCD/Annotations/BloodImage_1.xml"] = annotation(
        640, 480, ("RBC", 0, 0, 90, 90), ("Platelets", 300, 100, 350, 150)
    )
    arrays = blood_cells.parse(files)
    assert arrays["pictures"].shape == (3, blood_cells.HEIGHT, blood_cells.WIDTH, 3)
    assert arrays["crop_classes"].tolist() == [1, 0, 2, 1]
    assert arrays["crop_pictures"].tolist() == [0, 1, 1, 2]
    brightness = arrays["crops"].astype(float).mean((1, 2))
    assert np.abs(brightness - [40, 200, 40, 40]).max() < 5
    (mask,) = blood_cells.ellipses(arrays["rows"][:1].astype(np.float32), 480, 640)
    assert abs(mask.sum() / (np.pi * 50**2) - 1) < 0.01
    assert mask[150, 350] and not mask[105, 305]


def test_photographs_are_resized_with_their_boxes() -> None:
    colours = np.full((100, 200, 3), 90, np.uint8)
    files = {
        "images/raccoon-1.jpg": jpeg(colours),
        "annotations/raccoon-1.xml": annotation(200, 100, ("raccoon", 50, 20, 150, 100)),
    }
    arrays = raccoons.parse(files)
    assert arrays["pictures"].shape == (1, raccoons.SIDE, raccoons.SIDE, 3)
    assert np.allclose(arrays["rows"], [[[0, 0.25, 0.2, 0.75, 1]]])


def test_membranes_are_dark_in_the_mask() -> None:
    cells = np.full((512, 512), 255, np.uint8)
    cells[:, 128:140] = 0
    buffer = io.BytesIO()
    Image.fromarray(cells).save(buffer, "PNG")
    kinds = ("image", "label")
    files = {
        f"data/membrane/train/{kind}/{n}.png": buffer.getvalue() for kind in kinds for n in (0, 1)
    }
    arrays = membranes.parse(files)
    assert arrays["slices"].shape == (2, 256, 256)
    assert np.flatnonzero(arrays["membranes"][1, 7]).tolist() == list(range(64, 70))


@pytest.mark.parametrize("kind", range(scenes.N_SHAPES))
def test_shapes_fill_their_box_at_any_angle(kind: int) -> None:
    for angle in (0.0, 0.5, 2.0):
        stencil = scenes.shape_stencil(kind, 8.0, angle)
        assert stencil.min() >= 0 and stencil.max() == 1
        for edge in (stencil[0], stencil[-1], stencil[:, 0], stencil[:, -1]):
            assert (edge > 0.5).any()


@pytest.mark.parametrize("crowded", [False, True])
def test_scenes_have_the_boxes_of_what_is_in_their_mask(crowded: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scene = scenes.shape_scene(crowded, rng)
        assert {kind for kind in np.unique(scene.mask) if kind} <= {
            1 + row[0] for row in scene.rows
        }
        kind, *sides = scene.rows[-1]  # nothing hides the last
        left, top, right, bottom = (round(side * scenes.SIDE) for side in sides)
        lines, columns = np.nonzero(scene.mask[top:bottom, left:right] == 1 + kind)
        assert lines.min() == columns.min() == 0
        assert lines.max() + 1 == bottom - top and columns.max() + 1 == right - left


def test_notes_have_their_instrument() -> None:
    bowed, plucked, *_ = instruments.INSTRUMENTS
    rng = np.random.default_rng(0)
    assert np.isclose(np.square(instruments.note(bowed, rng)).mean(), 1)
    late = slice(instruments.N_SAMPLES * 3 // 4, None)

    def share(instrument: instruments.Instrument) -> float:
        notes = [instruments.note(instrument, rng)[late] for _ in range(20)]
        return float(np.square(notes).mean())

    assert 2 * share(plucked) < share(bowed)  # a plucked note dies away


def test_the_loudest_stretch() -> None:
    wave = np.zeros(1000, np.float32)
    wave[600:700] = 1
    assert speech.loudest(wave, 100).tolist() == [1] * 100


def test_standardised_inputs_keep_the_scale_of_the_training_part() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(50, dtype=torch.int64)
    train = Part(5 + torch.randn(50, 2, 3, 4, generator=generator), labels)
    train.inputs[:, 1] *= 7
    splits = standardised(Splits(train, Part(2 * train.inputs, labels), train))
    assert splits.train.inputs.mean((0, 2, 3)).abs().max() < 1e-5
    assert (splits.train.inputs.std((0, 2, 3)) - 1).abs().max() < 1e-5
    assert (splits.validation.inputs.mean((0, 2, 3)) > 1).all()
    assert torch.equal(splits.test.inputs, splits.train.inputs)


def test_news_words_are_numbered_by_the_training_part(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f'"{1 + i % 4}","Title {i}","same same words\\here"' for i in range(40)]
    monkeypatch.setattr(ag_news, "_SIZES", (8, 8))
    arrays = ag_news.parse({"data/ag_news_csv/test.csv": "\n".join(rows).encode()})
    assert np.bincount(arrays["labels"].astype(int)).tolist() == [10] * 4
    words = arrays["words"]
    assert words.shape == (40, MAX_WORDS)
    assert (words[:, 2] == 2).all() and (words[:, 3] == 2).all()  # the most frequent word
    validation, test, train = ag_news.cuts(arrays["labels"].astype(np.int64))
    assert (words[train] != UNKNOWN).all()
    assert (words[validation, 1] == UNKNOWN).all()  # its number is nowhere else
    assert len(test) == 8


def recording(seconds: float, rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(speech.RATE)
        file.writeframes(rng.integers(-9999, 9999, int(seconds * speech.RATE), "<i2").tobytes())
    return buffer.getvalue()


def test_recordings_keep_to_the_official_test_part() -> None:
    rng = np.random.default_rng(0)
    names = [(d, s, i) for d in (0, 7) for s in ("ann", "bob") for i in range(15)]
    files = {f"recordings/{d}_{s}_{i}.wav": recording(0.1, rng) for d, s, i in names}
    files["recordings/0_ann_0.wav"] = recording(2.0, rng)  # longer than what is kept
    waves, labels, parts = speech.read_waves(files)
    assert waves.shape == (60, speech.N_SAMPLES) and np.abs(waves).max() <= 1
    order = sorted(files)
    is_test = np.array([int(name[:-4].split("_")[-1]) < 5 for name in order])
    assert np.array_equal(parts == 2, is_test)
    voices = np.array([name.rsplit("_", 1)[0] for name in order])
    assert [int((parts[voices == voice] == 1).sum()) for voice in np.unique(voices)] == [2] * 4
    assert np.bincount(labels).tolist() == [30, 0, 0, 0, 0, 0, 0, 30]


def test_noise_has_its_loudness() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(speech.N_SAMPLES) / speech.RATE
    waves = np.stack([np.sin(2 * np.pi * f * time) for f in range(300, 360)]).astype(np.float32)
    noise = speech.mix(waves, np.zeros(60, dtype=np.int64), rng) - waves
    decibels = 10 * np.log10(np.square(waves).mean(1) / np.square(noise).mean(1))
    assert -6.1 < decibels.min() < 0 < decibels.max() < 12.1
    same = speech.mix(waves, np.zeros(60, dtype=np.int64), np.random.default_rng(0)) - waves
    assert np.array_equal(same, noise)


def test_a_tone_is_in_its_band() -> None:
    time = np.arange(2 * 8000) / 8000
    tones = np.stack([np.sin(2 * np.pi * f * time) for f in (200, 1000, 3000)])
    spectra = log_mel(tones.astype(np.float32), 8000)
    assert spectra.shape == (3, N_BANDS, 1 + len(time) // HOP)
    bands = spectra.mean(2).argmax(1)
    assert (np.diff(bands) > 0).all()
