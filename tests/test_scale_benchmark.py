from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
import pytest

from benchmarks import filling
from benchmarks import scale
from benchmarks.storages import Unreachable
from benchmarks.storages import empty_storage
from benchmarks.storages import opened


@contextmanager
def storage_of(kind: str, folder: Path) -> Iterator[BaseStorage]:
    with empty_storage(kind, folder) as url, opened(url) as storage:
        yield storage


def filled(storage: BaseStorage) -> list[optuna.trial.FrozenTrial]:
    filling.fill(storage, 5)
    return optuna.load_study(study_name=filling.STUDY, storage=storage).trials


@pytest.mark.parametrize("kind", ["sqlite", "journal", "postgresql", "mysql"])
def test_trials_stored_at_once_are_those_stored_one_by_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "_AT_ONCE", 2)  # the last batch has one
    expected = filled(InMemoryStorage())
    try:
        with storage_of(kind, tmp_path) as storage:
            found = filled(storage)
            trial = optuna.load_study(study_name=filling.STUDY, storage=storage).ask()
            assert trial.number == len(expected)
    except Unreachable as reason:
        pytest.skip(str(reason))
    for one, other in zip(found, expected, strict=True):
        assert {**vars(one), "_trial_id": 0} == {**vars(other), "_trial_id": 0}


def test_every_method_meets_the_stored_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ["--methods", "random", "--storages", "sqlite"]
    out = tmp_path / "scale.jsonl"
    scale.main([*cells, "--stored", "8", "--repeats", "1", "--out", str(out)])
    assert len(out.read_text().splitlines()) == 1
    assert "| sqlite | 8 | random |" in capsys.readouterr().out
