"""The kernel of the memory: how much alike two configurations are.

Notation, besides that of ``space``: distances per parameter ``D`` ``(B, n, n, d)``; relevances
``w`` ``(B, d)``; ``r² = Σ_j w_j D_j²``; ``q = Σ_j √w_j D_j``. The kernel is half Matern-5/2 in
``r`` (Rasmussen & Williams 2006, eq. 4.17), which is smooth, and half ``exp(-0.6 q)``, a product
of exponential kernels, which is rough and lets parameters differ one by one. Real landscapes are
both (``benchmarks/README.md``). Where many parameters are active, the distances of inert ones add
up in ``q``, and the rough share falls.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.history import History
from optuna_rocket.space import Geometry


_INACTIVE_DISTANCE = 0.5
_ROUGH_SHARE = 0.5
_ROUGH_RATE = 0.6
_ROUGH_UP_TO = 9  # active parameters


class Columns(NamedTuple):
    """Configurations as the kernel sees them.

    Attributes:
        numeric: ``(B, n, q)`` scaled by the root of their relevance.
        categorical: ``(B, n, k)`` indices of choices.
        relevance: ``(B, k)`` of the categorical ones.
    """

    numeric: Tensor
    categorical: Tensor
    relevance: Tensor


def columns(units: Tensor, active: Tensor, geometry: Geometry, relevance: Tensor) -> Columns:
    """Configurations ``units`` ``(B, n, d)`` for logs of relevances ``(B, d)``."""
    relevance = relevance.exp() * geometry.present
    used = geometry.categorical_columns
    root = relevance.sqrt()[:, None]
    if len(used):
        root = root.masked_fill(geometry.is_categorical[:, None], 0.0)
    numeric = units * root
    if geometry.has_conditions or geometry.has_gaps:
        # One more column per parameter keeps active and inactive a fixed distance apart.
        numeric = torch.cat([numeric, active * root * _INACTIVE_DISTANCE], -1)
    return Columns(numeric, units[..., used], (relevance * geometry.is_categorical)[:, used])


def pairwise(a: Columns, b: Columns) -> tuple[Tensor, Tensor]:
    """Relevance-weighted distances ``r²`` and ``q``, each ``(B, m, n)``."""
    norms = a.numeric.square().sum(-1)[:, :, None] + b.numeric.square().sum(-1)[:, None]
    r2 = torch.baddbmm(norms, a.numeric, b.numeric.mT, alpha=-2).clamp_min_(0)
    q = torch.cdist(a.numeric, b.numeric, p=1)
    for j in range(a.categorical.shape[-1]):
        differs = a.categorical[:, :, None, j] != b.categorical[:, None, :, j]
        relevance = a.relevance[:, j, None, None]
        r2 += differs * relevance
        q += differs * relevance.sqrt()
    return r2, q


def distances(history: History, geometry: Geometry) -> Tensor:
    """``D``: distances per parameter ``(B or 1, n, n, d)``, unweighted; 0 in absent columns.

    Where parameters can be inactive, ``d`` further columns hold what activity adds.
    """
    # A batch of goals of one study shares its configurations (``goals.beside``): one for all.
    only = slice(1 if history.units.stride(0) == 0 else None)
    units, active = history.units[only], history.active[only]
    a, b = units[:, :, None], units[:, None]
    is_categorical = geometry.is_categorical[only, None, None]
    distance = torch.where(is_categorical, (a != b).double(), (a - b).abs())
    distance = distance * geometry.present[only, None, None]
    if not (geometry.has_conditions or geometry.has_gaps):
        return distance
    switched = (active[:, :, None] != active[:, None]) & ~is_categorical
    return torch.cat([distance, switched * _INACTIVE_DISTANCE], -1)


def kernel(r2: Tensor, q: Tensor, geometry: Geometry) -> Tensor:
    """The kernel at distances ``(B, m, n)``, of which ``q`` is used up.

    In place where it can be: new memory costs more here than the exponentials do.
    """
    share = _rough_share(geometry)
    scaled = (5 * r2).sqrt_()
    smooth = scaled.neg().exp_()
    smooth *= scaled.add_(1).add_(r2, alpha=5 / 3)
    return smooth.mul_(1 - share).add_(q.mul_(-_ROUGH_RATE).exp_().mul_(share))


def kernel_and_slopes(r2: Tensor, q: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel and its derivatives with respect to ``r²`` and ``q``, which are used up."""
    share = _rough_share(geometry)
    rough = q.mul_(-_ROUGH_RATE).exp_()
    scaled = (5 * r2).sqrt_()
    decay = scaled.neg().exp_()
    scaled += 1
    smooth = r2.mul_(5 / 3).add_(scaled).mul_(decay)
    mixed = smooth.mul_(1 - share).add_(rough * share)
    return (
        mixed,
        decay.mul_(scaled).mul_((1 - share) * (-5 / 6)),
        rough.mul_(-_ROUGH_RATE * share),
    )


def _rough_share(geometry: Geometry) -> Tensor:
    few = (_ROUGH_UP_TO / geometry.n_active.clamp_min(1)).clamp_max(1)
    return (_ROUGH_SHARE * few**4)[:, None, None]
