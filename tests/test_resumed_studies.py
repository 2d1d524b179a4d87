"""A suggestion is a function of the stored trials, the seed and the checkpoint, and of no process.

What a sampler keeps must never show: after any history it suggests what a new one does.
"""

from __future__ import annotations

import copy
import math
from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.study import Study
from optuna.trial import Trial
from optuna.trial import TrialState
from optuna.trial import create_trial
import pytest

from optuna_rocket import RocketSampler
from optuna_rocket.agent import fitting
from tests.support import sampler_log


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "end", "end", "fail", "prune", "foreign"]),
        st.integers(0, 7),
    ),
    min_size=12,
    max_size=30,
)


STATES = {"fail": TrialState.FAIL, "prune": TrialState.PRUNED}


def ask_for(trial: Trial) -> dict[str, Any]:
    """A range that depends on something else, a branch, and a number."""
    trial.suggest_int("k", 1, 1 + trial.number * 7 % 4)
    if trial.suggest_categorical("kind", ["a", "b"]) == "b":
        trial.suggest_float("y", 0, 1)
    trial.suggest_float("x", 0, 1)
    return trial.params


def play(study: Study, acts: list[tuple[str, int]]) -> None:
    """Trials that begin and end in any order, and some by others."""
    running: list[Trial] = []
    for what, n in acts:
        if what == "ask" or (not running and what != "foreign"):
            running.append(study.ask())
            if n % 2:
                ask_for(running[-1])
        elif what == "foreign":
            done = [x for x in study.trials if x.state == TrialState.COMPLETE]
            for x in done[-1:]:
                study.add_trial(
                    create_trial(params=x.params, distributions=x.distributions, value=float(n))
                )
        else:
            trial = running.pop(n % len(running))
            params = ask_for(trial)
            value = (params["x"] - 0.3) ** 2 + 0.1 * params["k"] + params.get("y", 0.2)
            if what == "prune":
                trial.report(value, 1 + n)
            if what == "end":
                study.tell(trial, value)
            else:
                study.tell(trial, state=STATES[what])


def new_and_kept(study: Study, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a new sampler suggests next, and what the study's own does."""
    storage = copy.deepcopy(study._storage)
    twin = optuna.load_study(
        study_name=study.study_name, storage=storage, sampler=RocketSampler(seed=seed)
    )
    return ask_for(twin.ask()), ask_for(study.ask())


@given(ACTS, st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_a_kept_sampler_suggests_what_a_new_one_does(
    acts: list[tuple[str, int]], seed: int
) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=seed))
    play(study, acts)
    new, kept = new_and_kept(study, seed)
    assert new == kept


def test_a_range_that_turns_out_to_depend_on_another_parameter() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    batch = [study.ask() for _ in range(4)]

    def end(trial: Trial, n: int) -> None:
        k, x = trial.suggest_int("k", 1, n), trial.suggest_float("x", 0, 1)
        study.tell(trial, (x - 0.3) ** 2 + k * 0.1)

    for trial in batch[1:]:
        end(trial, 1)  # as if k were fixed
    end(study.ask(), 1)
    end(batch[0], 4)  # and began before them
    for n in (4, 1, 3, 4, 2):
        end(study.ask(), n)
    new, kept = new_and_kept(study, 0)
    assert new == kept


def test_a_study_whose_trials_lack_what_was_stored_of_suggestions() -> None:
    for seed in range(6):
        kept = RocketSampler(seed=seed)
        study = optuna.create_study(sampler=kept)
        study.optimize(lambda trial: (trial.suggest_float("x", 0, 1) - 0.3) ** 2, n_trials=18)
        study.ask()
        other = optuna.create_study()
        other.add_trials(
            create_trial(params=x.params, distributions=x.distributions, value=x.value)
            for x in study.trials[:18]
        )
        first, second = (next_x(other, sampler) for sampler in (kept, RocketSampler(seed=seed)))
        assert first == second


def next_x(study: Study, sampler: RocketSampler) -> float:
    twin = optuna.create_study(sampler=sampler)
    twin.add_trials(study.trials)
    return twin.ask().suggest_float("x", 0, 1)


def test_choices_of_another_type_are_other_choices() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for _ in range(6):
        trial = study.ask()
        study.tell(trial, trial.suggest_categorical("b", [0, 1]) + trial.suggest_float("x", 0, 1))
    edited = CategoricalDistribution([False, True])
    for value in (1.0, 2.0):
        params = {"b": False, "x": value / 4}
        space: dict[str, BaseDistribution] = {"b": edited, "x": FloatDistribution(0, 1)}
        study.add_trial(create_trial(params=params, distributions=space, value=value))
    assert type(study.ask().suggest_categorical("b", [False, True])) is bool


def test_a_kept_belief_outlives_a_report_of_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) ** 2, n_trials=12)
    study.ask()  # runs on: what comes later is not settled
    diverged = study.ask()
    diverged.suggest_float("x", 0, 1)
    diverged.report(1.0, 1)
    diverged.report(math.nan, 3)
    study.tell(diverged, state=TrialState.PRUNED)
    study.ask().suggest_float("x", 0, 1)

    def fit(*_: object) -> None:
        raise AssertionError("the memory was fitted anew")

    monkeypatch.setattr(fitting, "fit", fit)
    with sampler_log() as log:
        study.ask().suggest_float("x", 0, 1)
    assert log == []
