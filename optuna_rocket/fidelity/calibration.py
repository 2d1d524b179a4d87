"""The regression behind a forecast: final scores on the scores at one rung.

1. *Normal scores*: ``t(x)``, the normal score of the rank that ``x`` has among *all* trials that
   reached the rung, so that no scale has to be shared (``x`` may be a loss at epoch 2 and the
   final score an accuracy) and a trial worse than all that went on is seen as such.
2. *Shrinkage*: ``y = a + b (t(x) - mean) + e``; how much a rank at the rung is worth. The prior
   (``b`` around .8 and residuals of 70 % of the spread that the final scores of all trials would
   have) counts like a few trials, so that the forecast is wide until the study has shown
   otherwise. That spread is the one seen, corrected for the trials that never went on, which were
   chosen by ``x``: ``b² + var e`` (Thorndike 1949, case 2).
3. *Near ranks*: the errors of trials with similar ranks correct the mean and set the spread, so
   that a plateau from which some trials rise late has a wide forecast of its own.

Notation: ``n`` trials; ``x`` ``(n,)`` scores at a rung; ``y`` ``(n,)`` final scores and ``v``
``(n,)`` their variances (0 where observed).
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from optuna_rocket.fidelity.correlation import normal_score


Array = NDArray[np.float64]

# The prior of the shrinkage: centre and width of the slope, residual variance as a share of the
# variance of the final scores, and how many trials it counts for.
_SLOPE, _SLOPE_STD = 0.8, 0.3
_RESIDUAL_SHARE = 0.5
_PRIOR_TRIALS = 4.0
# The variance of the normal scores of the trials that went on is no less than this share.
_LEAST_SPREAD = 0.1
# Trials whose ranks are this close tell how far off the regression is there.
_BANDWIDTH = 0.15
_LARGEST = float(np.finfo(np.float64).max / 4)


@dataclass(frozen=True)
class Calibration:
    """A fitted regression of final scores on the scores at one rung.

    Attributes:
        knots: ``(k,)`` distinct scores of all trials at the rung, rising.
        ranks: ``(k,)`` their ranks in [0, 1].
        mapped: ``(k,)`` their ``t(x)``.
        centre: Mean ``t(x)`` of the trials that went on.
        coefficients: ``(a, b)``.
        uncertainty: Variances of ``a`` and ``b``, which are independent.
        residual: Variance of ``e`` over all trials.
        trial_ranks: ``(n,)`` ranks in [0, 1] of the trials behind it.
        errors: ``(n,)`` their ``e``.
        variances: ``(n,)`` their ``v``.
    """

    knots: Array
    ranks: Array
    mapped: Array
    centre: float
    coefficients: tuple[float, float]
    uncertainty: tuple[float, float]
    residual: float
    trial_ranks: Array
    errors: Array
    variances: Array

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance ``(m,)`` of the final scores for scores ``(m,)`` at the rung."""
        x = _finite(x)
        offset = np.interp(x, self.knots, self.mapped) - self.centre
        mean = self.coefficients[0] + self.coefficients[1] * offset
        uncertain = self.uncertainty[0] + self.uncertainty[1] * offset**2
        shift, spread = self._nearby(np.interp(x, self.knots, self.ranks))
        # Student's t has this much more variance than the normal distribution used instead.
        freedom = _PRIOR_TRIALS + len(self.errors)
        return mean + shift, (spread + uncertain) * freedom / (freedom - 2)

    def _nearby(self, rank: Array) -> tuple[Array, Array]:
        """What the trials of similar rank add to the mean, and their variance ``(m,)``."""
        distance = (rank[:, None] - self.trial_ranks) / _BANDWIDTH
        weight = np.exp(-0.5 * distance**2)
        total = weight.sum(-1) + _PRIOR_TRIALS
        shift = (weight @ self.errors) / total
        squares = weight @ (self.errors**2 + self.variances) + _PRIOR_TRIALS * self.residual
        return shift, np.maximum(squares / total - shift**2, 0.1 * self.residual)


def calibrate(x: Array, y: Array, v: Array, seen: Array) -> Calibration:
    """Fit the regression.

    Args:
        x: ``(n,)`` scores at the rung of the trials with both scores, at least one.
        y: ``(n,)`` their final scores.
        v: ``(n,)`` the variances of those.
        seen: Scores of all trials at the rung; like ``x`` they may be infinite.
    """
    n = len(x)
    knots, counts = np.unique(_finite(seen), return_counts=True)
    ranks = np.asarray((np.cumsum(counts) - counts / 2) / len(seen), dtype=np.float64)
    mapped = normal_score(ranks)
    t = np.interp(_finite(x), knots, mapped)
    centre, mean = float(t.mean()), float(y.mean())
    offset, gap = t - centre, y - mean  # so that the two coefficients are independent
    squares, products = float(offset @ offset), float(offset @ gap)
    all_squares, noise = float(gap @ gap), float(v.sum())
    spread = max((all_squares + noise) / n, 1e-12)
    widest = spread / max(squares / n, _LEAST_SPREAD)
    total, residual = spread, _RESIDUAL_SHARE * spread
    for _ in range(5):  # the slope, the residual and the total depend on each other
        prior = 1 / (_SLOPE_STD**2 * total)
        certainty = prior + squares / residual
        slope = (prior * _SLOPE * math.sqrt(total) + products / residual) / certainty
        unexplained = max(all_squares - slope * (2 * products - slope * squares), 0) + noise
        unexplained += _PRIOR_TRIALS * _RESIDUAL_SHARE * spread
        residual = unexplained / (_PRIOR_TRIALS + n)
        total = min(max(slope**2 + residual, spread), widest)
    variances = (1 / (1 / total + n / residual), 1 / certainty)
    at, errors = np.interp(_finite(x), knots, ranks), gap - slope * offset
    return Calibration(
        knots, ranks, mapped, centre, (mean, slope), variances, residual, at, errors, v
    )


def _finite(x: Array) -> Array:
    return np.minimum(np.maximum(x, -_LARGEST), _LARGEST)
