from __future__ import annotations

from datetime import datetime
from datetime import timedelta

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
import pytest
import torch

from optuna_rocket import RocketSampler
from optuna_rocket import hindsight
from optuna_rocket import trials
from optuna_rocket.records import Rungs
from optuna_rocket.records import record_of
from optuna_rocket.scores import invert_transform
from optuna_rocket.trials import TrialReader
from tests.builders import transform_scores
from tests.support import Crash
from tests.support import mixed_study
from tests.support import rough
from tests.support import rough_study


SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def test_inverted_scores_are_the_scores() -> None:
    scores = torch.tensor([[3.0, -1.0, 0.5, 2.9, 99.0]], dtype=torch.float64)
    scored = torch.tensor([[True, True, True, True, False]])
    back = invert_transform(scores, scored, transform_scores(scores, scored))
    assert torch.allclose(back[scored], scores[scored])


def test_inversion_is_cut_where_scores_are_equally_bad() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0, 1.5, 0.5, -1e9]], dtype=torch.float64)
    scored = torch.ones_like(scores, dtype=torch.bool)
    (worst,) = invert_transform(scores, scored, torch.full((1, 1), -50.0, dtype=torch.float64))
    assert -1e9 < float(worst) < 0


@pytest.mark.parametrize("number", [1, 2, 6, 17, 29])
def test_what_is_recomputed_is_what_was_stored(number: int) -> None:
    study = mixed_study(RocketSampler(seed=3), 30)
    trial = study.trials[number]
    stored = trials.stored_suggestion(trial)
    assert stored is not None
    view = hindsight.look_back(study, trial)
    record = record_of(trial, trials.score_signs(study), Rungs())

    reading, _ = view.read(*view.encode(record))

    assert float(reading.mean) == pytest.approx(stored.mean, abs=1e-5)
    assert float(reading.std) == pytest.approx(stored.std, abs=1e-5)


def test_a_trial_of_wider_ranges_was_suggested_with_the_earlier_ones() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for number in range(13):
        x = FloatDistribution(0, 20 if number == 12 else 1)
        trial = study.ask({"x": x, "y": SPACE["y"]})
        study.tell(trial, (trial.params["x"] - 0.4) ** 2 + (trial.params["y"] - 0.2) ** 2)
    wide = study.trials[12]
    stored = trials.stored_suggestion(wide)
    assert stored is not None and stored.kind >= 0
    view = hindsight.look_back(study, wide)
    assert view.space.distributions == SPACE
    record = record_of(wide, trials.score_signs(study), Rungs())
    reading, _ = view.read(*view.encode(record))
    assert float(reading.mean) == pytest.approx(stored.mean, abs=1e-5)
    # What another sampler drew came from the trial's own range.
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    study.tell(study.ask({"x": FloatDistribution(0, 30)}), 1.0)
    last = hindsight.look_back(study, study.trials[13])
    assert last.space.distributions["x"] == FloatDistribution(0, 30)


def test_pruned_and_failed_trials_are_seen_as_they_were() -> None:
    study = rough_study(None, seed=5)
    study.optimize(rough, n_trials=25, catch=(Crash,))
    close = []
    for trial in study.trials[5:]:
        stored = trials.stored_suggestion(trial)
        if stored is not None and set(stored.params) == set(trial.params):
            view = hindsight.look_back(study, trial)
            record = record_of(trial, trials.score_signs(study), Rungs())
            error = abs(float(view.read(*view.encode(record))[0].mean) - stored.mean)
            close.append(error < 1e-5)
    assert len(close) >= 10
    assert all(close)


def test_trials_that_ended_later_count_as_running() -> None:
    study = optuna.create_study()
    start = datetime(2026, 1, 1)
    for number, (begin, end) in enumerate([(0, 1), (1, 5), (2, 3), (4, 6), (7, 8)]):
        trial = optuna.create_trial(
            params={"x": number / 10, "y": 0.5}, distributions=SPACE, value=float(number)
        )
        trial.datetime_start = start + timedelta(hours=begin)
        trial.datetime_complete = start + timedelta(hours=end)
        study.add_trial(trial)

    view = hindsight.look_back(study, study.trials[3])

    assert [record.number for record in view.records] == [0, 1, 2]
    states = [record.trial.state for record in view.records]
    assert states == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.COMPLETE]
    assert study.trials[1].state == TrialState.COMPLETE, "the study's own trial is untouched"


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_retried_trial_does_not_see_its_failed_run(has_ended: bool) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for k in range(3):
        study.tell(study.ask(SPACE), float(k))
    study.tell(study.ask(SPACE), state=TrialState.FAIL)
    study.add_trial(
        optuna.create_trial(state=TrialState.WAITING, system_attrs={"retry_history": [3]})
    )
    retried = study.ask()
    assert retried.number == 4
    before = TrialReader().read(study, study.get_trials(deepcopy=False)[4])
    if has_ended:
        study.tell(retried, 1.0)

    view = hindsight.look_back(study, study.trials[4])

    assert [record.number for record in before] == [0, 1, 2]
    assert [record.number for record in view.records] == [0, 1, 2]


def test_relevance_finds_the_parameter_that_matters() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for _ in range(30):
        trial = study.ask(SPACE)
        study.tell(trial, (trial.params["y"] - 0.3) ** 2)
    shares = hindsight.look(study).relevance()
    assert next(iter(shares)) == "y"
    assert shares["y"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


def test_the_agent_is_that_of_the_sampler() -> None:
    study = mixed_study(RocketSampler(seed=0, n_trials=77), 3)
    assert hindsight.look(study).suggester.n_trials == 77


def test_the_samplers_own_caches_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking back must not make the next suggestion start from nothing."""
    sampler = RocketSampler(seed=0)
    study = mixed_study(sampler, 12)
    before = dict(sampler._load()._cache)
    hindsight.look_back(study, study.trials[4])
    hindsight.look(study)
    assert dict(sampler._load()._cache) == before
