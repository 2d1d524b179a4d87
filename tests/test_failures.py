"""The chance to fail: regions that crash, and accidents."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
import optuna
import pytest
import torch

from optuna_rocket import RocketSampler
from optuna_rocket.agent import failures
from optuna_rocket.agent import fitting
from optuna_rocket.agent import memory
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from tests.builders import generator
from tests.builders import history_of
from tests.builders import unit_geometry


GEOMETRY = unit_geometry(2)


def study_of(fails: torch.Tensor, units: torch.Tensor) -> History:
    """Trials of which some ``(n,)`` failed."""
    outcomes = torch.where(fails, int(Outcome.FAILED), int(Outcome.COMPLETE))[None]
    return history_of(units, units.sum(-1), GEOMETRY, outcomes)


def chances(history: History, units: torch.Tensor) -> torch.Tensor:
    """What the memory takes for the chance to fail at ``units`` ``(1, m, 2)``."""
    remembered = memory.condition(history, GEOMETRY, fitting.prior_weights(GEOMETRY))
    return memory.read(remembered, units, GEOMETRY.activity(units)).failure[0]


def uniform(n: int, seed: int) -> torch.Tensor:
    return torch.rand(1, n, 2, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_a_region_that_fails_is_told_from_the_rest(seed: int) -> None:
    units, asked = uniform(60, seed), uniform(200, seed + 9)
    found = chances(study_of(units[0, :, 0] > 0.6, units), asked)
    assert float(found[asked[0, :, 0] > 0.75].mean()) > 0.8
    assert float(found[asked[0, :, 0] < 0.45].mean()) < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_accidents_say_nothing_of_the_places_where_they_happened(seed: int) -> None:
    units = uniform(60, seed)
    fails = torch.rand(60, generator=generator(seed + 5)) < 0.4
    found = chances(study_of(fails, units), units)
    apart = float(found[fails].mean() - found[~fails].mean())
    assert apart < 0.1  # some .4 for a regression that explains each by its place


@given(st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=20), st.integers(0, 99))
def test_coefficients_are_finite_and_the_failures_own(outcomes: list[Outcome], seed: int) -> None:
    units = uniform(len(outcomes), seed)
    states = torch.tensor([[int(x) for x in outcomes]])
    history = history_of(units, units.sum(-1), GEOMETRY, states)
    kernel = torch.ones(1, len(outcomes), len(outcomes), dtype=torch.float64)
    base, coefficients = failures.regression(history, kernel)
    if Outcome.FAILED not in outcomes:
        assert base is None is coefficients
        return
    assert base is not None and coefficients is not None
    assert 0 < float(base) < 1 and bool(torch.isfinite(coefficients).all())
    assert bool((coefficients[0, states[0] == Outcome.PENDING] == 0).all())


def test_a_study_whose_machine_is_flaky_is_tuned_all_the_same() -> None:
    def objective(trial: optuna.Trial) -> float:
        value = sum((trial.suggest_float(f"x{i}", -1, 1) - 0.37) ** 2 for i in range(4))
        if random.Random(7 * trial.number).random() < 0.5:
            raise ConnectionError("the machine went away")
        return value

    study = optuna.create_study(sampler=RocketSampler(seed=1))
    study.optimize(objective, n_trials=50, catch=(ConnectionError,))
    assert study.best_value < 0.05
