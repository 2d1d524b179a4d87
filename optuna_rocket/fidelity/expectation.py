"""What a sampler expected of a trial before it ran, and what that says beside its reports.

A forecast knows the reports of a trial and what became of others with such reports; it does not
know the configuration. The agent's memory knows that and no report. Both hold the same general
knowledge, how good trials of this study are, which must count once: for normal distributions

    1 / var = 1 / var_expected + 1 / var_forecast - 1 / var_any

and the means are weighed alike (as where two sensors share a prior). The same rule tells what a
forecast alone *observed* of a trial, without that general knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from optuna_rocket.fidelity.forecast import N_RECENT
from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import Forecast


Array = NDArray[np.float64]

# A forecast that leaves more of the variance than this observed nothing to speak of.
_MOST_LEFT = 0.9
_LEAST_STD, _MOST_STD = 1e-3, 1e100  # in scaled units; squares are finite
# The memory chooses what it thinks too well of, and says more than it knows: before a study has
# shown how much, errors are expected to be this many times as large as it says.
_PRIOR_FACTOR = 2.0
_PRIOR_TRIALS = 4.0
_MOST_SQUARED = 25.0


class Said(NamedTuple):
    """What was expected of a trial, on the objective's scale, greater is better.

    Attributes:
        score: Expected objective value, NaN where unknown.
        spread: Its standard deviation, NaN where unknown.
    """

    score: float
    spread: float


@dataclass(frozen=True)
class Trust:
    """How far off a study's expectations have been.

    Attributes:
        shift: Mean error, in scaled units, shrunk to 0.
        factor: Errors in units of what was said of them.
    """

    shift: float
    factor: float

    def expected_final(self, evidence: Evidence, said: Said) -> Forecast | None:
        """What was expected of a trial, as a scaled final score; None where it is unknown."""
        forecast = _as_scaled(evidence, said)
        if forecast is None:
            return None
        return Forecast(forecast.mean + self.shift, forecast.std * self.factor)


def trust(evidence: Evidence, said: Sequence[Said]) -> Trust:
    """How far off the latest expectations have been.

    Args:
        evidence: ``n`` finished trials.
        said: What was said when each was suggested.
    """
    finals, variances = evidence.completed
    errors, squares = [], []
    for i in range(max(0, len(said) - N_RECENT), len(said)):
        forecast = None if np.isnan(finals[i]) else _as_scaled(evidence, said[i])
        if forecast is not None:
            error = float(finals[i]) - forecast.mean
            errors.append(error)
            squares.append((error**2 + float(variances[i])) / forecast.std**2)
    weight = _PRIOR_TRIALS + len(errors)
    total = float(np.minimum(squares, _MOST_SQUARED).sum()) if squares else 0.0
    factor = math.sqrt((_PRIOR_TRIALS * _PRIOR_FACTOR**2 + total) / weight)
    return Trust(math.fsum(errors) / weight, factor)


def _as_scaled(evidence: Evidence, said: Said) -> Forecast | None:
    _, _, unit = evidence.scaled
    if not (math.isfinite(said.score) and math.isfinite(said.spread) and unit > 0):
        return None
    std = min(max(said.spread / unit, _LEAST_STD), _MOST_STD)
    return Forecast(evidence.rescale(said.score), std)


def informed(forecast: Forecast, expected: Forecast | None, evidence: Evidence) -> Forecast:
    """A forecast with what was expected of the configuration, where that is known."""
    return forecast if expected is None else joined(forecast, expected, evidence.new_trial)


def joined(forecast: Forecast, expected: Forecast, anyone: Forecast) -> Forecast:
    """The final score of a trial by its reports and by what was expected of it.

    Args:
        forecast: By its reports.
        expected: By its configuration.
        anyone: Of a trial of which neither is known.
    """
    observed = 1 / forecast.std**2 - 1 / anyone.std**2
    if observed <= 0:
        return expected
    precision = 1 / expected.std**2 + observed
    gap = forecast.mean / forecast.std**2 - anyone.mean / anyone.std**2
    mean = (expected.mean / expected.std**2 + gap) / precision
    return Forecast(mean, precision**-0.5)


def observed(mean: Array, variance: Array, anyone: Forecast) -> tuple[Array, Array]:
    """What forecasts observed, without what is known of any trial.

    Args:
        mean: ``(n,)`` forecast final scores.
        variance: ``(n,)`` their variances, 0 where the final score itself was seen.
        anyone: Of a trial before its first report.

    Returns:
        Mean and variance ``(n,)`` of the scores as observations of the objective.
    """
    left = np.clip(variance / anyone.std**2, 0, _MOST_LEFT)
    unshrunk = anyone.mean + (mean - anyone.mean) / (1 - left)
    return unshrunk, left * anyone.std**2 / (1 - left)
