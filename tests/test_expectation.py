from __future__ import annotations

from dataclasses import replace
import math

import numpy as np
import optuna
import pytest
import torch

from optuna_rocket import RocketPruner
from optuna_rocket.fidelity.expectation import Said
from optuna_rocket.fidelity.expectation import Trust
from optuna_rocket.fidelity.expectation import joined
from optuna_rocket.fidelity.expectation import observed
from optuna_rocket.fidelity.expectation import trust
from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import Forecast
from optuna_rocket.fidelity.forecast import gather
from optuna_rocket.history import Outcome
from optuna_rocket.history import empty_history
from optuna_rocket.scores import expected_score
from optuna_rocket.scores import study_scale
from optuna_rocket.suggestions import ATTRIBUTE
from optuna_rocket.suggestions import Suggestion
from optuna_rocket.suggestions import encode
from tests.builders import transform_scores


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


def test_what_is_expected_is_an_objective_value() -> None:
    scores = torch.arange(12, dtype=torch.float64)[None]
    everything = torch.ones_like(scores, dtype=torch.bool)
    transformed = transform_scores(scores, everything)[0]
    known = replace(
        empty_history(1, 1), scores=scores, outcomes=torch.full((1, 12), Outcome.COMPLETE)
    )
    for i in (4, 8, 11):
        score, spread = expected_score(study_scale(known), float(transformed[i]), 0.1)
        assert score == pytest.approx(i) and 0 < spread < 2
    assert expected_score(study_scale(known), float(transformed.max()) + 0.5, 0.1)[0] > 11
    assert math.isnan(expected_score(study_scale(empty_history(1, 1)), 0.0, 1.0)[0])


def test_trust_is_earned() -> None:
    known = evidence(30)
    unit = known.scaled[2]
    blind = trust(known, [Said(math.nan, math.nan)] * 30)
    assert blind == Trust(0.0, 2.0)
    rng = np.random.default_rng(0)
    honest = trust(known, [Said(i + float(rng.normal()), 1.0) for i in range(30)])
    boastful = trust(known, [Said(i + 4.0, 0.5) for i in range(30)])
    assert honest.factor == pytest.approx(1.2, abs=0.3) and abs(honest.shift) < 0.2
    assert boastful.factor > 4 and boastful.shift == pytest.approx(-4 / unit * 30 / 34)
    forecast = boastful.expected_final(known, Said(20.0, 0.5))
    assert forecast is not None
    assert forecast.mean == pytest.approx(known.rescale(20.0) + boastful.shift)
    assert forecast.std == pytest.approx(0.5 / unit * boastful.factor)


@pytest.mark.parametrize(("score", "spread"), [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0)])
def test_what_is_unknown_is_none(score: float, spread: float) -> None:
    assert Trust(0.0, 1.0).expected_final(evidence(), Said(score, spread)) is None
    nothing = gather([((1,), (0.5,), math.nan)])
    assert Trust(0.0, 1.0).expected_final(nothing, Said(1.0, 1.0)) is None


def judged(report: float, suggestion: Suggestion | None) -> bool:
    """Whether a trial with this first report is stopped, after 16 whose first told something."""
    study = optuna.create_study(direction="maximize", pruner=RocketPruner(seed=1))
    for i in range(16):
        score = (7 * i) % 16 / 16
        first = score + 0.5 * ((5 * i) % 7 / 7 - 0.5)
        study.add_trial(optuna.create_trial(value=score, intermediate_values={1: first, 9: score}))
    trial = study.ask()
    if suggestion is not None:
        study._storage.set_trial_system_attr(trial._trial_id, ATTRIBUTE, encode(suggestion))
    trial.report(report, 1)
    return trial.should_prune()


def test_a_trial_is_judged_by_what_was_expected_of_it() -> None:
    improvement = Suggestion({}, score=1.1, spread=0.1)
    loser = Suggestion({}, score=0.1, spread=0.05)
    outcomes = {
        report: [judged(report, each) for each in (None, improvement, loser)]
        for report in np.linspace(0, 1, 41).tolist()
    }
    assert all(outcomes[0.0]) and not outcomes[1.0][0] and not outcomes[1.0][1]
    # There are reports with which an improvement goes on and a stranger does not, not the reverse.
    spared = [not with_help and alone for alone, with_help, _ in outcomes.values()]
    harmed = [with_help and not alone for alone, with_help, _ in outcomes.values()]
    assert any(spared) and not any(harmed)


def test_an_expectation_that_early_divergence_made_huge_is_no_error() -> None:
    known = gather([((1, 2), (x, x), x) for x in (0.0, 1.0, 2.0, 3.0)])
    said = [Said(1e200, 1e200), *[Said(1.0, 0.5)] * 3]
    found = trust(known, said)
    assert math.isfinite(found.shift) and math.isfinite(found.factor)
    forecast = found.expected_final(known, said[0])
    assert forecast is not None and math.isfinite(forecast.std**2)
