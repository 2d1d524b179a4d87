"""The rule for several objectives: log expected gain of hypervolume.

The hypervolume gained by a point ``y`` is the integral, over all ``q`` that no trial dominates, of
whether ``y`` dominates ``q``; its expectation under independent normal beliefs is the integral of
a product of normal tails. The nodes ``q`` lie on rays from the reference point in directions that
fill the positive part of the sphere, as in the random hypervolume scalarisations of Zhang &
Golovin 2020; on each ray they start where the trials' front ends. One set of nodes serves all
candidates, any number of objectives costs the same number of nodes.
"""

from __future__ import annotations

from functools import lru_cache
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from optuna_rocket.goals import Box
from optuna_rocket.goals import directions
from optuna_rocket.goals import dominated
from optuna_rocket.goals import margin
from optuna_rocket.scores import gaps_of
from optuna_rocket.scores import half_unit
from optuna_rocket.scores import transform_gaps


_N_RAYS = 64
_N_ON_RAY = 8
# How far beyond the best score a trial may come, in units of the distance to the lower quartile.
_BEYOND = 0.25
# A front is at least this wide, in the same units.
_LEAST_RANGE = 0.05
# As far behind a front the reference point lies at most, in the same units: where all is alike.
_FARTHEST = 3.0
# The tail beyond, 4e-37, stands for smaller ones, which take the processor six times as long.
_FAR_OUT = 9.0


# Candidates that are worked on at once.
_AT_ONCE = 64


class Nodes(NamedTuple):
    """Points in the space of transformed scores: ``scores`` ``(m, q)``, ``weights`` ``(q,)``."""

    scores: Tensor
    weights: Tensor


def nodes(
    scores: Tensor, scored: Tensor, front: Tensor, box: Box, generator: torch.Generator
) -> Nodes:
    """Nodes beyond the front.

    Args:
        scores: ``(m, n)`` of the trials.
        scored: ``(m, n)`` bool.
        front: ``(m, k)`` transformed scores of the points that a gain must not be dominated by;
            dominated ones do no harm. At least one.
        box: That of the scores, whose unit the transformed scores have.
        generator: Moves the directions.
    """
    points = -gaps_of(scores, scored, front, box.unit)
    leading = points[:, ~dominated(points)]
    nadir = leading.amin(-1, keepdim=True)
    width = (leading.amax(-1, keepdim=True) - nadir).clamp_min(_LEAST_RANGE)
    beyond = (box.beyond / half_unit(scores, scored, box.unit)).clamp_max(_FARTHEST)
    reference = nadir - beyond.maximum(margin(leading.shape[1]) * width)
    width = width.maximum(beyond)
    m = len(scores)
    shift = torch.rand(m, generator=generator, dtype=torch.float64)
    rays = directions(_N_RAYS, m, shift).T * width  # (m, r)
    # (m, r, k): how far along the ray each coordinate of each point reaches
    reach = (leading - reference)[:, None] / rays[..., None]
    start = reach.amin(0).amax(-1)
    end = ((_BEYOND - reference) / rays).amin(0).maximum(start * (1 + 1e-6))
    at, share = _quadrature(_N_ON_RAY)
    along = start[:, None] + (end - start)[:, None] * at.square()
    weights = share * 2 * at * (end - start)[:, None] * along.pow(m - 1)
    where = reference[..., None] + rays[..., None] * along  # (m, r, s)
    at_nodes = transform_gaps(scores, scored, -where.flatten(1), box.unit)
    return Nodes(at_nodes, weights.flatten())


def log_gain(nodes: Nodes, mean: Tensor, std: Tensor) -> Tensor:
    """Log expected gain of hypervolume ``(c,)``, but for a constant.

    Args:
        nodes: From ``nodes``.
        mean: ``(m, c)`` expected transformed scores of candidates.
        std: ``(m, c)`` their standard deviations.
    """
    # In single precision, which is twice as fast; tails that underflow there decide nothing. Some
    # candidates and one objective after the other, as large tensors cost more than their numbers.
    unit = -math.sqrt(0.5) / std.float()[..., None]
    start, at = mean.float()[..., None] * unit, nodes.scores.float()[:, None]
    volumes = []
    for first in range(0, mean.shape[1], _AT_ONCE):
        some, tails = slice(first, first + _AT_ONCE), torch.ones(())
        for k in range(len(mean)):
            # A normal tail is erfc(-x / √2) / 2.
            x = torch.addcmul(start[k, some], at[k], unit[k, some], value=-1)
            tails = x.clamp_max_(_FAR_OUT).erfc_().mul_(tails)
        volumes.append(tails.double() @ nodes.weights)
    volume = torch.cat(volumes) * 0.5 ** len(mean)
    return torch.as_tensor(volume.clamp_min(1e-300).log())


@lru_cache(maxsize=4)
def _quadrature(n: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on the unit interval."""
    at, weights = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy((at + 1) / 2), torch.from_numpy(weights / 2)
