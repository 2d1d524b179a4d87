from __future__ import annotations

import csv
import math
from pathlib import Path

import optuna
import pytest
import torch

from benchmarks import scaling
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.deep_learning.training import Params
from benchmarks.evaluations import Evaluations
from benchmarks.live import measure


N_TRAIN = 90


class Scored(torch.nn.Module):
    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = score


def rated_task(exponent: float) -> Task:
    """The best rate is .01 on all examples and goes with their share to the power given."""

    def train(
        params: Params, part: Part, generator: torch.Generator
    ) -> tuple[torch.nn.Module, int]:
        best = math.log(0.01) - exponent * math.log(len(part) / N_TRAIN)
        return Scored(-((math.log(float(params["lr"])) - best) ** 2)), len(part)

    def score_of(model: torch.nn.Module, part: Part) -> float:
        assert isinstance(model, Scored)
        return model.score

    whole, validation, test = (
        Part(torch.zeros(n, 1), torch.arange(n) % 3) for n in (N_TRAIN, 5, 7)
    )
    return Task(
        name="a/b",
        load=lambda: Splits(whole, validation, test),
        suggest=lambda trial: {"lr": trial.suggest_float("lr", 1e-4, 1.0, log=True)},
        train=train,
        measure=score_of,
        expert={"lr": 0.01},
        source="none",
        min_fraction=1 / 9,
    )


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests of this process read the log, and have threads of their own.
    monkeypatch.setattr(optuna.logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)


@pytest.mark.usefixtures("quiet")
def test_the_right_exponent_ranks_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "a/b", rated_task(0.5))
    out = tmp_path / "scaling.csv"
    scaling.main(["--tasks", "a/b", "--out", str(out), "--evaluations", str(tmp_path)])
    with out.open() as file:
        rows = list(csv.DictReader(file))
    ranks = {float(row["exponent"]): float(row["all"]) for row in rows}
    assert max(ranks, key=lambda exponent: ranks[exponent]) == 0.5
    assert ranks[0.5] == pytest.approx(1) and ranks[0.0] < 0.9
    assert float(rows[0]["best_quarter"]) < 0.5


def test_a_live_study_trains_subsets_with_their_rate(tmp_path: Path) -> None:
    task = rated_task(0.75)
    scaled = measure(task, "random+rocket:scaled", 0, 20, 0, Evaluations(tmp_path))
    assert scaled.exponent is not None and 0.25 < scaled.exponent < 1
    plain = measure(task, "random+rocket", 0, 20, 0, Evaluations(tmp_path))
    assert plain.exponent is None
    # Both know nothing at first, and the same sampler asks for the same configurations.
    assert scaled.reports[:4] == plain.reports[:4]
