from __future__ import annotations

from dataclasses import replace
import math

from optuna.distributions import FloatDistribution
import pytest
import torch
from torch import Tensor

from optuna_rocket.agent import doubt
from optuna_rocket.agent import fitting
from optuna_rocket.agent import gram
from optuna_rocket.agent import kernels
from optuna_rocket.agent import memory
from optuna_rocket.history import History
from optuna_rocket.scores import study_scale
from optuna_rocket.space import Space
from tests.builders import history_of
from tests.builders import transform_scores


SPACE = Space({"x": FloatDistribution(0, 1)})
GEOMETRY = SPACE.geometry({}, has_gaps=False)


def history(bad: dict[int, float], n: int = 21) -> History:
    """Scores of a bowl at even distances, some of them replaced."""
    units = torch.linspace(0.02, 0.98, n, dtype=torch.float64)[None, :, None]
    scores = -(units[..., 0] - 0.5).square()
    for index, score in bad.items():
        scores[0, index] = score
    return history_of(units, scores, GEOMETRY)


def fitted(past: History) -> gram.MemoryWeights:
    weights = fitting.prior_weights(GEOMETRY)
    for _ in range(4):
        weights = fitting.fit(past, GEOMETRY, weights, 8)
    return weights


def expected(past: History, at: float) -> float:
    remembered = memory.condition(past, GEOMETRY, fitted(past))
    units = torch.tensor([[[at]]], dtype=torch.float64)
    return float(memory.read(remembered, units, torch.ones_like(units, dtype=torch.bool)).mean)


def added(past: History) -> Tensor:
    """Extra variance of the scores under fitted weights."""
    rows = doubt.doubtful(past, study_scale(past))
    assert rows is not None
    weights, plain = fitted(past), gram.certainty(past)
    at = kernels.columns(past.units, past.active, GEOMETRY, weights.relevance)
    kernel = kernels.kernel(*kernels.pairwise(at, at), GEOMETRY)
    covariance = gram.masked_covariance(kernel, weights, plain, past.scored)
    inverse = torch.cholesky_inverse(gram.cholesky(covariance))
    z = transform_scores(past.scores, past.scored)
    alpha = (inverse @ z[..., None])[..., 0]
    return doubt.doubted(rows, alpha, inverse, weights.noise.exp(), plain, plain).added[0]


def test_a_score_that_is_bad_by_chance_says_little() -> None:
    lucky, unlucky = history({}), history({9: -1e4})
    assert expected(unlucky, 0.46) > expected(unlucky, 0.1)
    # The noise is that of the others.
    assert float(fitted(unlucky).noise) < float(fitted(lucky).noise) + 1.5


def test_without_doubts_it_says_much(monkeypatch: pytest.MonkeyPatch) -> None:
    past = history({4: -1e4, 9: -1e4, 13: -1e3})
    noise = float(fitted(past).noise)
    monkeypatch.setattr(doubt, "_GAP", math.inf)
    assert float(fitted(past).noise) > noise + 1


def test_bad_neighbours_back_each_other_up() -> None:
    cliff, alone = history({index: -1e4 for index in range(4)}), history({2: -1e4})
    assert float(added(cliff)[:4].max()) == 0 < float(added(alone)[2])


def test_what_is_surprisingly_good_is_believed() -> None:
    lucky = history({3: 5.0})
    assert doubt.doubtful(lucky, study_scale(lucky)) is None or not bool(added(lucky).any())


def test_few_scores_and_several_objectives_are_not_doubted() -> None:
    few = history({2: -1e4}, n=9)
    assert doubt.doubtful(few, study_scale(few)) is None
    past = history({9: -1e4})
    assert doubt.doubtful(past, study_scale(past)) is not None
    with_unit = replace(past, least_unit=torch.ones(1, past.n_trials))
    assert doubt.doubtful(with_unit, study_scale(with_unit)) is None
