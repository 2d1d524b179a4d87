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


# Prior deviation of the level from the mean of the trials.
_STD = 1.0
# Power of the share of the scores that the trials predict of each other, and how many standard
# errors below its estimate that share is taken.
_TRUST, _CAUTION = 2, 2.0


def estimate(z: Tensor, scored: Tensor, inverse: Tensor) -> Tensor:
    """The level ``(B, 1)`` of the transformed scores (Rasmussen & Williams, eq. 2.42).

    It is taken as far as trials surely predict each other. Where noise and steps hide what is
    good, the crowd is no sign that everything else is worse (``benchmarks/README.md``).
    """
    ones = scored.to(z.dtype)
    solved = (inverse @ ones[..., None])[..., 0] * ones
    mean = (solved * z).sum(-1, keepdim=True) / (solved.sum(-1, keepdim=True) + _STD**-2)
    return mean * predicted(z, scored, inverse) ** _TRUST


def predicted(z: Tensor, scored: Tensor, inverse: Tensor) -> Tensor:
    """Share ``(B, 1)`` of the squared scores that trials surely predict of others (eq. 5.12)."""
    missed = (inverse @ z[..., None])[..., 0] / inverse.diagonal(dim1=-2, dim2=-1)
    n = scored.sum(-1, keepdim=True).clamp_min(1)
    square = torch.where(scored, z.square(), 0.0)
    gain = torch.where(scored, square - missed.square(), 0.0)
    mean = gain.sum(-1, keepdim=True) / n
    variance = torch.where(scored, (gain - mean).square(), 0.0).sum(-1, keepdim=True) / n
    total = square.sum(-1, keepdim=True) / n
    return ((mean - _CAUTION * (variance / n).sqrt()) / total.clamp_min(1e-12)).clamp_min(0)


def off_level(z: Tensor, scored: Tensor, inverse: Tensor) -> Tensor:
    """Transformed scores less their level, 0 where there is no score."""
    return torch.where(scored, z - estimate(z, scored, inverse), 0.0)
