"""Approximated rewards: what trials that were stopped early would have scored, and how surely.

Every rung of every trial, pruned ones too, is evidence about the objective: the forecast turns it
into an expected final score with a standard error, which the memory takes for additional noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import math

import numpy as np
from numpy.typing import NDArray
import torch

from optuna_rocket.fidelity.expectation import observed
from optuna_rocket.fidelity.forecast import MIN_PAIRS
from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import Forecast
from optuna_rocket.fidelity.forecast import gather
from optuna_rocket.fidelity.forecast import latest
from optuna_rocket.fidelity.forecast import scale
from optuna_rocket.fidelity.guards import contradicts
from optuna_rocket.history import History
from optuna_rocket.history import Outcome


Array = NDArray[np.float64]
Reports = tuple[Sequence[int], Sequence[float]]

# Before there is a forecast, all are compared on their first rung. How far off that is, as a share
# of the spread there.
_FIRST_RUNG_ERROR = 0.5
# In scaled units.
_LEAST_SPREAD = 1e-6
_MOST_ABOVE = 0.5
_HUGE = 1e308


def approximate(history: History, reports: Sequence[Reports]) -> History:
    """The history with an approximated score for every pruned trial that has reported.

    It depends on the trials given alone, so that a memory which is fitted to the first trials of a
    study is the same whenever that is done.

    Args:
        history: ``n`` trials of one study (a batch of one).
        reports: Report steps, rising, and scores there of each of them.

    Returns:
        The history itself if there is nothing to approximate, or nothing to do it from: too few
        complete trials that reported, beside others that did not. Otherwise its pruned trials have
        forecast scores, with ``errors`` in place of a fidelity; they have no score where the
        forecast does not reach, where complete trials contradict the reports (``guards``), and
        among the oldest of more than a thousand.
    """
    outcomes = history.outcomes[0].numpy()
    telling = np.array([len(steps) > 0 for steps, _ in reports], dtype=np.bool_)
    is_pruned = (outcomes == Outcome.PRUNED) & telling
    if not is_pruned.any():
        return history
    scores = history.scores[0].numpy().copy()
    finals = np.where(outcomes == Outcome.COMPLETE, scores, np.nan)
    is_final = ~np.isnan(finals)
    errors = np.zeros(len(scores))
    rows = (is_pruned | (telling & is_final)).nonzero()[0]
    rows = rows[latest(len(rows), is_final[rows].tolist().__getitem__)]
    evidence = gather([(*reports[i], float(finals[i])) for i in rows])
    is_missing = ~is_final[rows]
    if not is_missing.any():
        scores[is_pruned] = np.nan  # all of them are too old
    elif contradicts(evidence, evidence.steps[evidence.last_places[is_missing].min()]):
        scores[is_pruned] = np.nan  # what they reported says nothing, or the contrary
    elif (~is_missing).sum() >= MIN_PAIRS and evidence.scaled[2] > 0:
        expected, error = _forecast(evidence)
        scores[is_pruned] = np.nan
        scores[rows[is_missing]] = expected[is_missing]
        errors[rows[is_missing]] = error[is_missing]
    elif (is_final <= telling).all():
        scores[:] = np.nan  # those without a report are on another scale
        scores[rows], errors[rows] = _first_rung(evidence)
    else:
        return history
    approximated = torch.from_numpy(errors > 0)[None]
    return replace(
        history,
        scores=torch.from_numpy(scores)[None],
        fidelity=history.fidelity.masked_fill(approximated, 1.0),
        errors=torch.from_numpy(errors)[None],
    )


def _forecast(evidence: Evidence) -> tuple[Array, Array]:
    """Final scores ``(n,)`` in their own units and standard errors.

    They are what the rungs observed: the memory has expectations of its own.
    """
    finals, centre, unit = evidence.scaled
    mean, variance = evidence.completed
    known = ~np.isnan(mean)
    spread = math.sqrt(float(mean[known].var() + variance[known].mean()))
    anyone = Forecast(float(mean[known].mean()), max(spread, _LEAST_SPREAD))
    mean, variance = observed(mean, variance, anyone)
    # Nothing is much better than the best that was seen because a line says so.
    mean = np.minimum(mean, np.nanmax(finals) + _MOST_ABOVE)
    unit = min(unit, _HUGE)
    with np.errstate(over="ignore"):  # what is too large for a number is cut
        expected, error = centre + unit * mean, unit * np.sqrt(variance)
    return np.clip(expected, -_HUGE, _HUGE), np.clip(error, 0, _HUGE)


def _first_rung(evidence: Evidence) -> tuple[Array, Array]:
    """Scores ``(n,)`` on the first rung that anyone reported, and what they may be off."""
    x = evidence.at(evidence.steps[0])
    x = np.where(np.isfinite(x), x, np.nan)
    _, _, spread = scale(x)
    return x, np.full(len(x), _FIRST_RUNG_ERROR * min(spread, _HUGE))
