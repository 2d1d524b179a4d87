"""How well a rung ranks configurations: the rank correlation with the final scores."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


Array = NDArray[np.float64]

# A rung with less correlation than this, over at least so many pairs, is no ground to prune on.
MIN_CORRELATION = 0.5
ENOUGH_PAIRS = 8


def rank_correlation(x: Array, y: Array) -> tuple[float, int]:
    """Correlation of the ranks at a rung with the final ranks, as if nothing had been pruned.

    The trials that went on were chosen by their score at the rung, and among the chosen a good
    rung ranks poorly. Their correlation is therefore carried over to the spread of all trials
    (Thorndike 1949, case 2): ``r u / sqrt(1 - r² + r² u²)`` with ``u`` the ratio of the spreads,
    on normal scores, for which the rule holds.

    Args:
        x: ``(n,)`` scores of all trials at the rung; NaN counts as the worst.
        y: ``(n,)`` final scores, NaN where a trial was pruned.

    Returns:
        The correlation in [-1, 1] and the number of pairs; NaN below 3 pairs or without spread.
    """
    paired = ~np.isnan(y)
    n_pairs = int(paired.sum())
    if n_pairs < 3:
        return math.nan, n_pairs
    ranks = normal_scores(np.nan_to_num(x, nan=-np.inf, posinf=np.inf, neginf=-np.inf))
    a, b = ranks[paired], normal_scores(y[paired])
    if a.std() == 0 or b.std() == 0:
        return math.nan, n_pairs
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    u = float(ranks.std() / a.std())
    return r * u / math.sqrt(1 - r * r + r * r * u * u), n_pairs


def misleads(value: float, n_pairs: int) -> bool:
    """Whether a rung with this correlation shall not decide about trials."""
    return n_pairs >= ENOUGH_PAIRS and value < MIN_CORRELATION


def normal_score(share: Array) -> Array:
    """Normal quantile of a share in (0, 1), nearly (Tukey's lambda distribution)."""
    return np.asarray(4.91 * (share**0.14 - (1 - share) ** 0.14))


def normal_scores(values: Array) -> Array:
    """Normal scores of the ranks; ties share theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return normal_score(((np.cumsum(counts) - counts / 2) / len(values))[inverse])
