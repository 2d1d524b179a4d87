from __future__ import annotations

from collections.abc import Callable
import math

import optuna
import pytest

from optuna_rocket import RocketSampler
from optuna_rocket import explain
from optuna_rocket import hindsight
from optuna_rocket import suggestions
from optuna_rocket import visualization


def bowl(d: int, held: dict[str, float] | None = None) -> Callable[[optuna.Trial], float]:
    """A bowl of ``d`` asked for and what is held besides."""

    def objective(trial: optuna.Trial) -> float:
        asked = [trial.suggest_float(f"x{i}", 0, 1) for i in range(d)]
        fixed = [value for name, value in (held or {}).items() if int(name[1:]) >= d]
        return sum((x - 0.3) ** 2 for x in (*asked, *fixed))

    return objective


def edited(seed: int, first: int = 12, later: int = 3, n_later: int = 15) -> optuna.Study:
    """A study whose objective holds most of its parameters at their best values after a while."""
    study = optuna.create_study(sampler=RocketSampler(seed=seed))
    study.optimize(bowl(first), n_trials=25)
    study.optimize(bowl(later, study.best_params), n_trials=n_later)
    return study


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_is_tuned(seed: int) -> None:
    study = edited(seed)
    assert all(len(trial.params) == 3 for trial in study.trials[25:])
    best = min(study.trials[25:], key=lambda trial: trial.value or 0.0).params
    # Without: squared distances of .02, .02 and .05.
    assert sum((x - 0.3) ** 2 for x in best.values()) < 0.004


def test_what_has_gone_is_held_at_its_best_value() -> None:
    study = edited(0)
    view = hindsight.look(study)
    at = view.geometry.held
    assert at is not None and at.isnan()[0].tolist() == [
        name in {"x0", "x1", "x2"} for name in view.space.names
    ]
    before = min(study.trials[:25], key=lambda trial: trial.value or 0.0).params
    for name, value in zip(view.space.names, at[0].tolist(), strict=True):
        assert math.isnan(value) or value == pytest.approx(before[name])
    past = view.remembered.history
    assert bool(past.active.all()) and not view.geometry.has_gaps


def test_a_parameter_that_comes_back_is_asked_for_and_tuned() -> None:
    study = edited(0)
    study.optimize(bowl(12), n_trials=6)
    assert all(len(trial.params) == 12 for trial in study.trials[-6:])
    assert hindsight.look(study).geometry.held is None


def test_explanations_and_plots_know_what_is_left() -> None:
    study = edited(1)
    assert "x9" not in explain(study, study.trials[-1].number).text
    assert not {"x9"} & suggestions.read(study.trials[-1].system_attrs).params.keys()
    figure = visualization.plot_slice_expectation(study)
    assert {axis.title.text for axis in figure.select_xaxes()} >= {"x0", "x1", "x2"}


def test_a_conditional_parameter_has_not_gone() -> None:
    """Trials with and without it come by turns, whatever decides that."""

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        y = trial.suggest_float("y", 0, 1) if int(100 * x) % 2 else 0.5
        return (x - 0.3) ** 2 + (y - 0.3) ** 2

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=40)
    assert {len(trial.params) for trial in study.trials} == {1, 2}
    assert hindsight.look(study).geometry.held is None


def test_failures_tell_nothing_of_what_has_gone() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(bowl(4), n_trials=8)

    def fails(trial: optuna.Trial) -> float:
        trial.suggest_float("x0", 0, 1)
        raise RuntimeError

    study.optimize(fails, n_trials=8, catch=RuntimeError)
    assert hindsight.look(study).geometry.held is None


def test_with_several_objectives() -> None:
    def objective(d: int) -> Callable[[optuna.Trial], tuple[float, float]]:
        def both(trial: optuna.Trial) -> tuple[float, float]:
            value = bowl(d)(trial)
            return value, abs(trial.params["x0"] - 0.8)

        return both

    study = optuna.create_study(directions=["minimize"] * 2, sampler=RocketSampler(seed=0))
    study.optimize(objective(6), n_trials=15)
    study.optimize(objective(2), n_trials=12)
    assert all(len(trial.params) == 2 for trial in study.trials[15:])
    assert hindsight.look(study).geometry.held is not None
