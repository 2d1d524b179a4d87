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
from optuna_rocket.agent import visited
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


def proposed(
    goals: Goals, history: History, space: Mapping[str, BaseDistribution] = SPACE
) -> Pool | None:
    geometry = Space(space).geometry({}, has_gaps=not bool(history.active.all()))
    tried = visited.by(history, geometry)
    return unvisited.propose(goals, history, geometry, history.units[0], tried)


def test_the_longest_stretch_without_trials_is_visited_from_the_best_trial() -> None:
    goals, history = study_of()
    pool = proposed(goals, history)
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


def test_a_configuration_that_was_tried_is_not_proposed() -> None:
    goals, history = study_of()
    active, units = history.active.clone(), history.units.clone()
    # It did without b, for a reason that nothing tells: what b would be makes no difference.
    units[0, 1] = units[0, 0]
    active[0, 1, 1] = False
    assert proposed(goals, rebuilt(history, units=units)) is not None
    assert proposed(goals, rebuilt(history, units=units, active=active)) is None


def test_log_scaled_integers_go_to_values_that_no_trial_has_had() -> None:
    goals, history = study_of(60)
    space = {**SPACE, "i": IntDistribution(1, 4, log=True)}
    units = history.units.clone()
    units[..., 1] = units[..., 0].flip(-1)
    one, two, four = (Space(space).encode(3, value) for value in (1, 2, 4))
    units[..., 3] = one
    pool = proposed(goals, rebuilt(history, units=units), space)
    assert pool is not None and pool.units[0, 0, 3] == pytest.approx(four)
    units[0, :3, 3] = torch.tensor([two, Space(space).encode(3, 3), four])
    assert proposed(goals, rebuilt(history, units=units), space) is None


def test_log_scaled_integers_make_no_trial_repeat_another() -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_int("x", 1, 999)
        k = trial.suggest_int("k", 1, 4, log=True)
        value = (x / 1000 - 0.4) ** 2
        return value, 1.0001 * value + 1e-6 * k

    study = optuna.create_study(directions=["minimize"] * 2, sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=25)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 25


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
    assert torch.equal(unvisited._to_nearest(places[:, None].expand(-1, 3), tried), expected)
