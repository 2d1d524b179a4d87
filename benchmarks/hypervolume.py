"""Hypervolume of points to be minimised: exact for few objectives, along rays for many."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


Array = NDArray[np.float64]

_N_RAYS = 4096
_MANY = 32  # points whose reach is found at once


def non_dominated(points: Array) -> NDArray[np.bool_]:
    """Return which of points `(n, m)` no other one dominates.

    Args:
        points: Objective values, all to be minimised.
    """
    order = np.lexsort(points.T[::-1])
    kept = np.zeros(len(points), dtype=bool)
    front: list[Any] = []
    for i in order:  # a point can only be dominated by one before it
        point = points[i]
        if front and points.shape[1] == 2:
            dominated = point[1] >= front[-1][1]
        else:
            dominated = any(bool((other <= point).all()) for other in front)
        if not dominated:
            kept[i] = True
            front.append(point)
    return kept


def hypervolume(points: Array, reference: Array) -> float:
    """Return the volume that points `(n, m)` dominate within a reference point `(m,)`.

    Sliced along the last objective, which costs `n^(m - 1)` steps.

    Args:
        points: Objective values, all to be minimised.
        reference: Points that do not dominate it count for nothing.
    """
    inside = points[(points < reference).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if points.shape[1] == 1:
        return float(reference[0] - inside.min())
    inside = inside[np.argsort(inside[:, -1], kind="stable")]
    if points.shape[1] == 2:
        lowest = np.minimum.accumulate(inside[:, 0])
        heights = np.diff(np.append(inside[:, 1], reference[1]))
        return float(((reference[0] - lowest) * heights).sum())
    heights = np.diff(np.append(inside[:, -1], reference[-1]))
    return sum(
        float(height) * hypervolume(inside[: k + 1, :-1], reference[:-1])
        for k, height in enumerate(heights)
        if height > 0
    )


def swept(points: Array, reference: Array, width: Array) -> float:
    """Return a share of the volume that points `(n, m)` dominate, for any number of objectives.

    The mean of how far they reach along rays from the reference point, to the power of `m`: the
    volume in units of `width`, up to a factor and to the chance of 4096 random rays, which are the
    same ones for all points.

    Args:
        points: Objective values, all to be minimised.
        reference: As for `hypervolume`.
        width: `(m,)` the scale of each objective.
    """
    m = len(reference)
    farthest = np.zeros(_N_RAYS)
    for start in range(0, len(points), _MANY):
        inside = np.maximum((reference - points[start : start + _MANY]) / width, 0)
        reach = np.full((_N_RAYS, len(inside)), np.inf)
        for ray, gain in zip(_rays(m), inside.T, strict=True):
            np.minimum(reach, gain / ray[:, None], out=reach)
        farthest = np.maximum(farthest, reach.max(axis=1))
    return float((farthest**m).mean())


@cache
def _rays(m: int) -> Array:
    """Directions `(m, r)` spread evenly over the positive part of the sphere."""
    normal = np.abs(np.random.default_rng(0).standard_normal((m, _N_RAYS)))
    return np.asarray(normal / np.linalg.norm(normal, axis=0))
