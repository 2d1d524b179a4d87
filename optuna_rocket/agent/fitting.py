"""The weights of the memory, fitted to the trials by a chain of a few steps each.

Notation, besides that of ``space``, ``kernels`` and ``gram``: transformed scores ``z`` ``(B, n)``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from optuna_rocket.agent import doubt
from optuna_rocket.agent import gram
from optuna_rocket.agent import kernels
from optuna_rocket.agent import level
from optuna_rocket.agent.gram import MemoryWeights
from optuna_rocket.history import History
from optuna_rocket.scores import study_scale
from optuna_rocket.scores import transformed
from optuna_rocket.space import Geometry


# Prior of the logs: relevance (per squared unit; centre depends on d), outputscale, noise.
_LENGTHSCALE_MEDIAN = 0.7  # times sqrt(active d) / 2, cf. Hvarfner et al. 2024, eq. 9
PRIOR_STD = (1.4, 0.5, 1.5)
_NOISE_MEDIAN = 0.01
_LINK_RATIO = 1.1
_RESTART_EVERY = 16


def prior_weights(geometry: Geometry) -> MemoryWeights:
    """The weights before any trial was seen."""
    lengthscale = _LENGTHSCALE_MEDIAN * geometry.n_active.clamp_min(1).sqrt() / 2
    relevance = (-2 * lengthscale.log())[:, None].expand(geometry.present.shape)
    return MemoryWeights(
        relevance=relevance.clone(),
        outputscale=torch.zeros_like(lengthscale),
        noise=torch.full_like(lengthscale, math.log(_NOISE_MEDIAN)),
    )


def link_sizes(n: int) -> list[int]:
    """Numbers of trials at which the weights are fitted again, up to ``n``.

    The weights are a chain of fits, each a few steps from the one before. Fitting at fixed sizes
    makes them a function of the trials alone, whatever the life of the process was; a restart
    from the prior every few links bounds what a new process must catch up on.
    """
    sizes, size = [], 3
    while size <= n:
        sizes.append(size)
        size = max(size + 1, int(size * _LINK_RATIO))
    return sizes


def starts_chain(link: int) -> bool:
    """Whether this link (index into ``link_sizes``) starts from the prior."""
    return link % _RESTART_EVERY == 0


def fit(
    history: History, geometry: Geometry, weights: MemoryWeights, n_steps: int
) -> MemoryWeights:
    """A few sign-like ascent steps on the log posterior of the weights.

    The gradient is exact for the level as it is: ``dL/dθ = ½ tr((αα' - K⁻¹) dK/dθ)`` (Rasmussen &
    Williams, eq. 5.9).
    """
    scored = history.scored
    of_scores = study_scale(history)
    z = transformed(history.scores, scored, of_scores)
    # (B or 1, n², d), or twice as wide
    distance = kernels.distances(history, geometry).flatten(1, 2)
    certainty = gram.certainty(history)
    pair = (scored[:, :, None] & scored[:, None, :]).double()
    prior = prior_weights(geometry)
    if not distance.shape[-1]:
        return prior  # a space without a choice
    square = distance.square()
    plain, doubtful = certainty, doubt.doubtful(history, of_scores)
    for step in range(n_steps):
        rate = 0.5 * 0.8**step
        root = (weights.relevance / 2).exp()
        root = root.repeat(1, distance.shape[-1] // root.shape[-1])
        r2 = (square @ root.square()[..., None]).view_as(pair)
        q = (distance @ root[..., None]).view_as(pair)
        kernel, by_r2, by_q = kernels.kernel_and_slopes(r2, q, geometry)
        kernel *= pair
        scale, noise = weights.outputscale.exp(), weights.noise.exp()
        inverse = torch.cholesky_inverse(
            gram.cholesky(gram.covariance(kernel, scale, noise, certainty, scored))
        )
        off = level.off_level(history, z, certainty, inverse)
        alpha = (inverse @ off[..., None])[..., 0]
        outer = (alpha[:, :, None] * alpha[:, None, :]).sub_(inverse).mul_(pair)  # αα' - K⁻¹
        # ∂r²/∂log w_j = w_j D_j² and ∂q/∂log w_j = ½ √w_j D_j
        by_r2, by_q = by_r2.mul_(outer).flatten(1)[:, None], by_q.mul_(outer).flatten(1)[:, None]
        slope = root.square() * (by_r2 @ square)[:, 0] + root / 2 * (by_q @ distance)[:, 0]
        gradient_relevance = slope.view(len(z), -1, weights.relevance.shape[-1]).sum(1)
        gradient_relevance = gradient_relevance * scale[:, None] / 2
        gradient_scale = kernel.mul_(outer).sum((1, 2)) * scale / 2
        by_noise = outer.diagonal(dim1=-2, dim2=-1) * certainty.factor
        gradient_noise = by_noise.sum(-1) * noise / 2
        if doubtful is not None:
            certainty = doubt.doubted(doubtful, alpha, inverse, noise, plain, certainty)
        weights = MemoryWeights(
            _step(weights.relevance, gradient_relevance, prior.relevance, PRIOR_STD[0], rate),
            _step(weights.outputscale, gradient_scale, prior.outputscale, PRIOR_STD[1], rate),
            _step(weights.noise, gradient_noise, prior.noise, PRIOR_STD[2], rate),
        )
    return weights


def _step(value: Tensor, gradient: Tensor, centre: Tensor, std: float, rate: float) -> Tensor:
    total = gradient - (value - centre) / std**2
    return value + rate * total / (total.abs() + 0.5)
