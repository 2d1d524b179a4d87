from __future__ import annotations

import csv
from dataclasses import replace
import json
import math
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from benchmarks import live
from benchmarks import live_summary
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.evaluations import Evaluations
from benchmarks.live import LiveReplication
from benchmarks.live_summary import arrange
from benchmarks.live_summary import clock_at
from benchmarks.live_summary import mean_curve
from benchmarks.live_summary import method_rows
from benchmarks.live_summary import ranking_rows
from benchmarks.live_summary import task_rows
from benchmarks.subset_grids import subset_evaluator


N_TRAIN = 270
ALL = ["tpe+none", "gp+none", "rocket+rocket", "random+all:4", "tpe+rocket@1", "tpe+hyperband"]


class Counted(torch.nn.Module):
    """A model that knows its score."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = score


def counted_task(name: str) -> tuple[Task, list[int]]:
    """A task whose score is a formula, and the sizes on which it was trained."""
    trained: list[int] = []

    def suggest(trial: optuna.trial.BaseTrial) -> dict[str, Value]:
        return {"x": trial.suggest_int("x", 0, 50)}

    def train(
        params: Params, part: Part, generator: torch.Generator
    ) -> tuple[torch.nn.Module, int]:
        trained.append(len(part))
        x = float(params["x"])
        score = math.nan if x > 45 else 1 - abs(x - 20) / 50 - 3 / len(part)
        return Counted(score), 2 * len(part)

    def measure(model: torch.nn.Module, part: Part) -> float:
        assert isinstance(model, Counted)
        return model.score - (0.1 if len(part) == 7 else 0.0)  # the test part

    train_part, validation, test = (
        Part(torch.zeros(n, 1), torch.arange(n) % 3) for n in (N_TRAIN, 5, 7)
    )
    task = Task(
        name=name,
        load=lambda: Splits(train_part, validation, test),
        suggest=suggest,
        train=train,
        measure=measure,
        expert={"x": 20},
        source="none",
        min_fraction=1 / 9,
    )
    return task, trained


def test_evaluations_are_trained_once(tmp_path: Path) -> None:
    path = tmp_path / "a.b.jsonl"
    task, trained = counted_task("a/b")
    store = Evaluations(tmp_path)
    rows = np.arange(90)
    first = store.get(task, {"x": 3}, rows, 0)
    n_trained = len(trained)
    assert store.get(task, {"x": 3}, rows, 0) == first
    assert len(trained) == n_trained
    assert store.get(task, {"x": 3}, rows, 0, "test").score == pytest.approx(first.score - 0.1)
    store.get(task, {"x": 3}, rows, 1)
    store.get(task, {"x": 3}, rows[:45], 0)
    assert math.isnan(store.get(task, {"x": 46}, rows, 0).score)
    assert len(trained) == n_trained + 4
    path.write_bytes(path.read_bytes() + b'{"task": "a')  # a process was killed here
    again = Evaluations(tmp_path)
    assert math.isnan(again.get(task, {"x": 46}, rows, 0).score)
    assert again.get(task, {"x": 3}, rows, 0).score == pytest.approx(first.score)
    assert len(trained) == n_trained + 4


def test_a_warm_start_is_another_evaluation(tmp_path: Path) -> None:
    task, trained = counted_task("a/b")
    store, rows = Evaluations(tmp_path), np.arange(N_TRAIN)
    store.get(task, {"x": 3}, rows, 0)
    n_trained = len(trained)
    for evaluations in (store, Evaluations(tmp_path)):
        evaluations.get(task, {"x": 3}, rows, 0, earlier=(rows[::9],))
        evaluations.get(task, {"x": 3}, rows, 0, earlier=(rows[::9], rows[::3]))
        assert len(trained) == n_trained + 2


def test_a_warm_trial_costs_no_more_than_its_largest_subset(tmp_path: Path) -> None:
    task, _ = counted_task("a/b")
    warm = live.measure(task, "random+hyperband:4:warm", 0, 8, 2, Evaluations(tmp_path))
    costs = np.diff([0, *warm.examples])
    seen = [warm.sizes[len(reports) - 1] for reports in warm.reports]
    assert {"C", "P"} <= set(warm.states)
    assert costs.tolist() == [2 * size for size in seen]
    assert warm.test == pytest.approx(max(live_summary.full_scores(warm)) - 0.1)


def test_studies_resume_and_summarise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task, trained = counted_task("a/b")
    monkeypatch.setitem(TASKS, "a/b", task)
    # Other tests of this process read the log, and have threads of their own.
    monkeypatch.setattr(optuna.logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    out, kept = tmp_path / "live.jsonl", tmp_path / "kept"
    arguments = ["--tasks", "a/b", "--seeds", "2", "--budget", "8", "--audit", "3"]
    arguments += ["--out", str(out), "--evaluations", str(kept)]
    live.main([*arguments, "--methods", *ALL])
    studies = live.read_live_replications(out)
    assert [(x.method, x.seed) for x in studies] == [(m, s) for s in (0, 1) for m in ALL]
    for x in studies:
        n = len(x.states)
        assert n == len(x.reports) == len(x.examples) == len(x.seconds)
        assert x.full_examples == 2 * N_TRAIN and x.sizes == (
            [30, 90, 270] if x.method.endswith(":4") else [30, 270]
        )
        assert x.best is not None and x.states[x.best] == "C"
        assert x.test == pytest.approx(max(live_summary.full_scores(x)) - 0.1)
        pruner = x.method.split("+")[1]
        if pruner == "none":
            assert n == 8 and x.examples == [2 * N_TRAIN * (i + 1) for i in range(n)]
        elif pruner == "all:4":
            assert all(len(reports) == 3 for reports in x.reports)
        else:
            assert x.examples[-1] >= 8 * x.full_examples > x.examples[-2]
            assert len(x.audit) == min(3, x.states.count("P"))

    # The same studies again, in a new process that died in the middle: nothing is trained again.
    n_trained, whole = len(trained), out.read_bytes()
    live.main([*arguments, "--methods", *ALL])
    assert out.read_bytes() == whole
    out.write_bytes(whole[: len(whole) // 2])
    live.main([*arguments, "--methods", *ALL])
    assert len(trained) == n_trained
    for line, other in zip(whole.splitlines(), out.read_bytes().splitlines(), strict=True):
        assert {**json.loads(line), "overhead": 0} == {**json.loads(other), "overhead": 0}

    capsys.readouterr()
    live_summary.main([str(out)])
    printed = capsys.readouterr().out
    assert "tpe+rocket@1" in printed and "fraction" in printed
    with (tmp_path / "live.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {*ALL} - {"random+all:4"}
    assert (tmp_path / "live.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("method", ["tpe", "tpe+fastest", "nobody+none", "tpe+none:3"])
def test_unknown_methods_are_named(method: str) -> None:
    with pytest.raises(ValueError, match="Unknown"):
        live.main(["--methods", method])


def record(
    method: str, finals: list[float | None], spent: list[int], **other: object
) -> LiveReplication:
    states = "".join("P" if final is None else "C" for final in finals)
    study = LiveReplication(
        task="a/b",
        method=method,
        seed=0,
        budget=40,
        sizes=[10, 100],
        full_examples=100,
        states=states,
        reports=[[0.3] if final is None else [0.3, final] for final in finals],
        examples=spent,
        seconds=[x / 10 for x in spent],
        best=0,
        test=0.5,
        audit={},
        overhead=0.1,
        versions={},
    )
    return replace(study, **other)  # type: ignore[arg-type]


def test_costs_by_hand() -> None:
    plain = record("tpe+none", [0.5, 0.8, 0.7], [100, 200, 300])
    quick = record("tpe+rocket", [0.6, None, 0.9], [50, 60, 90], audit={"1": 0.95})
    lame = record("random+none", [0.1, 0.2], [100, 200])
    at, best = mean_curve([plain, quick], "examples")
    assert at.tolist() == [0.5, 0.6, 0.9, 1, 2, 3]
    assert best == pytest.approx([0.3, 0.3, 0.45, 0.7, 0.85, 0.85])
    assert clock_at([plain], 0.8, "examples") == 2
    assert clock_at([plain], 0.8, "seconds") == 20
    rows = {row["method"]: row for row in task_rows(arrange([plain, quick, lame]))}
    assert rows["tpe+rocket"]["examples_x_tpe"] == rows["tpe+rocket"]["seconds_x_tpe"] == 0.45
    assert rows["random+none"]["examples_x_tpe"] == math.inf
    assert rows["tpe+rocket"]["wrong_stops"] == rows["tpe+rocket"]["lost_answers"] == 1
    assert math.isnan(rows["tpe+none"]["wrong_stops"])
    (line,) = [x for x in method_rows(list(rows.values())) if x["method"] == "tpe+rocket"]
    assert line["examples_median"] == line["examples_worst"] == 0.45


def test_costs_are_compared_over_the_seeds_of_both() -> None:
    plain = [
        record("tpe+none", [0.8], [100]),
        record("tpe+none", [0.2, 0.4], [100, 200], seed=1),
    ]
    other = record("rocket+none", [0.3, 0.4], [100, 150], seed=1)
    rows = {row["method"]: row for row in task_rows(arrange([*plain, other]))}
    assert rows["rocket+none"]["bar_tpe"] == 0.4
    assert rows["rocket+none"]["examples_x_tpe"] == 0.75
    assert rows["tpe+none"]["bar_tpe"] == 0.6


def test_a_subset_that_ranks_backwards() -> None:
    finals = np.linspace(0.1, 0.9, 20)
    reports = [[1 - x, x] for x in finals.tolist()]
    study = record("random+all:4", finals.tolist(), list(range(20)), reports=reports)
    (row,) = ranking_rows(arrange([study]))
    assert row["fraction"] == 0.1 and row["n"] == 20
    assert row["all"] < -0.9 and row["best"] < -0.9
    assert (row["best_score"], row["promoted"], row["cost"]) == (0.9, 0.1421, 4.0)


@pytest.mark.parametrize(
    ("n", "n_classes", "sizes"),
    [(5400, 4, (600, 5400)), (600, 10, (100, 600)), (180, 9, (90, 180)), (150, 9, (150,))],
)
def test_small_data_have_larger_subsets(n: int, n_classes: int, sizes: tuple[int, ...]) -> None:
    assert subset_evaluator(np.arange(n) % n_classes, 2).sizes == sizes
