"""Three problems of the WFG toolkit: WFG2, WFG4 and WFG7, any number of objectives.

After Huband, Hingston, Barone & While 2006, "A review of multiobjective test problems and a
scalable test problem toolkit", whose names of transformations are kept. Parameters are on the
unit interval (the paper's ``y``); the first ``k`` place a point along the front, the others move
it away. Checked against pymoo 0.6.2, to which the differences are rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


Array = NDArray[np.float64]

_OPTIMUM = 0.35  # of the parameters that move a point away from the front


def wfg2(y: Array, k: int, m: int) -> Array:
    """WFG2: distance parameters depend on each other in pairs, the front has gaps."""
    y = np.concatenate([y[:k], _s_linear(y[k:])])
    first, second = y[k::2], y[k + 1 :: 2]
    pairs = (first + second + 2 * np.abs(first - second)) / 3
    x = _means(np.concatenate([y[:k], pairs]), k, m)
    return _objectives(x, wfg2_shape(x[:-1]))


def wfg2_shape(x: Array) -> Array:
    """The front of WFG2 at positions ``x``, but for the objectives' scales."""
    shape = _products(1 - np.cos(x * np.pi / 2), 1 - np.sin(x * np.pi / 2))
    shape[-1] = 1 - x[0] * np.cos(5 * np.pi * x[0]) ** 2
    return shape


def wfg4(y: Array, k: int, m: int) -> Array:
    """WFG4: every parameter has many local optima."""
    below = np.abs(y - _OPTIMUM) / (2 * (np.floor(_OPTIMUM - y) + _OPTIMUM))
    y = (1 + np.cos(122 * np.pi * (0.5 - below)) + 40 * below**2) / 12
    x = _means(y, k, m)
    return _objectives(x, _concave(x[:-1]))


def wfg7(y: Array, k: int, m: int) -> Array:
    """WFG7: where a point lies on the front depends on the distance parameters too."""
    later = np.array([y[i + 1 :].mean() for i in range(k)])
    power = 0.02 + 49.98 * _b_param(later)
    x = _means(np.concatenate([y[:k] ** power, _s_linear(y[k:])]), k, m)
    return _objectives(x, _concave(x[:-1]))


WFG: dict[str, Callable[[Array, int, int], Array]] = {"wfg2": wfg2, "wfg4": wfg4, "wfg7": wfg7}


def scales(m: int) -> Array:
    """The greatest value of each objective on the front."""
    return np.arange(1, m + 1, dtype=np.float64) * 2.0


def _s_linear(y: Array) -> Array:
    return np.asarray(np.abs(y - _OPTIMUM) / np.abs(np.floor(_OPTIMUM - y) + _OPTIMUM))


def _b_param(u: Array) -> Array:
    a = 0.98 / 49.98
    return np.asarray(a - (1 - 2 * u) * np.abs(np.floor(0.5 - u) + a))


def _means(y: Array, k: int, m: int) -> Array:
    """``r_sum``: the mean of each group of position parameters, and of the distance ones."""
    return np.array([*y[:k].reshape(m - 1, -1).mean(axis=1), y[k:].mean()], dtype=np.float64)


def _objectives(x: Array, shape: Array) -> Array:
    return np.asarray(x[-1] + scales(len(x)) * shape)


def _concave(x: Array) -> Array:
    return _products(np.sin(x * np.pi / 2), np.cos(x * np.pi / 2))


def _products(leading: Array, last: Array) -> Array:
    """Of the first factors, of ever fewer of them, each with the next one of the other kind."""
    m = len(leading) + 1
    return np.array(
        [np.prod(leading[: m - 1 - i]) * (last[m - 1 - i] if i else 1) for i in range(m)]
    )
