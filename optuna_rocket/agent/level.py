"""The level that transformed scores vary about, which is expected far from all trials.

The trials' mean, 0, is not: they crowd where it is good, and regions that nobody knows would seem
as good as that, so that a smooth study which has converged looks far away. With generalised least
squares trials that say the same count once.

Notation: that of ``gram``; transformed scores ``z`` ``(B, n)``; the inverse ``(B, n, n)`` of ``K``
over the scored trials.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optuna_rocket.agent.gram import Certainty
from optuna_rocket.history import History


# Prior deviation of the level from 0.
_STD = 1.0
# Power of the share of the scores that trials predict of each other, and how many standard errors
# below its estimate that share is taken.
_TRUST, _CAUTION = 2, 2.0


def exists(history: History) -> bool:
    """Whether it is other than 0: several objectives and constraints have scales of their own."""
    return history.least_unit is None


def estimate(history: History, z: Tensor, certainty: Certainty, inverse: Tensor) -> Tensor:
    """The level ``(B, 1)`` of the transformed scores: the mean of Rasmussen & Williams, eq. 2.42.

    It is taken as far as trials surely predict each other. Where noise and steps hide what is
    good, the crowd is no sign that everything else is worse (``benchmarks/README.md``).
    """
    ones = history.scored.to(z.dtype)
    solved = (inverse @ ones[..., None])[..., 0] * ones
    mean = (solved * z).sum(-1, keepdim=True) / (solved.sum(-1, keepdim=True) + _STD**-2)
    # Doubted and approximated scores are no test of what others say of them.
    sure = history.scored & (certainty.added == 0)
    return mean * surely_predicted(z, sure, inverse) ** _TRUST


def surely_predicted(z: Tensor, rows: Tensor, inverse: Tensor) -> Tensor:
    """Share ``(B, 1)`` of the squared scores of ``rows`` that the other trials predict.

    The residual of each one given all others is that of eq. 5.12. The share is taken two standard
    errors below its estimate, as if residuals were independent, and at least 0.
    """
    missed = (inverse @ z[..., None])[..., 0] / inverse.diagonal(dim1=-2, dim2=-1)
    n = rows.sum(-1, keepdim=True).clamp_min(1)
    square = torch.where(rows, z.square(), 0.0)
    gain = torch.where(rows, square - missed.square(), 0.0)
    mean = gain.sum(-1, keepdim=True) / n
    variance = torch.where(rows, (gain - mean).square(), 0.0).sum(-1, keepdim=True) / n
    total = square.sum(-1, keepdim=True) / n
    return ((mean - _CAUTION * (variance / n).sqrt()) / total.clamp_min(1e-12)).clamp_min(0)


def off_level(history: History, z: Tensor, certainty: Certainty, inverse: Tensor) -> Tensor:
    """Transformed scores less their level, 0 where there is no score."""
    if not exists(history):
        return z
    return torch.where(history.scored, z - estimate(history, z, certainty, inverse), 0.0)
