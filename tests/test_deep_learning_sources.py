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
import pytest

from benchmarks.deep_learning.sources import ag_news
from benchmarks.deep_learning.sources import mnist
from benchmarks.deep_learning.sources import speech
from benchmarks.deep_learning.sources.archives import DATA_VARIABLE
from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import DataError
from benchmarks.deep_learning.sources.archives import is_offline
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.log_mel import HOP
from benchmarks.deep_learning.sources.log_mel import N_BANDS
from benchmarks.deep_learning.sources.log_mel import log_mel
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


def test_an_archive_is_fetched_once(data: Path, host: str) -> None:
    assert not is_offline(ARCHIVE)
    fetched = read_archive(ARCHIVE, host=host)
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
