from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import gallery
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.records import append_line
from tests.tiny_tasks import tiny


# One of every kind of drawing, padding of sequences included.
FAMILIES = ("segmentation", "detection", "forecasting", "series", "sequences")


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with an answer to tiny tasks: the recipe itself."""
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    path = tmp_path / "level.jsonl"
    for family in FAMILIES:
        task = tiny(TASKS[gallery.SHOWN[family]])
        monkeypatch.setitem(TASKS, task.name, task)
        answer = {"task": task.name, "method": "m", "seed": 3, "answer": dict(task.expert)}
        append_line(path, answer)
    return path


def test_every_kind_of_picture(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--families", *FAMILIES, "--method", "m", "--raw", str(raw)]
    gallery.main([*arguments, "--out", str(tmp_path / "g")])
    printed = capsys.readouterr().out
    for family, line in zip(FAMILIES, printed.splitlines(), strict=True):
        picture = (tmp_path / "g" / f"{family}.png").read_bytes()
        assert picture.startswith(b"\x89PNG") and len(picture) < 150_000
        # The answer is the recipe, so both are the same model.
        assert line.split("expert: ")[1].split()[0] == line.split("tuned: ")[1]


def test_a_missing_answer_is_named(raw: Path) -> None:
    with pytest.raises(SystemExit, match="no answer of nobody to segmentation"):
        gallery.main(["--families", "segmentation", "--method", "nobody", "--raw", str(raw)])
