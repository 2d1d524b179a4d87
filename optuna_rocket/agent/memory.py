"""Memory read: an inexpensive kernel regression over the trials.

Notation, besides that of ``space``, ``kernels`` and ``gram``: transformed scores ``z`` ``(B, n)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
from typing import Any
from typing import Protocol

import torch
from torch import Tensor

from optuna_rocket.agent import doubt
from optuna_rocket.agent import failures
from optuna_rocket.agent import gram
from optuna_rocket.agent import kernels
from optuna_rocket.agent import level
from optuna_rocket.agent import newcomers
from optuna_rocket.agent.gram import Certainty
from optuna_rocket.agent.gram import MemoryWeights
from optuna_rocket.agent.kernels import Columns
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.scores import Scale
from optuna_rocket.scores import study_scale
from optuna_rocket.scores import transformed
from optuna_rocket.space import Geometry


# More rows than this cost time and gain nothing that was measurable.
MAX_CONTEXT = 160
# Looks at the scores for those that are bad by chance; each changes what the others say.
_DOUBTS = 3
# Kernel values of candidates that are worked on at once.
_NUMBERS = 2**15


class Expectation(Protocol):
    """What is expected of configurations before the study's own trials say more."""

    @property
    def spread(self) -> float:
        """Factor of the standard deviation of what the expectation leaves unexplained."""

    def __call__(self, units: Tensor, active: Tensor) -> Tensor:
        """Expected transformed scores ``(B, m)`` of ``units`` ``(B, m, d)``."""


class Experience(Protocol):
    """What earlier studies and people say, weighed by the study's own trials."""

    def learned(self, history: History, z: Tensor, factor: Tensor) -> Expectation | None:
        """The expectation that suits the trials' transformed scores, None where nothing does.

        Args:
            history: The trials.
            z: Their transformed scores ``(B, n)``.
            factor: ``(B, n, n)`` Cholesky factor of their covariance.
        """


@dataclass(frozen=True)
class Conditioned:
    """The memory after the trials: everything that does not depend on the candidates.

    Attributes:
        history: The trials (at most ``MAX_CONTEXT``).
        geometry: The space.
        weights: The weights that were used.
        scale: Of the trials' scores; empty where many studies are joined.
        scored: ``(B, n)`` trials that shape the mean.
        level: ``(B, 1)`` transformed score that is expected far from all trials; 0 beside
            ``expected``, which says it itself.
        alpha: ``(B, n)`` the regression's coefficients.
        known: ``(B, n)`` trials that shape the spread, pending ones included.
        inverse: ``(B, n, n)`` inverse of ``K`` over ``known``.
        failure_base: ``(B, 1)`` share of failures, None where nothing has failed.
        failure_alpha: ``(B, n)`` coefficients of the regression of failures.
        incumbent: ``(B,)`` greatest expected transformed score among the comparable trials.
        fitted: ``(B, n)`` expected transformed score of the trials themselves, where scored.
        rows: The trials as ``kernels.columns``.
        expected: What the regression starts from instead of the level, if anything.
    """

    history: History
    geometry: Geometry
    weights: MemoryWeights
    scale: Scale
    scored: Tensor
    level: Tensor
    alpha: Tensor
    known: Tensor
    inverse: Tensor
    failure_base: Tensor | None
    failure_alpha: Tensor | None
    incumbent: Tensor
    fitted: Tensor
    rows: Columns
    expected: Expectation | None = None


@dataclass(frozen=True)
class Reading:
    """What the memory says of ``m`` candidates.

    Attributes:
        mean: ``(B, m)`` expected transformed score.
        std: ``(B, m)`` its standard deviation (of the function, without noise).
        failure: ``(B, m)`` chance to fail.
        nearest: ``(B, m)`` distance to the nearest trial on the kernel's scale, squashed
            (0 same, 1 far).
    """

    mean: Tensor
    std: Tensor
    failure: Tensor
    nearest: Tensor

    def joined(self, other: Reading) -> Reading:
        """Of these candidates, then of others."""
        return Reading(
            torch.cat([self.mean, other.mean], 1),
            torch.cat([self.std, other.std], 1),
            torch.cat([self.failure, other.failure], 1),
            torch.cat([self.nearest, other.nearest], 1),
        )


def context(history: History, geometry: Geometry) -> History:
    """At most ``MAX_CONTEXT`` trials: the latest, and the best of the others, in order.

    The trials are the same ones for all studies of a batch, so a batch must not be longer.
    """
    if history.n_trials > MAX_CONTEXT:
        history = history.take(context_rows(history))
    return newcomers.marked(history, geometry)


