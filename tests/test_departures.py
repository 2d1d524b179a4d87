from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
import math

import optuna
import pytest
import torch

from optuna_rocket import RocketSampler
from optuna_rocket import departures
from optuna_rocket import explain
from optuna_rocket import hindsight
from optuna_rocket import suggestions
from optuna_rocket import visualization
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.history import empty_history


def history(*rows: str, failed: Sequence[int] = ()) -> History:
    """Trials that have the parameters marked with x; later ones are better."""
    active = torch.tensor([[[mark == "x" for mark in row] for row in rows]])
    n, d = active.shape[1:]
    outcomes = torch.full((1, n), int(Outcome.COMPLETE))
    outcomes[0, list(failed)] = Outcome.FAILED
    number = torch.arange(n, dtype=torch.float64)
    return replace(
        empty_history(1, d),
        units=torch.where(active, 0.01 * number[None, :, None], 0.5),
        active=active,
        outcomes=outcomes,
        scores=number[None],
    )


@pytest.mark.parametrize(
    ("rows", "gone"),
    [
        (["xx"] * 5 + ["x."] * 3, [1]),
        (["xx"] * 4 + ["x."] * 4, []),
        (["xx"] * 6 + ["x."] * 2, []),
        (["x."] * 2 + ["xx"] * 5 + ["x."] * 3, [1]),  # it joined, and went
        (["xx"] * 5 + ["x."] + ["xx"] + ["x."] * 5, []),  # it comes and goes
        (["xx"] * 6 + [".."] * 9, []),  # scores without parameters tell nothing
        (["xx"] * 5 + ["x."] * 3 + [".."], [1]),
    ],
)
def test_what_has_gone(rows: list[str], gone: list[int]) -> None:
    assert departures.columns(history(*rows)) == gone


def test_failures_do_not_tell_what_has_gone() -> None:
    rows = ["xx"] * 5 + ["x."] * 6
    assert departures.columns(history(*rows, failed=range(6, 11))) == []
    assert departures.columns(history(*rows, failed=range(8, 11))) == [1]


def test_trials_since_hold_the_value_of_the_best_one() -> None:
    past = history("xx", "x.", "xx", "xx", "xx", "xx", "x.", "x.", "..", "x.", failed=[1, 7])
    merit = torch.tensor([0.0, 9, 1, 5, 2, 3, 9, 9, 9, 9], dtype=torch.float64)
    at = departures.held(past, [1], merit)
    assert at is not None and at[0, 0].isnan() and float(at[0, 1]) == 0.03
    now = departures.filled(past, at)
    assert now.planned is not None
    assert (
        now.planned[0, :, 1].nonzero()[:, 0].tolist() == [6, 7, 9]
        and not now.planned[..., 0].any()
    )
    assert now.units[0, [6, 7, 9], 1].tolist() == [0.03] * 3
    assert now.active[0, :, 1].tolist() == [True, False] + [True] * 6 + [False, True]
    assert departures.filled(past, None) is past


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


def test_where_trials_fail_is_known_after_an_edit() -> None:
    """Of 15 trials up to 13 failed when what was planned for earlier failures was dropped."""

    def objective(d: int) -> Callable[[optuna.Trial], float]:
        def fails_above(trial: optuna.Trial) -> float:
            if trial.suggest_float("x0", 0, 1) > 0.5:
                raise RuntimeError
            return bowl(d)(trial)

        return fails_above

    for seed in range(3):
        study = optuna.create_study(sampler=RocketSampler(seed=seed))
        study.optimize(objective(6), n_trials=25, catch=RuntimeError)
        study.optimize(objective(2), n_trials=15, catch=RuntimeError)
        states = [trial.state for trial in study.trials[25:]]
        assert states.count(optuna.trial.TrialState.FAIL) <= 4


def test_what_is_left_of_a_finite_space_is_tried_whole() -> None:
    """Whatever was tried with what has gone: the objective may be another one."""

    def objective(d: int, best: int) -> Callable[[optuna.Trial], float]:
        return lambda trial: float(
            sum(abs(trial.suggest_categorical(f"c{i}", [0, 1, 2]) - best) for i in range(d))
        )

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective(4, 0), n_trials=30)
    study.optimize(objective(2, 2), n_trials=12)
    # Until three trials lack the rest nobody knows that it has gone.
    assert len({tuple(trial.params.values()) for trial in study.trials[30:]}) == 9


def test_explanations_know_how_near_a_trial_is() -> None:
    study = edited(2, n_later=20)
    found = [explain(study, number) for number in range(30, 45)]
    # Without what is held they were far from every earlier trial.
    distances = [one.distance for one in found if one.distance is not None]
    assert len(distances) > 5 and sorted(distances)[len(distances) // 2] < 0.1


def test_with_several_objectives() -> None:
    def objective(d: int) -> Callable[[optuna.Trial], tuple[float, float]]:
        def both(trial: optuna.Trial) -> tuple[float, float]:
            value = bowl(d)(trial)
            return value, abs(trial.params["x0"] - 0.8)

        return both

    study = optuna.create_study(directions=["minimize"] * 2, sampler=RocketSampler(seed=0))
    study.optimize(objective(6), n_trials=15)
    study.optimize(objective(2), n_trials=12)
    later = [tuple(trial.params.values()) for trial in study.trials[15:]]
    assert all(len(values) == 2 for values in later) and len(set(later)) >= 11
    assert hindsight.look(study).geometry.held is not None
