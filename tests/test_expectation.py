from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
import torch

from optuna_rocket import RocketPruner
from optuna_rocket.features import transform_scores
from optuna_rocket.fidelity.expectation import expected_final
from optuna_rocket.fidelity.expectation import joined
from optuna_rocket.fidelity.expectation import observed
from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import Forecast
from optuna_rocket.fidelity.forecast import gather
from optuna_rocket.suggestions import ATTRIBUTE
from optuna_rocket.suggestions import Suggestion
from optuna_rocket.suggestions import encode


ANYONE = Forecast(0.5, 2.0)


def evidence(n: int = 12) -> Evidence:
    return gather([((1, 9), (0.1 * i, float(i)), float(i)) for i in range(n)])


def test_general_knowledge_counts_once() -> None:
    """A joint normal of which all three marginals are known."""
    rng = np.random.default_rng(0)
    truth = 0.5 + 2 * rng.standard_normal(400_000)
    by_config = truth + rng.standard_normal(len(truth))
    by_reports = truth + 1.5 * rng.standard_normal(len(truth))

    def posterior(noise: float, seen: float) -> Forecast:
        precision = 1 / 4 + 1 / noise**2
        return Forecast((0.5 / 4 + seen / noise**2) / precision, precision**-0.5)

    near = (abs(by_config - 2) < 0.1) & (abs(by_reports - 1) < 0.1)
    both = joined(posterior(1.5, 1), posterior(1, 2), ANYONE)
    assert both.mean == pytest.approx(truth[near].mean(), abs=0.05)
    assert both.std == pytest.approx(truth[near].std(), abs=0.05)


def test_reports_that_say_nothing_change_nothing() -> None:
    expected = Forecast(2.0, 0.3)
    assert joined(ANYONE, expected, ANYONE) == expected
    assert joined(Forecast(-3.0, 2.5), expected, ANYONE) == expected


def test_an_observation_and_what_was_known_make_the_forecast() -> None:
    mean, variance = np.array([1.0, -2.0, 0.7]), np.array([0.5, 1.0, 0.0])
    seen, noise = observed(mean, variance, ANYONE)
    assert seen[2] == 0.7 and noise[2] == 0
    precision = 1 / ANYONE.std**2 + 1 / noise[:2]
    again = (ANYONE.mean / ANYONE.std**2 + seen[:2] / noise[:2]) / precision
    assert again == pytest.approx(mean[:2]) and 1 / precision == pytest.approx(variance[:2])


def test_an_empty_forecast_is_a_vague_observation() -> None:
    seen, noise = observed(np.array([0.5, 3.0]), np.array([4.0, 9.0]), ANYONE)
    assert np.isfinite(seen).all() and (noise > 30).all()


def test_expected_scores_come_back_from_their_transform() -> None:
    known = evidence()
    scores = torch.from_numpy(known.scaled[0])[None]
    transformed = transform_scores(scores, torch.ones_like(scores, dtype=torch.bool))[0]
    for i in (4, 8, 11):
        forecast = expected_final(known, float(transformed[i]), 0.1)
        assert forecast is not None
        assert forecast.mean == pytest.approx(float(scores[0, i]), abs=1e-6)
        assert 0 < forecast.std < 1
    better = expected_final(known, float(transformed.max()) + 0.5, 0.1)
    assert better is not None and better.mean > float(scores.max())


@pytest.mark.parametrize(("mean", "std"), [(math.nan, 0.1), (0.1, math.nan), (math.inf, 1.0)])
def test_what_is_unknown_is_none(mean: float, std: float) -> None:
    assert expected_final(evidence(), mean, std) is None
    assert expected_final(gather([((1,), (0.5,), math.nan)]), 0.1, 0.1) is None


def judged(report: float, said: Suggestion | None) -> bool:
    """Whether a trial with this first report is stopped, after 16 whose first told something."""
    study = optuna.create_study(direction="maximize", pruner=RocketPruner(seed=1))
    for i in range(16):
        score = (7 * i) % 16 / 16
        first = score + 0.5 * ((5 * i) % 7 / 7 - 0.5)
        study.add_trial(optuna.create_trial(value=score, intermediate_values={1: first, 9: score}))
    trial = study.ask()
    if said is not None:
        study._storage.set_trial_system_attr(trial._trial_id, ATTRIBUTE, encode(said))
    trial.report(report, 1)
    return trial.should_prune()


def test_a_trial_is_judged_by_what_was_expected_of_it() -> None:
    improvement = Suggestion({}, mean=2.5, std=0.4)
    # An improvement on paper goes on where a stranger with the same report does not.
    assert judged(0.7, None) and not judged(0.7, improvement)
    # What reports like the worst is stopped whatever was expected of it.
    assert judged(0.02, None) and judged(0.02, improvement)
    assert not judged(1.0, None) and not judged(1.0, improvement)
