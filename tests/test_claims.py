"""Workers that decide at the same time, played step by step in one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.study import Study
import pytest

from optuna_rocket import RocketSampler
from optuna_rocket import claims
from optuna_rocket import trials
from optuna_rocket.records import Record
from optuna_rocket.suggestions import ATTRIBUTE
from optuna_rocket.suggestions import Suggestion
from tests.support import new_trial


SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(0, 10),
    "n": IntDistribution(1, 4),
    "kind": CategoricalDistribution(["a", "b", "c"]),
}
CLAIM = {"x": 5.0, "n": 2.0, "kind": 1.0}
FINITE: dict[str, BaseDistribution] = {"n": IntDistribution(1, 6), "m": IntDistribution(1, 6)}


def claim(study: Study, params: dict[str, float]) -> int:
    """Another worker's running trial with a stored suggestion."""
    trial = new_trial(study)
    trials.write_suggestion(study, trial, Suggestion(params, 0, 0.0, 1.0))
    return trial.number


def read(study: Study) -> list[Record]:
    return trials.records_of(study, study.get_trials(deepcopy=False), number=100)


@pytest.mark.parametrize(
    ("other", "is_rival"),
    [
        (CLAIM, True),
        ({**CLAIM, "x": 5.05}, True),
        ({**CLAIM, "x": 5.2}, False),
        ({**CLAIM, "n": 3.0}, False),
        ({**CLAIM, "kind": 2.0}, False),
        ({**CLAIM, "later": 1.0}, True),
        ({"x": 5.0, "n": 2.0}, False),
        ({}, False),
    ],
)
def test_rivals_have_come_to_the_same_configuration(
    other: dict[str, float], is_rival: bool
) -> None:
    study = optuna.create_study()
    claim(study, {"x": 1.0, "n": 1.0, "kind": 0.0})
    known = read(study)
    number = claim(study, other)
    found = claims.rivals(known, read(study), CLAIM, SPACE)
    assert [record.number for record in found] == ([number] if is_rival else [])


def test_what_was_known_to_the_decision_is_no_rival() -> None:
    study = optuna.create_study()
    claim(study, CLAIM)
    known = read(study)
    assert claims.rivals(known, read(study), CLAIM, SPACE) == []
    # Storages make running trials anew for every reading.
    again = [replace(record) for record in known]
    assert claims.rivals(known, again, CLAIM, SPACE) == []


def test_one_parameter_is_claimed_only_where_a_repetition_may_arise() -> None:
    study = optuna.create_study()
    study.tell(study.ask(FINITE), 1.0)
    assert not claims.may_collide(read(study), FINITE)
    claim(study, {"n": 1.0})
    assert claims.may_collide(read(study), FINITE)
    assert not claims.may_collide(read(study), SPACE)
    # 10^330 configurations are finitely many.
    assert claims.may_collide(read(study), {f"u{i}": IntDistribution(1, 1000) for i in range(110)})


def test_before_any_trial_has_ended_everything_is_claimed() -> None:
    study = optuna.create_study()
    assert not claims.may_collide(read(study), SPACE)
    claim(study, {"x": 0.5})
    assert claims.may_collide(read(study), SPACE)


def test_the_first_wave_of_workers_spreads(tmp_path: Path) -> None:
    url, seeds = f"sqlite:///{tmp_path / 'study.db'}", range(4)
    optuna.create_study(study_name="s", storage=url)
    workers = [
        optuna.load_study(study_name="s", storage=url, sampler=RocketSampler(seed=0))
        for _ in seeds
    ]
    waiting = [worker.ask() for worker in workers]  # none has seen another one's parameters
    points = np.array([[t.suggest_float(x, 0, 1) for x in "xy"] for t in waiting])
    gaps = np.abs(points[:, None] - points[None]).max(-1) + np.eye(len(points))
    assert gaps.min() > 0.1


Meanwhile = Callable[[int, dict[str, float]], None]


def ask_while(study: Study, meanwhile: Meanwhile) -> tuple[dict[str, Any], int]:
    """Ask, while after every claim something happens; the parameters and the number of claims."""
    write, n_claims = trials.write_suggestion, 0

    def interrupted(at: Study, trial: Any, suggestion: Suggestion) -> None:
        nonlocal n_claims
        n_claims += 1
        write(at, trial, suggestion)
        with mock.patch.object(trials, "write_suggestion", write):
            meanwhile(n_claims, dict(suggestion.params))

    with mock.patch.object(trials, "write_suggestion", interrupted):
        return study.ask(FINITE).params, n_claims


def copy_until(study: Study, k: int, params: dict[str, float], end: int) -> None:
    """Another worker claims the same, as long as there were fewer claims than ``end``."""
    if k < end:
        claim(study, params)


def finite_study(n_trials: int = 6) -> Study:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for _ in range(n_trials):
        trial = study.ask(FINITE)
        study.tell(trial, abs(trial.params["n"] - 3) + abs(trial.params["m"] - 4))
    return study


def test_a_worker_decides_again_where_another_has_claimed_the_same() -> None:
    undisturbed, n_claims = ask_while(finite_study(), lambda k, params: None)
    assert n_claims == 1
    study = finite_study()
    params, n_claims = ask_while(study, lambda k, p: copy_until(study, k, p, 99))
    assert n_claims == len(claims.ROUNDS), "the last round's claim stands, whatever happens"
    study = finite_study()
    params, n_claims = ask_while(study, lambda k, p: copy_until(study, k, p, 3))
    assert n_claims == 3
    others = [trials.stored_suggestion(trial) for trial in study.trials[7:]]
    assert len(others) == 2 and undisturbed == {k: int(v) for k, v in _params(others[0]).items()}
    assert params not in [_params(other) for other in others]
    stored = trials.stored_suggestion(study.trials[6])
    assert stored is not None and stored.params == params


def _params(suggestion: Suggestion | None) -> dict[str, float]:
    assert suggestion is not None
    return suggestion.params


def test_two_that_see_each_other_do_not_go_on_to_agree() -> None:
    """Each decides again from the same trials: without the lot both would take the second best."""
    second = []
    for seed in range(6):
        study = finite_study()
        study.sampler = RocketSampler(seed=seed)
        params, _ = ask_while(study, partial(copy_until, study, end=2))
        second.append(tuple(sorted(params.items())))
    assert len(set(second)) > 2


def test_parameters_one_by_one_are_claimed_beside_other_trials() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    alone = study.ask()
    alone.suggest_int("n", 1, 6)
    assert ATTRIBUTE not in study.trials[0].system_attrs  # nobody runs beside it
    trial = study.ask()
    trial.suggest_int("n", 1, 6)
    trial.suggest_int("m", 1, 6)
    stored = trials.stored_suggestion(study.trials[1])
    assert stored is not None and stored.params == trial.params
