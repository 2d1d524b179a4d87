from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from optuna_rocket.agent import fitting
from optuna_rocket.agent import gram
from optuna_rocket.agent import kernels
from optuna_rocket.agent import level
from optuna_rocket.agent import memory
from optuna_rocket.agent import sources
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.training.tasks import random_units
from tests.builders import generator
from tests.builders import random_history
from tests.builders import stacked
from tests.builders import transform_scores
from tests.builders import unit_geometry


GEOMETRY = unit_geometry(2)


def dense_level(z: Tensor, covariance: Tensor) -> Tensor:
    """The level of ``n`` scores from its formulas: every score is left out once."""
    n = len(z)
    ones = torch.ones_like(z)
    weight = torch.linalg.solve(covariance, ones)
    mean = (weight @ z) / (weight.sum() + level._STD**-2)
    gains = []
    for i in range(n):
        rest = torch.arange(n) != i
        told = covariance[i, rest] @ torch.linalg.solve(covariance[rest][:, rest], z[rest])
        gains.append(z[i] ** 2 - (z[i] - told) ** 2)
    gain = torch.stack(gains)
    error = gain.std(correction=0) / n**0.5
    share = (gain.mean() - level._CAUTION * error) / z.square().mean()
    return torch.as_tensor(mean * share.clamp_min(0) ** level._TRUST)


def crowded(best: float = 0.2, noise: float = 0.0, n: int = 60) -> History:
    """A bowl's trials, of which most crowd at the bottom; the last of them failed."""
    history = random_history(GEOMETRY, n, plain=True)
    units = torch.cat([history.units[:, :20], best + 0.1 * history.units[:, 20:]], 1)
    scores = -(units - best).square().sum(-1)
    scores += noise * torch.randn(scores.shape, generator=generator(3), dtype=scores.dtype)
    outcomes = history.outcomes.clone()
    outcomes[0, -3:] = Outcome.FAILED
    return replace(history, units=units, scores=scores, outcomes=outcomes)


def remembered(history: History) -> memory.Conditioned:
    geometry = GEOMETRY.take(torch.zeros(len(history.scores), dtype=torch.long))
    weights = fitting.fit(history, geometry, fitting.prior_weights(geometry), 14)
    return memory.condition(history, geometry, weights)


def expected_level(found: memory.Conditioned) -> Tensor:
    history = found.history
    kept = history.scored[0]
    z = transform_scores(history.scores, history.scored)[0, kept]
    rows = kernels.columns(
        history.units[:, kept], history.active[:, kept], GEOMETRY, found.weights.relevance
    )
    kernel = kernels.kernel(*kernels.pairwise(rows, rows), GEOMETRY)[0]
    noise = found.weights.noise.exp() + gram.JITTER
    return dense_level(z, found.weights.outputscale.exp() * kernel + noise * torch.eye(len(z)))


def test_what_is_far_from_all_trials_is_not_as_good_as_the_crowd() -> None:
    """The mean of trials that crowd at a good place says nothing of the rest of the space."""
    smooth, noisy = remembered(crowded()), remembered(crowded(noise=1.0))
    corner = torch.full((1, 1, 2), 9.0, dtype=torch.float64)  # far beyond the space
    for found in (smooth, noisy):
        mean = memory.read(found, corner, GEOMETRY.activity(corner)).mean
        torch.testing.assert_close(mean, found.level, atol=1e-3, rtol=0)
    assert float(smooth.level) < -0.3
    assert float(noisy.level) == 0.0  # trials do not predict each other
    torch.testing.assert_close(smooth.level[0, 0], expected_level(smooth))


def both() -> tuple[History, History, History]:
    """Two studies with different numbers of scores, and the batch of them."""
    one, other = crowded(0.2), crowded(0.6)
    outcomes = other.outcomes.clone()
    outcomes[0, 20:40] = Outcome.FAILED
    other = replace(other, outcomes=outcomes)
    return one, other, stacked(one, other)


def test_the_studies_of_a_batch_have_levels_of_their_own() -> None:
    one, other, batch = both()
    alone = torch.cat([remembered(one).level, remembered(other).level])
    found = remembered(batch)
    torch.testing.assert_close(found.level, alone)
    assert float((alone[0] - alone[1]).abs()) > 0.02 and float(alone.max()) < -0.1

    # So many candidates are read in parts, a study at a time.
    units = random_units(found.geometry, 600, generator(1))
    on = torch.ones_like(units, dtype=torch.bool)
    assert len(memory._cuts(2, 600 * batch.n_trials)) == 2
    mean = memory.read(found, units, on).mean
    for i, history in enumerate((one, other)):
        own = memory.read(remembered(history), units[i : i + 1], on[i : i + 1]).mean
        torch.testing.assert_close(mean[i : i + 1], own)
    last = memory.part(found, torch.tensor([1]))
    torch.testing.assert_close(memory.means(last, units[1:], on[1:]), mean[1:])


def test_earlier_studies_have_levels_of_their_own() -> None:
    one, other, batch = both()
    found = sources.remember(batch, GEOMETRY.take(torch.zeros(2, dtype=torch.long)))
    units = random_units(GEOMETRY, 50, generator(1))[0]
    on = torch.ones_like(units, dtype=torch.bool)
    for i, history in enumerate((one, other)):
        weights = fitting.fit(
            history, GEOMETRY, fitting.prior_weights(GEOMETRY), sources._FIT_STEPS
        )
        own = memory.condition(history, GEOMETRY, weights)
        assert float(own.level) < -0.05
        mean = memory.means(own, units[None], on[None])[0]
        torch.testing.assert_close(found.read(units, on)[i], mean)


@pytest.mark.parametrize("n_accidents", [1, 3])
def test_accidents_do_not_hide_that_trials_predict_each_other(n_accidents: int) -> None:
    history = crowded()
    scores = history.scores.clone()
    scores[0, 25 : 25 + n_accidents] = -1000.0
    assert float(remembered(replace(history, scores=scores)).level) < -0.3


def test_several_objectives_and_constraints_keep_a_level_of_zero() -> None:
    history = crowded()
    goal = replace(history, least_unit=torch.full_like(history.scores, 1e-3))
    assert float(remembered(goal).level) == 0.0
