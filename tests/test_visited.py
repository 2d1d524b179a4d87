"""No configuration is tried twice, whatever the reason that a parameter is absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.trial import Trial
import pytest
import torch

from optuna_rocket import RocketSampler
from optuna_rocket.agent import proposals
from optuna_rocket.agent import visited
from optuna_rocket.history import Outcome
from optuna_rocket.space import Space
from tests.builders import history_of


def two_switches(trial: Trial) -> float:
    """40 configurations: a child that two parents switch on together."""
    kind = trial.suggest_categorical("kind", ["a", "b"])
    plan = trial.suggest_categorical("plan", ["a", "b"])
    size = trial.suggest_int("size", 1, 8)
    extra = trial.suggest_int("extra", 1, 3) if kind == "a" and plan == "b" else 0
    return float(size + extra + (kind == "a"))


def log_parent(trial: Trial) -> float:
    """6 configurations: a child of a log-scaled integer."""
    n = trial.suggest_int("n", 1, 4, log=True)
    return n + (trial.suggest_categorical("child", ["a", "b", "c"]) == "a" if n == 1 else 0.0)


def dropped(trial: Trial) -> float:
    """36 configurations and a parameter that the objective loses."""
    x, y = trial.suggest_int("x", 1, 6), trial.suggest_int("y", 1, 6)
    return float(x + y + (trial.suggest_int("z", 1, 4) if trial.number < 4 else 0))


def without(params: dict[str, Any], name: str) -> str:
    return str(sorted((key, value) for key, value in params.items() if key != name))


@pytest.mark.parametrize(("objective", "n"), [(two_switches, 36), (log_parent, 6), (dropped, 28)])
@pytest.mark.parametrize("kind", ["plain", "goals", "constraint"])
def test_nothing_is_tried_twice(objective: Callable[[Trial], float], n: int, kind: str) -> None:
    def wanted(trial: Trial) -> Any:
        value = objective(trial)
        if kind == "constraint":
            trial.set_constraint("c", value - 8)
        return (value, -value) if kind == "goals" else value

    both: list[Any] = ["minimize", "minimize"]
    directions = both if kind == "goals" else both[:1]
    study = optuna.create_study(directions=directions, sampler=RocketSampler(seed=0))
    study.optimize(wanted, n_trials=n)
    counts = Counter(without(trial.params, "z") for trial in study.trials)
    # Before a parameter was first seen, its absence says nothing.
    assert len(counts) >= n - 3 and max(counts.values()) <= 2


def models(trial: Trial) -> float:
    """One branch without a parameter, one with five values, two that are continuous."""
    model = trial.suggest_categorical("model", ["bayes", "neighbours", "kernel", "trees"])
    if model == "bayes":
        return 0.3
    if model == "neighbours":
        return 0.22 + 0.02 * abs(trial.suggest_categorical("k", [1, 3, 5, 7, 9]) - 5)
    if model == "kernel":
        c, gamma = trial.suggest_float("c", -3, 3), trial.suggest_float("gamma", -5, 1)
        return 0.25 + 0.05 * abs(c - 1) + 0.05 * abs(gamma + 2)
    rate, depth = trial.suggest_float("rate", 0, 1), trial.suggest_int("depth", 2, 12)
    return 0.24 + 0.3 * abs(rate - 0.3) + 0.02 * abs(depth - 6) + trial.suggest_float("rows", 0, 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_small_branch_is_not_tried_again_and_again(seed: int) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=seed))
    study.optimize(models, n_trials=30)
    counts = Counter(tuple(sorted(trial.params.items())) for trial in study.trials)
    assert max(counts.values()) == 1


def test_what_a_running_trial_will_not_ask_for_does_not_hide_it() -> None:
    kind = CategoricalDistribution(["a", "b"])
    space = Space({"k": FloatDistribution(0, 1), "kind": kind, "x": FloatDistribution(0, 1)})
    # ``k`` exists for kind a. The running trial was planned when that was not known.
    geometry = space.geometry({0: (1, [True, False])}, has_gaps=True)
    units = torch.tensor([[[0.1, 0.0, 0.3], [0.5, 1.0, 0.2], [0.8, 1.0, 0.7]]]).double()
    outcomes = torch.tensor([[Outcome.COMPLETE, Outcome.COMPLETE, Outcome.PENDING]])
    history = replace(
        history_of(units, torch.zeros(1, 3).double(), geometry, outcomes),
        active=torch.tensor([[[True, True, True], [False, True, True], [True, True, True]]]),
        units=units,
    )
    wanted = torch.tensor([[[0.4, 1.0, 0.7], [0.4, 1.0, 0.6]]]).double()
    candidates = proposals.finish(wanted, torch.zeros(1, 2).long(), geometry)
    assert visited.by(history, geometry).has(candidates.units).tolist() == [[True, False]]


def test_a_parameter_that_comes_late_opens_everything_again() -> None:
    def objective(trial: Trial) -> float:
        x, y = trial.suggest_int("x", 1, 4), trial.suggest_int("y", 1, 4)
        z = trial.suggest_int("z", 1, 4) if trial.number >= 12 else 4
        return float(abs(x - 2) + abs(y - 3) + z)

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=30)
    assert study.best_params == {"x": 2, "y": 3, "z": 1}


def test_the_middle_is_tried_although_a_trial_lacked_the_parameter() -> None:
    def objective(trial: Trial) -> float:
        if trial.number == 0:
            raise RuntimeError("broken before it asked for anything")
        return abs(trial.suggest_int("n", 1, 9) - 5)

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=10, catch=(RuntimeError,))
    assert sorted(trial.params["n"] for trial in study.trials[1:]) == list(range(1, 10))


def test_a_value_without_a_choice_is_not_tried_again_and_again() -> None:
    def objective(trial: Trial) -> float:
        n = trial.suggest_int("n", 1, 20)
        return 0.1 * (n - 17) ** 2 + (trial.suggest_int("k", 1, n) - 15) ** 2

    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(3):
        study = optuna.create_study(sampler=RocketSampler(seed=seed))
        study.optimize(objective, n_trials=40)
        counts.update(tuple(trial.params.values()) for trial in study.trials)
        assert study.best_value < 1.2
    assert counts[1, 1] <= 3
