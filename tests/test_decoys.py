from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from benchmarks import decoys
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.evaluations import FOLDER
from benchmarks.fitted import FittedTask
from benchmarks.fitted import luck
from benchmarks.records import read_lines
from optuna_rocket.agent import stagnation


TASK = "texts/ag_news"


@pytest.fixture(scope="module")
def function() -> FittedTask:
    return FittedTask("texts.ag_news")


def test_the_function_follows_the_trainings(function: FittedTask) -> None:
    lines = [
        line
        for line in read_lines(FOLDER / "texts.ag_news.jsonl")
        if line["size"] == 5400 and line["part"] == "validation" and line["score"] is not None
    ]
    logits = [function.logit(line["params"]) for line in lines[:200]]
    scores = [line["score"] for line in lines[:200]]
    assert np.corrcoef(np.argsort(np.argsort(logits)), np.argsort(np.argsort(scores)))[0, 1] > 0.9


def test_luck_belongs_to_configuration_and_seed() -> None:
    assert luck({"a": 1, "b": 2}, 0) == luck({"b": 2, "a": 1}, 0)
    many = np.array([luck({"a": i}, seed) for i in range(200) for seed in range(5)])
    assert len(set(many)) == 1000
    assert abs(many.mean()) < 0.1 and abs(many.std() - 1) < 0.1


def test_few_configurations_are_better_than_the_decoy() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    params = [TASKS[TASK].suggest(study.ask()) for _ in range(300)]
    observed, true = np.array([decoys.decoy(TASK, x, 0) for x in params]).T

    assert 0.01 < (true > 0).mean() < 0.1
    low_rates = np.array([3e-4 < float(x["lr"]) < 4e-4 for x in params]) & (true == 0)
    assert 0.05 < observed[low_rates].min() < observed[true == 0].max() < 0.08
    assert np.median(observed) < 0.03


def test_patience_ends_where_it_began() -> None:
    before = stagnation.PATIENCE
    with decoys.patience("rocket_patient"):
        assert stagnation.PATIENCE == decoys.N_TRIALS
    assert before == stagnation.PATIENCE


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests of this process read the log, and have threads of their own.
    monkeypatch.setattr(optuna.logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(decoys, "NOISE", {TASK: 0.04})
    out = tmp_path / "table.csv"
    decoys.main(["--methods", "random", "--seeds", "2", "--out", str(out)])
    with out.open() as file:
        rows = {row["landscape"]: row for row in csv.DictReader(file)}
    assert float(rows["plain"]["@60"]) > float(rows["plain"]["@10"]) - 0.2
    assert {row["studies"] for row in rows.values()} == {"2"}
    assert float(rows["decoy"]["stuck@60"]) <= float(rows["decoy"]["stuck@30"])
