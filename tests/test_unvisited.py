"""Trials where no trial has been, where several objectives do not seem to conflict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest
import torch

from optuna_rocket import RocketSampler
from optuna_rocket.agent import unvisited
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.goals import Goals
from optuna_rocket.history import History
from optuna_rocket.space import Space
from tests.builders import rebuilt


SPACE: Mapping[str, BaseDistribution] = {
    "a": FloatDistribution(0, 1),
    "b": FloatDistribution(0, 1),
    "c": CategoricalDistribution(["u", "v"]),
    "i": IntDistribution(1, 4),
}


def study_of(n: int = 12, conflict: bool = False) -> tuple[Goals, History]:
    """Trials whose ``b`` stays below 0.6; all of them best at one of the objectives, or not."""
    steps = torch.linspace(0, 1, n, dtype=torch.float64)
    units = torch.stack([steps, 0.6 * steps.flip(0), 0 * steps, torch.full_like(steps, 0.625)], -1)
    scores = torch.stack([-steps, steps if conflict else -1 - steps])
    history = History.of(
        units=units[None],
        active=torch.ones(1, n, 4, dtype=torch.bool),
        outcomes=torch.ones(1, n, dtype=torch.long),
        scores=scores[:1],
    )
    return Goals(scores, torch.zeros(0, n, dtype=torch.float64)), history


def proposed(goals: Goals, history: History) -> Pool | None:
    geometry = Space(SPACE).geometry({}, has_gaps=False)
    return unvisited.propose(goals, history, geometry, history.units[0])


def test_the_longest_stretch_without_trials_is_visited_from_the_best_trial() -> None:
    goals, history = study_of()
    pool = unvisited.propose(
        goals, history, Space(SPACE).geometry({}, has_gaps=False), history.units[0]
    )
    assert pool is not None
    assert pool.units[0].tolist() == [[0.0, 1.0, 0.0, 0.625]]  # b at its bound, all else as before
    assert pool.active.all()


@pytest.mark.parametrize(
    ("n", "conflict"), [(11, False), (12, True), (0, False)], ids=["not due", "conflict", "empty"]
)
def test_no_trial_is_spent_where_it_is_not_due(n: int, conflict: bool) -> None:
    goals, history = study_of(n, conflict)
    assert proposed(goals, history) is None


def test_no_trial_is_spent_without_stretches_nor_without_a_feasible_trial() -> None:
    goals, history = study_of(60)
    everywhere = history.units.clone()
    everywhere[..., 1] = everywhere[..., 0].flip(-1)
    full = rebuilt(history, units=everywhere)
    assert proposed(goals, full) is None
    violated = Goals(goals.scores, -torch.ones(1, 60, dtype=torch.float64))
    assert proposed(violated, history) is None


def test_parameters_that_the_best_trial_lacks_are_not_moved() -> None:
    goals, history = study_of()
    active = history.active.clone()
    active[0, 0, 1] = False
    lacking = rebuilt(history, active=active)
    pool = proposed(goals, lacking)
    assert pool is not None and pool.units[0, 0, 1] == history.units[0, 0, 1]


def test_one_end_of_a_parameter_that_holds_nearly_all_of_the_front_is_found() -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x: list[Any] = [trial.suggest_float(f"x{k}", 0, 1) for k in range(3)]
        place = x[0] ** 100
        distance = 1 + (x[1] - 0.7) ** 2 + (x[2] - 0.2) ** 2
        return distance * place, distance * (1 - place)

    study = optuna.create_study(directions=["minimize"] * 2, sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=45)
    first = [trial.values[0] for trial in study.best_trials]
    assert min(first) < 0.01 and max(first) > 0.5


def test_the_nearest_value_is_found_for_every_parameter() -> None:
    drawn = torch.Generator().manual_seed(0)
    tried = torch.rand(40, 3, generator=drawn, dtype=torch.float64)
    places = torch.linspace(0, 1, 11, dtype=torch.float64)
    expected = (places[:, None, None] - tried).abs().amin(1)
    assert torch.equal(unvisited._to_nearest(places, tried), expected)
