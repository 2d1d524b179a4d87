"""What RocketPruner and the readers behind it do when there are thousands of trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketPruner
from optuna_rocket import curves
from optuna_rocket.fidelity import forecast
from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import gather
from optuna_rocket.trials import CurveReader


def falling(x: float, step: int) -> float:
    """A loss that every epoch brings nearer to x."""
    return x + 1 / (step + 1)


def add_trial(study: optuna.Study, x: float, last: int, *, is_complete: bool) -> None:
    study.add_trial(
        optuna.create_trial(
            state=TrialState.COMPLETE if is_complete else TrialState.PRUNED,
            value=falling(x, last),
            intermediate_values={step: falling(x, step) for step in range(last + 1)},
        )
    )


def complete_study(n: int) -> optuna.Study:
    study = optuna.create_study()
    for x in np.random.default_rng(0).random(n).tolist():
        add_trial(study, x, 26, is_complete=True)
    return study


def many_curves(n: int, n_complete: int) -> list[curves.Curve]:
    """Trials of which the first ones are complete and the others pruned at a first report."""
    found = []
    for number, x in enumerate(np.random.default_rng(0).random(n).tolist()):
        is_complete = number < n_complete
        trial = optuna.create_trial(
            state=TrialState.COMPLETE if is_complete else TrialState.PRUNED,
            value=x,
            intermediate_values={1: x, 9: x} if is_complete else {1: x},
        )
        trial.number = number
        found.append(curves.curve_of(trial, -1.0))
    return found


def test_the_latest_trials_are_learnt_from_and_some_complete_ones() -> None:
    """Evidence from all of them took memory that grew with the square of their number."""
    few, many = many_curves(1000, 1000), many_curves(3000, 100)
    assert len(curves.learn(few)[0].counts) == 1000
    evidence, _ = curves.learn(many)
    n_kept = forecast._LEAST_COMPLETE
    assert len(evidence.counts) == forecast.MAX_TRIALS + n_kept
    assert evidence.finals[:n_kept].tolist() == [x.final for x in many[100 - n_kept : 100]]
    assert np.isnan(evidence.finals[n_kept:]).all()
    assert evidence.forecast(1, -0.5) is not None
    recent = many_curves(3000, 2990)
    assert len(curves.learn(recent)[0].counts) == forecast.MAX_TRIALS, "enough are complete"
    assert curves.agreement(recent, 1)[1] == forecast.MAX_TRIALS - 10


def test_what_is_asked_of_all_trials_outlives_their_reports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forecast, "MAX_TRIALS", 20)
    study = optuna.create_study()
    add_trial(study, 0.0, 39, is_complete=True)
    for x in np.random.default_rng(0).uniform(0.2, 1, 60).tolist():
        add_trial(study, x, 26, is_complete=True)
    for _ in range(30):
        add_trial(study, 0.9, 0, is_complete=False)
        study.add_trial(optuna.create_trial(value=5.0))
    standings = CurveReader().standings(study)
    assert standings.best == -falling(0.0, 39)
    assert standings.longest is not None and standings.longest.trial.number == 0
    assert (standings.n_complete, len(standings.curves)) == (61, 91)
    trial = optuna.create_trial(
        state=TrialState.RUNNING, intermediate_values={k: falling(0.95, k) for k in range(8)}
    )
    trial.number = 1001
    assert RocketPruner().prune(study, trial), "although the latest trials were all pruned"
    monkeypatch.setattr(forecast, "_LEAST_COMPLETE", 0)
    assert not RocketPruner().prune(study, trial)


def test_long_studies_learn_anew_as_seldom_as_those_of_a_thousand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cut moved every 50 trials where it should have every fiftieth of all."""
    n_arranged = 0

    def counted(*arguments: Any) -> Evidence:
        nonlocal n_arranged
        n_arranged += 1
        return gather(*arguments)

    monkeypatch.setattr(curves, "gather", counted)
    monkeypatch.setattr(forecast, "MAX_TRIALS", 200)
    trials = many_curves(900, 450)
    pruner = RocketPruner()
    cuts = set()
    for n in range(500, 900):
        pruner._arrange(curves.Standings().after(trials[:n]))
        assert pruner._evidence is not None
        cuts.add(len(pruner._evidence[0]))
    assert n_arranged == len(cuts) == 100, "every fourth trial is a fiftieth of 200"
    for n in range(1, 100):
        pruner._arrange(curves.Standings().after(trials[:n]))
        assert pruner._evidence is not None and len(pruner._evidence[0]) == n


def test_what_is_known_of_a_study_grows_with_it_in_any_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    n_read = 0

    def counted(*arguments: Any) -> curves.Curve:
        nonlocal n_read
        n_read += 1
        return curves.curve_of(*arguments)

    monkeypatch.setattr("optuna_rocket.trials.curve_of", counted)
    study, reader = complete_study(5), CurveReader()
    asked = [study.ask() for _ in range(6)]
    for trial, state in zip(
        reversed(asked), [TrialState.COMPLETE, TrialState.PRUNED] * 3, strict=True
    ):
        trial.report(trial.number / 10, 26 + trial.number)
        trial.report(0.0, 1)
        assert reader.standings(study) is reader.standings(study)
        study.tell(trial, 0.1 if state == TrialState.COMPLETE else None, state=state)
        before, known = n_read, reader.standings(study)
        assert n_read == before + 1
        assert known == CurveReader().standings(study)
        assert [x.trial.number for x in known.curves] == sorted(
            x.trial.number for x in known.curves
        )
    longer, known = reader.read(study), reader.standings(study)
    other = complete_study(3)
    for each in (other, study, other):
        fresh = CurveReader()
        assert reader.standings(each) == fresh.standings(each)
        assert list(reader.read(each)) == list(fresh.read(each))
    assert longer == reader.read(study) and known == reader.standings(study)