def context_rows(history: History) -> Tensor:
    """Rows ``(k,)`` of the trials in ``context``."""
    n = history.n_trials
    if n <= MAX_CONTEXT:
        return torch.arange(n)
    assert len(history.scores) == 1, "only single studies are longer than the context"
    latest = MAX_CONTEXT // 2
    scores = history.scores[0].masked_fill(~history.scored[0], -torch.inf)[: n - latest]
    best = scores.argsort(descending=True, stable=True)[: MAX_CONTEXT - latest]
    return torch.cat([best.sort().values, torch.arange(n - latest, n)])


def condition(
    history: History,
    geometry: Geometry,
    weights: MemoryWeights,
    experience: Experience | None = None,
) -> Conditioned:
    """Condition the memory on the trials.

    Pending trials lower the spread near them and leave the mean alone. With ``experience`` the
    regression is that of what its expectation leaves unexplained.
    """
    scored, pending = history.scored, history.outcomes == Outcome.PENDING
    scale = study_scale(history)
    z = transformed(history.scores, scored, scale)
    rows = kernels.columns(history.units, history.active, geometry, weights.relevance)
    kernel = kernels.kernel(*kernels.pairwise(rows, rows), geometry)
    doubtful = doubt.doubtful(history, scale)
    certainty, factor, inverse = _certain(history, z, kernel, weights, doubtful)
    expected = None if experience is None else experience.learned(history, z, factor)
    start = far = z.new_zeros(len(z), 1)
    if expected is not None:
        start = expected(history.units, history.active)
    elif level.exists(history):
        start = far = level.estimate(history, z, certainty, inverse)
    residual = torch.where(scored, z - start, 0.0)
    alpha = (inverse @ residual[..., None])[..., 0]
    known = scored
    if bool(pending.any()):
        known = scored | pending
        _, inverse = _solved(kernel, weights, certainty, known)
    incumbent = torch.zeros(len(z), dtype=z.dtype)
    # At a trial the regression misses the score by what it takes for noise.
    fitted = z - certainty.variance(weights.noise.exp()) * alpha
    if bool(scored.any()):
        best = fitted.masked_fill(~history.comparable, -torch.inf).amax(-1)
        incumbent = torch.where(scored.any(-1), best, incumbent)
    base, failure_alpha = failures.regression(history, kernel)
    return Conditioned(
        history,
        geometry,
        weights,
        scale,
        scored,
        far,
        alpha,
        known,
        inverse,
        base,
        failure_alpha,
        incumbent,
        fitted,
        rows,
        expected,
    )


def _certain(
    history: History, z: Tensor, kernel: Tensor, weights: MemoryWeights, doubtful: Tensor | None
) -> tuple[Certainty, Tensor, Tensor]:
    """How certain the scores are, and the factor and the inverse of their covariance."""
    plain = certainty = gram.certainty(history)
    factor, inverse = _solved(kernel, weights, certainty, history.scored)
    if doubtful is None:
        return certainty, factor, inverse
    for _ in range(_DOUBTS):
        off = level.off_level(history, z, certainty, inverse)
        alpha = (inverse @ off[..., None])[..., 0]
        before, noise = certainty, weights.noise.exp()
        certainty = doubt.doubted(doubtful, alpha, inverse, noise, plain, before)
        if torch.equal(certainty.added, before.added):
            break
        factor, inverse = _solved(kernel, weights, certainty, history.scored)
    return certainty, factor, inverse


