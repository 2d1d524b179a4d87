"""No configuration is tried twice, whatever the reason that a parameter is absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import Trial
import pytest

from optuna_rocket import RocketSampler


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
