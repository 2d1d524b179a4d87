"""Trials that raise, or are pruned, right after their first parameters: by hand, and in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.study import Study
from optuna.trial import Trial
from optuna.trial import TrialState
import pytest
import torch

import optuna_rocket
from optuna_rocket import RocketSampler
from optuna_rocket import hindsight
from optuna_rocket import suggestions
from optuna_rocket import trials
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.records import Rungs
from optuna_rocket.records import record_of
from optuna_rocket.suggestions import Suggestion
from tests.records import add
from tests.records import new_study
from tests.support import Crash
from tests.support import all_params
from tests.support import sampler_log


SPACE: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(["a", "b"]),
    "x": FloatDistribution(0, 1),
    "y": FloatDistribution(0, 1),
}


def put(
    study: Study,
    params: Mapping[str, Any],
    plan: Mapping[str, float] | None = None,
    state: TrialState = TrialState.FAIL,
    **options: Any,
) -> None:
    """Add a trial of ``SPACE``, complete where there is no plan."""
    if plan is None:
        state, options = TrialState.COMPLETE, {"value": float(len(study.trials)), **options}
    else:
        content = suggestions.encode(Suggestion(dict(plan)))
        options = {"system_attrs": {suggestions.ATTRIBUTE: content}, **options}
    distributions = {name: SPACE[name] for name in params}
    add(study, state, **{"params": dict(params), "distributions": distributions, **options})


def started() -> Study:
    """Two complete trials of each kind, that have all parameters."""
    study = new_study()
    for i, kind in enumerate("abab"):
        put(study, {"kind": kind, "x": 0.2 * i, "y": 0.5})
    return study


def seen(study: Study) -> History:
    """What the next suggestion would be made from."""
    return hindsight.look(study).history


def last(study: Study) -> list[float | None]:
    """Values of the last trial, kind, x and y, None where it counts as having none."""
    history = seen(study)
    row = zip(history.units[0, -1].tolist(), history.active[0, -1].tolist(), strict=True)
    return [value if active else None for value, active in row]


PLAN = {"kind": 1.0, "x": 0.3, "y": 0.7}


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED])
def test_what_was_planned_takes_the_place_of_what_was_not_asked_for(state: TrialState) -> None:
    study = started()
    put(study, {"kind": "b"}, PLAN, state)
    assert last(study) == [1.0, 0.3, 0.7]
    view = hindsight.look(study)
    assert not view.geometry.has_gaps
    assert view.history.planned is not None
    assert view.history.planned[0, -1].tolist() == [False, True, True]


def test_what_was_asked_for_counts_whatever_was_planned() -> None:
    study = started()
    put(study, {"kind": "a", "x": 0.9}, PLAN)
    assert last(study) == [0.0, 0.9, 0.7]
    moved = {"kind": SPACE["kind"], "x": FloatDistribution(0, 2)}
    put(study, {"kind": "a", "x": 1.8}, PLAN, distributions=moved)
    assert last(study) == [0.0, 0.9, 0.7]


def test_a_value_in_a_range_without_a_choice_is_not_replaced() -> None:
    """It was asked for, so the plan is out of date; the parameter is missing as it was."""
    study = started()
    fixed = {"kind": SPACE["kind"], "x": FloatDistribution(0.9, 0.9)}
    put(study, {"kind": "b", "x": 0.9}, PLAN, distributions=fixed)
    assert last(study) == [1.0, None, 0.7]


def test_a_planned_value_outside_of_todays_range_lies_outside() -> None:
    study = started()
    put(study, {"kind": "b"}, {**PLAN, "x": 1.5, "y": -0.25})
    assert last(study) == [1.0, 1.5, -0.25]


def test_a_choice_that_does_not_exist_is_left_out() -> None:
    for choice in (2.0, 0.5, -1.0):
        study = started()
        put(study, {"x": 0.1}, {**PLAN, "kind": choice})
        assert last(study) == [None, 0.1, 0.7]


def test_without_a_plan_a_trial_stays_as_it_was() -> None:
    study = started()
    put(study, {"kind": "b"}, {})
    assert last(study) == [1.0, None, None]
    put(study, {"kind": "b"}, {"x": 0.4})
    assert last(study) == [1.0, 0.4, None]


def test_what_reported_has_come_to_all_of_its_parameters() -> None:
    study = started()
    put(study, {"kind": "b", "x": 0.1}, PLAN, TrialState.PRUNED, intermediate_values={1: 3.0})
    assert last(study) == [1.0, 0.1, None]


def test_a_condition_tells_what_does_not_exist() -> None:
    """The trial was planned before the condition was known; it may have failed in the end."""
    study = new_study()
    for i in range(3):
        put(study, {"kind": "a", "x": 0.2 * i})
        put(study, {"kind": "b", "x": 0.2 * i, "y": 0.4})
    put(study, {"kind": "a", "x": 0.1}, PLAN)
    assert last(study) == [0.0, 0.1, None]
    put(study, {"kind": "a"}, PLAN)
    assert last(study) == [0.0, 0.3, None]
    put(study, {"kind": "b"}, PLAN)
    assert last(study) == [1.0, 0.3, 0.7]
    put(study, {}, PLAN)
    assert last(study) == [1.0, 0.3, 0.7]
    put(study, {}, {**PLAN, "kind": 0.0})
    assert last(study) == [0.0, 0.3, None]


def test_what_complete_trials_lack_for_no_known_reason_is_not_filled_in() -> None:
    study = started()
    put(study, {"kind": "a", "x": 0.1})
    put(study, {"kind": "b", "x": 0.1})
    put(study, {"kind": "b"}, PLAN)
    assert last(study) == [1.0, 0.3, None]


def test_nothing_to_fill_is_the_same_history() -> None:
    study = started()
    put(study, {"kind": "a", "x": 0.5, "y": 0.5}, PLAN)
    assert seen(study).planned is None


def invalid(trial: Trial) -> bool:
    """Half of the combinations of three switches."""
    one, two, three = (trial.suggest_categorical(name, ["a", "b"]) for name in "pqr")
    return (one == "a" and (two == "a" or three == "a")) or (one, two, three) == ("b", "a", "b")


def checked(trial: Trial, how: str = "raise", n_numbers: int = 5) -> float:
    """A check of three switches before some numbers are asked for."""
    if invalid(trial):
        if how == "raise":
            raise Crash
        if how == "prune":
            raise optuna.TrialPruned
        return math.nan
    return sum((trial.suggest_float(f"x{i}", -1, 1) - 0.3) ** 2 for i in range(n_numbers))


def bad(study: Study) -> int:
    return sum(trial.state != TrialState.COMPLETE for trial in study.trials)


@pytest.mark.parametrize("how", ["raise", "prune", "nan"])
def test_where_it_failed_early_a_study_learns_not_to_go(how: str) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: checked(trial, how), n_trials=36, catch=(Crash,))
    assert bad(study) <= 13


@pytest.mark.parametrize("kind", ["goals", "constraint"])
def test_so_does_one_that_wants_more_than_a_score(kind: str) -> None:
    def objective(trial: Trial) -> Any:
        value = checked(trial)
        if kind == "goals":
            return value, -trial.params["x0"]
        trial.set_constraint("c", trial.params["x1"] - 0.5)
        return value

    directions: list[Any] = ["minimize", "minimize"]
    study = optuna.create_study(
        directions=directions[: 2 if kind == "goals" else 1], sampler=RocketSampler(seed=0)
    )
    study.optimize(objective, n_trials=36, catch=(Crash,))
    assert bad(study) <= 13


def conditional(trial: Trial) -> float:
    """Early ends of both kinds, late ones, and a branch."""
    x = trial.suggest_float("x", 0, 1)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    if x > 0.7 and kind == "a":
        raise Crash
    if x < 0.2:
        raise optuna.TrialPruned
    value = x + trial.suggest_float("y", 0, 1)
    if kind == "b":
        value += trial.suggest_float("z", 0, 1)
    if trial.number % 6 == 4:
        raise Crash
    return value


def test_new_sampler_for_every_trial_is_uninterrupted() -> None:
    """What is kept of the trials is what they were: conditions are found in nothing else."""
    whole = optuna.create_study(sampler=RocketSampler(seed=1))
    whole.optimize(conditional, n_trials=30, catch=(Crash,))
    part = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    for _ in range(30):
        part = optuna.load_study(
            study_name=part.study_name, storage=part._storage, sampler=RocketSampler(seed=1)
        )
        part.optimize(conditional, n_trials=1, catch=(Crash,))
    assert seen(whole).planned is not None
    assert all_params(part) == all_params(whole)


@pytest.mark.parametrize("fresh", [False, True])
def test_what_is_believed_is_seen_in_hindsight(fresh: bool) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(conditional, n_trials=24, catch=(Crash,))
    agent = None if fresh else hindsight.agent_of(study)
    n_filled = 0
    for trial in study.trials[6:]:
        stored = trials.stored_suggestion(trial)
        if stored is None or set(stored.params) != set(trial.params):
            continue
        view = hindsight.look_back(study, trial, agent)
        n_filled += view.history.planned is not None
        record = record_of(trial, trials.score_signs(study), Rungs())
        reading, _ = view.read(*view.encode(record))
        assert float(reading.mean) == pytest.approx(stored.mean, abs=1e-5)
    assert n_filled > 3


def test_trials_that_end_in_another_order_are_read_alike() -> None:
    def run(fresh: bool) -> list[dict[str, Any]]:
        study = optuna.create_study(sampler=RocketSampler(seed=2))
        running: list[Trial] = []
        for number in range(30):
            if fresh:
                study.sampler = RocketSampler(seed=2)
            running.append(study.ask())
            early = running[-1].suggest_float("x", 0, 1) > 0.6
            if not early:
                running[-1].suggest_float("y", 0, 1)
            if len(running) == 3:
                ended = running.pop(number % 3)
                value = sum(ended.params.values())
                if "y" in ended.params:
                    study.tell(ended, value)
                else:
                    study.tell(ended, state=TrialState.FAIL)
        return all_params(study)

    assert run(fresh=False) == run(fresh=True)


@pytest.mark.parametrize("how", ["raise", "prune"])
def test_an_explanation_is_of_what_was_planned(how: str) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: checked(trial, how), n_trials=14, catch=(Crash,))
    early = next(t for t in study.trials[4:] if t.state != TrialState.COMPLETE)
    with sampler_log() as messages:
        assert str(early.number) in str(optuna_rocket.explain(study, early.number))
    assert messages == []


def grid(trial: Trial, how: str) -> float:
    """16 pairs, of which a check refuses 10 before a third number is asked for."""
    a, b = trial.suggest_int("a", 0, 3), trial.suggest_int("b", 0, 3)
    if (a * 7 + b * 5) % 3:
        raise Crash if how == "raise" else optuna.TrialPruned
    return abs(trial.suggest_int("c", 0, 5) - 2) + a


def test_a_pair_that_was_pruned_early_is_not_tried_again() -> None:
    """A trial that was pruned asked for all that it needed: other plans would end alike."""
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: grid(trial, "prune"), n_trials=30)
    pruned = [t for t in study.trials[3:] if t.state == TrialState.PRUNED]
    pairs = Counter((t.params["a"], t.params["b"]) for t in pruned)
    assert max(pairs.values()) == 1


def test_a_plan_that_failed_early_is_not_made_again() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: grid(trial, "raise"), n_trials=40, catch=(Crash,))
    history = seen(study)
    failed = history.outcomes[0] == Outcome.FAILED
    planned = history.planned
    assert planned is not None and bool(planned[0, failed].any())
    rows = history.units[0, failed & planned[0].any(-1)]
    assert len(torch.unique(rows, dim=0)) == len(rows)


@pytest.mark.parametrize("n_before", [0, 6])
def test_what_older_trials_could_not_have_hides_nothing(n_before: int) -> None:
    """A score that was noted without parameters; parameters that the objective has got since."""
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.add_trial(optuna.trial.create_trial(value=3.0, params={}, distributions={}))
    study.optimize(lambda trial: checked(trial, n_numbers=1), n_trials=n_before, catch=Crash)
    study.optimize(checked, n_trials=30, catch=Crash)
    newer = study.trials[1 + n_before :]
    assert sum(trial.state == TrialState.FAIL for trial in newer) < 15
    assert hindsight.look(study).history.planned is not None


def test_a_trial_that_is_pruned_early_says_nothing_of_conditions() -> None:
    def objective(trial: Trial) -> float:
        model = trial.suggest_categorical("model", ["a", "b"])
        x = trial.suggest_float(f"{model}_x", 0, 1)
        if x > 0.5:
            raise optuna.TrialPruned
        return x + sum((trial.suggest_float(f"{model}_{i}", 0, 1) - 0.6) ** 2 for i in range(3))

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=25)
    assert any(trial.state == TrialState.PRUNED for trial in study.trials)
    geometry = hindsight.look(study).geometry
    assert int((geometry.parent >= 0).sum()) == 8
