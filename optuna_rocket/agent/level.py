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
# Power of the share of the scores that the trials explain of each other.
_TRUST = 2


def estimate(z: Tensor, scored: Tensor, inverse: Tensor) -> Tensor:
    """The level ``(B, 1)`` of the transformed scores (Rasmussen & Williams, eq. 2.42).

    It is taken as far as trials predict each other (eq. 5.12). Where noise and steps hide what is
    good, the crowd is no sign that everything else is worse.
    """
    ones = scored.to(z.dtype)
    solved = (inverse @ ones[..., None])[..., 0] * ones
    mean = (solved * z).sum(-1, keepdim=True) / (solved.sum(-1, keepdim=True) + _STD**-2)
    return mean * explained(z, scored, inverse) ** _TRUST


def explained(z: Tensor, scored: Tensor, inverse: Tensor) -> Tensor:
    """Share ``(B, 1)`` of the squared scores that the other trials predict, at least 0."""
    missed = (inverse @ z[..., None])[..., 0] / inverse.diagonal(dim1=-2, dim2=-1)
    of = torch.where(scored, z.square(), 0.0).sum(-1, keepdim=True).clamp_min(1e-12)
    return (1 - torch.where(scored, missed.square(), 0.0).sum(-1, keepdim=True) / of).clamp_min(0)


def off_level(z: Tensor, scored: Tensor, inverse: Tensor) -> Tensor:
    """Transformed scores less their level, 0 where there is no score."""
    return torch.where(scored, z - estimate(z, scored, inverse), 0.0)