def _solved(
    kernel: Tensor, weights: MemoryWeights, certainty: Certainty, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Factor and inverse, each ``(B, n, n)``, of the covariance over some rows."""
    factor = gram.cholesky(gram.masked_covariance(kernel, weights, certainty, rows))
    return factor, torch.cholesky_inverse(factor)


def read(memory: Conditioned, units: Tensor, active: Tensor) -> Reading:
    """What the trials say of candidates ``units`` ``(B, m, d)``.

    Large batches are read in parts: memory that the system must find anew, as it does for large
    tensors, takes longer than what is computed in it.
    """
    cuts = _cuts(len(units), units.shape[1] * memory.history.n_trials)
    if len(cuts) == 1 or memory.expected is not None:
        return _read(memory, units, active)
    parts = [_read(_cut(memory, cut), units[cut], active[cut]) for cut in cuts]
    return Reading(*(torch.cat([getattr(x, f.name) for x in parts]) for f in fields(Reading)))


def _cuts(batch: int, size: int) -> list[slice]:
    """Parts of a batch of tensors of ``size`` numbers each."""
    step = max(1, _NUMBERS // max(size, 1))
    return [slice(first, first + step) for first in range(0, batch, step)]


def _cut(memory: Conditioned, cut: slice) -> Conditioned:
    """The memories at ``cut`` of a batch."""
    history, geometry = memory.history.studies(cut), memory.geometry.take(cut)
    weights = memory.weights.take(cut)
    values = {field.name: getattr(memory, field.name) for field in fields(memory)}
    tensors: dict[str, Any] = {k: x[cut] for k, x in values.items() if isinstance(x, Tensor)}
    return replace(
        memory,
        **tensors,
        history=history,
        geometry=geometry,
        weights=weights,
        scale=Scale(*(number[cut] for number in memory.scale)),
        # Which columns there are depends on the spaces of the batch.
        rows=kernels.columns(history.units, history.active, geometry, weights.relevance),
    )


def _read(memory: Conditioned, units: Tensor, active: Tensor) -> Reading:
    history, weights = memory.history, memory.weights
    scale = weights.outputscale.exp()[:, None]
    if history.n_trials == 0:
        blank = torch.zeros(units.shape[:2], dtype=torch.float64)
        mean, std = blank, scale.sqrt().expand_as(blank)
        if memory.expected is not None:
            mean, std = memory.expected(units, active), std * memory.expected.spread
        return Reading(mean, std, blank, torch.ones_like(blank))
    at = kernels.columns(units, active, memory.geometry, weights.relevance)
    r2, q = kernels.pairwise(at, memory.rows)
    nearest = (1 - torch.exp(-r2.amin(-1).sqrt())).clamp(0, 1)
    cross = kernels.kernel(r2, q, memory.geometry)  # (B, m, n)
    mean = _mean(memory, cross)
    failure = torch.zeros_like(mean)
    if memory.failure_base is not None and memory.failure_alpha is not None:
        expected = memory.failure_base + (cross @ memory.failure_alpha[..., None])[..., 0]
        failed = (history.outcomes == Outcome.FAILED).any(-1, keepdim=True)
        failure = torch.where(failed, expected.clamp(0, 0.99), 0.0)
    visible = _visible(memory, cross)  # which uses it up
    explained = (visible @ memory.inverse).mul_(visible).sum(-1)
    variance = (scale - explained).clamp_min_(1e-10)
    if memory.expected is not None:
        mean = mean + memory.expected(units, active)
        variance = variance * memory.expected.spread**2
    return Reading(mean, variance.sqrt(), failure, nearest)


def means(memory: Conditioned, units: Tensor, active: Tensor) -> Tensor:
    """``Reading.mean`` alone, at a fraction of the cost."""
    weights, geometry = memory.weights, memory.geometry
    at = kernels.columns(units, active, geometry, weights.relevance)
    return _mean(memory, kernels.kernel(*kernels.pairwise(at, memory.rows), geometry))


def _mean(memory: Conditioned, cross: Tensor) -> Tensor:
    """Mean ``(B, m)`` of the regression where the kernel with the trials is ``cross``."""
    alpha = memory.weights.outputscale.exp()[:, None] * memory.alpha * memory.scored
    return memory.level + (cross @ alpha[..., None])[..., 0]


def part(memory: Conditioned, index: Tensor) -> Conditioned:
    """The memories at ``index`` ``(k,)`` of a batch, for ``means`` alone."""
    return replace(
        memory,
        geometry=memory.geometry.take(index),
        weights=memory.weights.take(index),
        scored=memory.scored[index],
        level=memory.level[index],
        alpha=memory.alpha[index],
        rows=Columns(*(column[index] for column in memory.rows)),
    )


def covariance(memory: Conditioned, units: Tensor, active: Tensor) -> Tensor:
    """Joint covariance ``(B, m, m)`` of the function at candidates ``units`` ``(B, m, d)``.

    Symmetric and positive up to rounding alone.
    """
    scale = memory.weights.outputscale.exp()[:, None]
    at = kernels.columns(units, active, memory.geometry, memory.weights.relevance)
    prior = kernels.kernel(*kernels.pairwise(at, at), memory.geometry) * scale[..., None]
    if memory.history.n_trials == 0:
        return prior
    visible = _visible(memory, kernels.kernel(*kernels.pairwise(at, memory.rows), memory.geometry))
    return prior - visible @ memory.inverse @ visible.mT


def _visible(memory: Conditioned, cross: Tensor) -> Tensor:
    """Covariance ``(B, m, n)`` of candidates with the known trials; ``cross`` is used up."""
    scale = memory.weights.outputscale.exp()[:, None]
    return cross.mul_((memory.known * scale)[:, None])
