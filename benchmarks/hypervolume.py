"""Exact hypervolume of points to be minimised, for two or three objectives and few points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


Array = NDArray[np.float64]


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
