"""How wide what the agent expects must be drawn to hold what it says it holds.

The memory takes its likeliest weights for the right ones, and the agent tries what looks best,
which is what is overestimated most: 1.28 of the memory's deviations to both sides hold much less
than 80 %. The widths here come from studies of synthetic tasks (``benchmarks.coverage`` measures
them there and on others); for suggested trials what the study has shown so far joins in.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from optuna_rocket.agent import memory
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.scores import continue_transform
from optuna_rocket.space import Geometry


SHARE = 0.8
HALF_WIDTH = 1.2816  # ± so many standard deviations of a normal distribution hold that share
# Of a function's values the memory's deviation is too small by this factor, ``_LATE + _EARLY / n``
# after n trials.
_LATE, _EARLY = 1.35, 8.0
_LEAST_TRIALS = 3
# Standardised errors of suggested trials: nine of them with the quantiles 1/18, 3/18, ..., 17/18.
_TYPICAL = (-4.0, -2.6, -1.8, -1.2, -0.65, -0.2, 0.45, 1.35, 4.8)
_MOST_ERRORS = 64  # the latest ones


def function(n: int, batch: int = 1) -> Tensor:
    """Bounds ``(batch, 2)`` for values of the function after ``n`` trials.

    They are in standard deviations of the memory around what it expects, lower one first.
    """
    half = HALF_WIDTH * (_LATE + _EARLY / max(n, _LEAST_TRIALS))
    return torch.tensor([[-half, half]], dtype=torch.float64).expand(batch, 2)


def outcome(past: Tensor) -> Tensor:
    """Bounds ``(B, 2)`` for the next score of a suggested trial, likewise.

    Args:
        past: ``(B, k)`` standardised errors of the trials before, from ``errors``; NaN for none.
    """
    typical = torch.tensor(_TYPICAL, dtype=torch.float64).expand(len(past), -1)
    sample = torch.cat([typical, past[:, -_MOST_ERRORS:]], 1)
    low, high = _quantile(sample, (1 - SHARE) / 2), _quantile(sample, (1 + SHARE) / 2)
    # What is expected lies within, whatever came of the others.
    return torch.stack([low.clamp_max(0), high.clamp_min(0)], -1)


def _quantile(sample: Tensor, share: float) -> Tensor:
    """Quantile ``(B,)`` of rows without their NaN: the i-th of k is that of (i - ½) / k."""
    count = torch.isfinite(sample).sum(-1)
    ascending = sample.sort(-1).values  # NaN last
    position = (share * count.float() - 0.5).clamp_min(0).minimum(count.float() - 1)
    below = position.long()
    above = torch.minimum(below + 1, count - 1)
    low, high = (ascending.gather(1, x[:, None])[:, 0] for x in (below, above))
    return low + (position - below) * (high - low)


def errors(history: History, geometry: Geometry) -> Tensor:
    """Standardised errors ``(1, k)`` of what was expected of the latest suggested trials.

    Args:
        history: Of one study; its ``predicted`` says what was expected.
        geometry: Its space.
    """
    is_known = history.scored[0] & torch.isfinite(history.predicted[0]).all(-1)
    is_known &= history.outcomes[0] == Outcome.COMPLETE
    known = is_known.nonzero()[-_MOST_ERRORS:, 0].tolist()
    if not known:
        return torch.zeros(1, 0, dtype=torch.float64)
    # Of what is older a memory can hold only what it held before the first of them.
    older = memory.context_rows(history.first(known[0]))
    recent = history.take(torch.cat([older, torch.arange(known[0], history.n_trials)]))
    n_gone = known[0] - len(older)
    until = [recent.first(row - n_gone + 1) for row in known]
    return torch.stack([latest_error(some, geometry) for some in until], -1)


def latest_error(history: History, geometry: Geometry) -> Tensor:
    """Standardised error ``(B,)`` of what was expected of the latest trial, NaN where unknown.

    It is on the scale of the trials before it, as the expectation was.
    """
    n = history.n_trials - 1
    past = memory.context(history.first(n), geometry)
    unknown = torch.full((len(history.scores),), math.nan, dtype=torch.float64)
    if n == 0:
        return unknown
    highest = past.scores.masked_fill(~past.comparable, -torch.inf).amax(-1)
    lowest = past.scores.masked_fill(~past.comparable, torch.inf).amin(-1)
    has_scale = (highest > lowest) & (history.outcomes[:, n] == Outcome.COMPLETE)
    latest = history.scores[:, n:]
    score = continue_transform(past.scores, past.comparable, latest, past.least_unit)[:, 0]
    mean, std = history.predicted[:, n].unbind(-1)
    return torch.where(has_scale, (score - mean) / std.clamp_min(1e-9), unknown)
