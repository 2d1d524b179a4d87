from __future__ import annotations

from dataclasses import replace
import json
import math
import os

import numpy as np
import optuna
import pytest
import torch

from benchmarks.deep_learning.sources.archives import DATA_VARIABLE
from benchmarks.deep_learning.sources.archives import is_offline
from benchmarks.deep_learning.sources.mnist import ARCHIVE
from benchmarks.deep_learning.sources.mnist import load_mnist
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_log
from tests.tiny_tasks import N_TRAIN
from tests.tiny_tasks import tiny


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return tiny(TASKS[request.param])


def test_the_recipe_learns_and_repeats(task: Task) -> None:
    everything = np.arange(N_TRAIN)
    outside = torch.random.get_rng_state()
    first = task.evaluate(task.expert, everything, 0)
    again = task.evaluate(task.expert, everything, 0)
    assert torch.equal(torch.random.get_rng_state(), outside)
    assert first.score == again.score > 0.5
    assert first.n_examples == again.n_examples
    assert first.n_examples % N_TRAIN == 0
    third = task.evaluate(task.expert, everything[: N_TRAIN // 3], 0)
    assert third.n_examples * 3 == first.n_examples
    assert 0.5 < task.evaluate(task.expert, everything, 0, "test").score <= 1


def test_a_warm_start_costs_nothing_extra(task: Task) -> None:
    everything = np.arange(N_TRAIN)
    smaller = everything[1::3]
    cold = task.evaluate(task.expert, everything, 0)
    warm = task.evaluate(task.expert, everything, 0, earlier=(smaller[::2], smaller))
    assert warm.n_examples == cold.n_examples
    assert warm.score > 0.5


def test_a_warm_start_begins_where_the_smaller_subset_ended() -> None:
    inputs = torch.randn(60, 3, generator=torch.Generator().manual_seed(1))
    train = Part(inputs, (inputs[:, 0] > 0).long())
    rows = np.arange(0, 60, 4)
    params: dict[str, Value] = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 0.1,
        "weight_decay": 0.0,
        "batch_size": 8,
        "schedule": "cosine",
    }

    def losses(part: Part) -> list[float]:
        seen: list[float] = []

        def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            loss = torch.nn.functional.cross_entropy(logits, labels)
            seen.append(loss.item())
            return loss

        model = torch.nn.Linear(3, 2)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        n = fit(model, part, params, 2, torch.Generator().manual_seed(0), loss_of=loss_of)
        assert n == 2 * len(part)
        return seen

    alone, warm = losses(train.take(rows)), losses(train.take(np.arange(60), (rows,)))
    assert len(alone) == 2 * 2
    assert warm[:4] == alone
    assert len(warm) == 4 + 8 + 4  # 120 examples less 30: an epoch and a half in batches of 8


def test_any_suggestion_can_be_trained(task: Task) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen: set[frozenset[str]] = set()
    for _ in range(10):
        params = task.suggest(study.ask())
        assert params == json.loads(json.dumps(params))
        assert 8 <= len(params) <= 20
        seen.add(frozenset(params))
        evaluation = task.evaluate(params, np.arange(N_TRAIN), 0)
        assert math.isnan(evaluation.score) or evaluation.score <= 1
        assert evaluation.n_examples > 0 and evaluation.seconds > 0
    assert len(seen) > 1  # conditional parameters come and go


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_the_recipe_is_in_the_space(task: Task) -> None:
    branch = {name: value for name, value in task.expert.items() if isinstance(value, (str, bool))}
    # So that the branch of the recipe comes soon, however many choices there are.
    sampler = optuna.samplers.PartialFixedSampler(branch, optuna.samplers.RandomSampler(seed=1))
    study = optuna.create_study(sampler=sampler)
    for _ in range(50):
        trial = study.ask()
        params = task.suggest(trial)
        if all(params[name] == value for name, value in branch.items()):
            break
    assert params.keys() == task.expert.keys()
    for name, value in task.expert.items():
        own = trial.distributions.get(name)
        assert own is None or own._contains(own.to_internal_repr(value)), name


def test_a_training_that_diverges_is_a_cheap_failure() -> None:
    task = tiny(TASKS["images/mnist"])
    huge = Part(task.splits.train.inputs * 1e20, task.splits.train.labels)
    broken = replace(task, load=lambda: Splits(huge, huge, huge))
    wild = {**task.expert, "optimizer": "sgd", "momentum": 0.9, "lr": 1.0, "batch_norm": False}
    evaluation = broken.evaluate(wild, np.arange(N_TRAIN), 0)
    assert math.isnan(evaluation.score)
    assert evaluation.n_examples < 2 * N_TRAIN


def test_rates_keep_to_their_grid() -> None:
    rates = {
        suggest_log(optuna.trial.FixedTrial({"lr": value}), "lr", 1e-4, 1.0)
        for value in np.geomspace(1e-4, 1.0, 500)
    }
    assert len(rates) == 4 * 6 + 1
    assert {1e-4, 1e-3, 3.16e-3, 1.0} <= rates


@pytest.mark.skipif(
    DATA_VARIABLE not in os.environ or not is_offline(ARCHIVE),
    reason=f"the data are not there: {DATA_VARIABLE} is to name their folder",
)
def test_the_real_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    splits = load_mnist()
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [
        8000,
        1000,
        1000,
    ]
    task = replace(TASKS["images/mnist"], load=lambda: splits)
    assert task.evaluate(task.expert, np.arange(0, 8000, 8), 0).score > 0.6
