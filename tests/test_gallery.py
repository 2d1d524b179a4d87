from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from benchmarks import gallery
from benchmarks import gallery_sequences
from benchmarks.deep_learning.sources import tagged
from benchmarks.deep_learning.sources.shakespeare import LENGTH
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.records import append_line
from tests.tiny_tasks import tiny


# One of every kind of drawing, padding of sequences included.
PICTURES = (
    *("segmentation", "detection", "forecasting", "series"),
    *("parts_of_speech", "digit_strings", "entities", "shakespeare"),
)


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with an answer to tiny tasks: the recipe itself."""
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    path = tmp_path / "level.jsonl"
    for name in PICTURES:
        task = tiny(TASKS[gallery.SHOWN[name]])
        monkeypatch.setitem(TASKS, task.name, task)
        answer = {"task": task.name, "method": "m", "seed": 3, "answer": dict(task.expert)}
        append_line(path, answer)
    return path


def test_every_kind_of_picture(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--pictures", *PICTURES, "--method", "m", "--raw", str(raw)]
    gallery.main([*arguments, "--out", str(tmp_path / "g")])
    printed = capsys.readouterr().out
    for name, line in zip(PICTURES, printed.splitlines(), strict=True):
        picture = (tmp_path / "g" / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG") and len(picture) < 150_000
        # The answer is the recipe, so both are the same model.
        assert line.split("expert: ")[1].split()[0] == line.split("tuned: ")[1]


def test_a_missing_answer_is_named(raw: Path) -> None:
    with pytest.raises(SystemExit, match="no answer of nobody to segmentation"):
        gallery.main(["--pictures", "segmentation", "--method", "nobody", "--raw", str(raw)])


def test_a_model_writes_what_it_finds_likely() -> None:
    class Next(nn.Module):
        """Sure of the character after the last one, of ten."""

        def forward(self, characters: Tensor) -> Tensor:
            assert characters.shape[1] <= LENGTH
            return 99.0 * functional.one_hot((characters + 1) % 10, 10).mT.float()

    start = torch.arange(3)
    text = gallery_sequences.write(Next(), start, 60, torch.Generator())
    assert text == [number % 10 for number in range(3, 63)]


@pytest.mark.parametrize("word", ["a", "Twelve-chars", "naïve"])
def test_words_are_spelled(word: str) -> None:
    assert tagged.spelled(tagged.characters(word)) == word.replace("ï", "?")
