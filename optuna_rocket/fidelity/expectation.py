"""What a sampler expected of a trial before it ran, and what that says beside its reports.

A forecast knows the reports of a trial and what became of others with such reports; it does not
know the configuration. The agent's memory knows that and no report. Both hold the same general
knowledge, how good trials of this study are, which must count once: for normal distributions

    1 / var = 1 / var_expected + 1 / var_forecast - 1 / var_any

and the means are weighed alike (as where two sensors share a prior). The same rule tells what a
forecast alone *observed* of a trial, without that general knowledge.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
import torch

from optuna_rocket.features import invert_transform
from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import Forecast


Array = NDArray[np.float64]

# A forecast that leaves more of the variance than this observed nothing to speak of.
_MOST_LEFT = 0.9
_LEAST_STD = 1e-3  # in scaled units


def expected_final(evidence: Evidence, mean: float, std: float) -> Forecast | None:
    """What was expected of a trial, as a scaled final score.

    Args:
        evidence: The trials that finished before it.
        mean: Expected score as ``features.transform_scores`` turns them; not finite if unknown.
        std: Its standard deviation.

    Returns:
        None where nothing is known.
    """
    finals, _, _ = evidence.scaled
    scores = torch.from_numpy(finals[~np.isnan(finals)])[None]
    if not (math.isfinite(mean) and math.isfinite(std) and scores.numel()):
        return None
    at = scores.new_tensor([[mean - std, mean, mean + std]])
    everything = torch.ones_like(scores, dtype=torch.bool)
    low, middle, high = invert_transform(scores, everything, at)[0].tolist()
    return Forecast(middle, max((high - low) / 2, _LEAST_STD))


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
