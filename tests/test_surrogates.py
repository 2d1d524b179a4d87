from __future__ import annotations

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest
import torch

from optuna_rocket import past_studies
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.history import History
from optuna_rocket.past_studies import PastStudy
from optuna_rocket.past_studies import read_past_studies
from optuna_rocket.space import Geometry
from optuna_rocket.training.foresight import foresee
from optuna_rocket.training.surrogates import SurrogateTasks
from optuna_rocket.training.surrogates import surrogate_tasks
from optuna_rocket.training.tasks import random_units
from tests.builders import generator
from tests.related_studies import filled


TREE: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(["a", "b"]),
    "size": IntDistribution(1, 64, log=True),
}

GOES: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def conditional(url: str) -> None:
    def objective(trial: optuna.Trial) -> float:
        size = trial.suggest_int("size", 1, 64, log=True)
        if trial.suggest_categorical("kind", ["a", "b"]) == "b":
            return size + trial.suggest_float("depth", 0, 1)
        return float(size)

    study = optuna.create_study(
        storage=url, study_name="tree", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    study.optimize(objective, n_trials=20)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> list[PastStudy]:
    url = f"sqlite:///{tmp_path_factory.mktemp('past')}/past.db"
    storage = optuna.storages.RDBStorage(url)
    filled(40, storage=storage, name="first")
    filled(25, space={"y": FloatDistribution(0, 1)}, value=lambda p: p["y"], name="second",
           storage=storage)  # fmt: skip
    conditional(url)
    found, left_out = read_past_studies(url)
    assert not left_out
    return found


def pairs(past: list[PastStudy]) -> list[tuple[History, Geometry]]:
    return [(x.history, x.geometry) for x in past]


def test_values_are_normalised_and_follow_the_study(past: list[PastStudy]) -> None:
    tasks = surrogate_tasks(pairs(past)[:1], 6, generator(0))
    units = random_units(tasks.geometry, 400, generator(1))
    values = tasks.evaluate(units)
    assert values.shape == (6, 400) and bool((values <= 0).all())
    torch.testing.assert_close(values.median(-1).values, torch.full((6,), -1.0).double(),
                               atol=0.15, rtol=0)  # fmt: skip
    # The first study is best at rate 1e-2 (unit 0.6), x 0.9, kind c (columns by name).
    good = torch.tensor([2.0, 0.6, 0.9]).double().expand(6, 1, 3)
    bad = torch.tensor([0.0, 0.05, 0.1]).double().expand(6, 1, 3)
    assert float(tasks.evaluate(good).min()) > -0.4
    assert float(tasks.evaluate(bad).max()) < -1
    assert not bool(tasks.fails(units).any())


def test_studies_of_different_spaces_make_one_batch(past: list[PastStudy]) -> None:
    tasks = surrogate_tasks(pairs(past), 12, generator(2))
    n_params = tasks.geometry.present.sum(-1).tolist()
    assert set(n_params) == {1, 3} and tasks.geometry.has_conditions
    units = random_units(tasks.geometry, 50, generator(3))
    assert bool(torch.isfinite(tasks.evaluate(units)).all())
    assert bool((tasks.noise >= 0).all() and (tasks.best > tasks.median).all())


@pytest.mark.parametrize("first", [False, True])
def test_what_has_gone_from_one_study_is_held_there_alone(
    past: list[PastStudy], first: bool
) -> None:
    study = filled(10, lambda params: params["x"] + params["y"], GOES)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=8)
    edited = past_studies._past(study)
    assert edited.geometry.held is not None
    tasks = surrogate_tasks(pairs([edited, *past] if first else [*past, edited]), 6, generator(2))
    held = tasks.geometry.held
    assert held is not None and held.shape == (6, 3)
    holds = torch.isfinite(held)
    assert bool(holds.any()) and not bool(holds.all(0).any())
    units = random_units(tasks.geometry, 50, generator(3))
    assert bool((units == held[:, None]).all(1)[holds].all())
    assert bool(torch.isfinite(tasks.evaluate(units)).all())


def test_no_two_tasks_are_the_same(past: list[PastStudy]) -> None:
    tasks = surrogate_tasks(pairs(past)[:1], 2, generator(4))
    units = random_units(tasks.geometry, 20, generator(5))[:1].expand(2, -1, -1)
    first, second = tasks.evaluate(units)
    assert float((first - second).abs().max()) > 0.01
    again: SurrogateTasks = surrogate_tasks(pairs(past)[:1], 2, generator(4))
    assert torch.equal(again.evaluate(units), tasks.evaluate(units))


def test_the_agent_plays_them(past: list[PastStudy]) -> None:
    labels = foresee(
        surrogate_tasks(pairs(past), 4, generator(6)),
        new_network(),
        generator(7),
        n_trials=8,
        n_ahead=2,
        n_contenders=6,
        every=2,
        n_candidates=20,
        horizon_known=False,
    )
    assert labels.returns.shape == (4, 1, 6)
    assert bool(torch.isfinite(labels.returns).all())
