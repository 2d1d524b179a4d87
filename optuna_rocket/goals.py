"""What a study with several objectives or with constraints wants, next to its ``History``.

Notation, besides that of ``space``: ``m`` objectives and ``c`` constraints of one study. The
memory takes them for a batch of studies that tried the same configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import Geometry


# Preferences under which trials are ranked, and how many ranks are told apart under each.
_N_PREFERENCES = 32
_N_RANKS = 160
# The reference point of the gained hypervolume lies behind the worst values on the front by a
# share of the front's range: at least by this one.
_LEAST_MARGIN = 0.1
# That share times the number of trials on the front, while these are few: such a front is narrow,
# and all that lies beyond its ends would be worth nothing. After Ishibuchi et al. 2018, "How to
# specify a reference point in hypervolume calculation", who give a regular front of h points 1/h;
# chosen on ``benchmarks/front_twins.py``.
_SPARSE_MARGIN = 4.0
# A front that covers less of all objectives' ranges than this share has collapsed, the more the
# less it covers.
_COLLAPSED = 0.5
# Gaps that the memory tells apart, in its units (``scores.transformed``).
_MOST_GAP = 3


class Box(NamedTuple):
    """Where a gain of hypervolume counts, on the scale of the scores.

    Attributes:
        coverage: The greatest share of an objective's range that the front covers.
        beyond: ``(m, 1)`` half of how far the reference point must lie behind the front: up to
            the range of all trials where the front has collapsed to nearly a point. Its own range
            says nothing there, and whatever gives up a little of one objective would be
            worthless.
        unit: ``(m, 1)`` half of the least unit of gaps within which the box is told apart. Where
            most trials are equally good at an objective, their quartiles say nothing of it.
    """

    coverage: float
    beyond: Tensor
    unit: Tensor


def margin(n_leading: int) -> float:
    """By what share of its range the reference point lies behind a front of so many trials."""
    return max(_LEAST_MARGIN, _SPARSE_MARGIN / n_leading)


@dataclass(frozen=True)
class Goals:
    """Scores and slacks of the trials of one study.

    Attributes:
        scores: ``(m, n)``, greater is better; NaN where the trial has none.
        slacks: ``(c, n)`` negated constraint values, below 0 where violated; NaN where unknown.
    """

    scores: Tensor
    slacks: Tensor

    def take(self, index: Tensor) -> Goals:
        """Those of the trials at ``index`` ``(k,)``."""
        return Goals(self.scores[:, index], self.slacks[:, index])

    @property
    def n_trials(self) -> int:
        """Number of trials, in any state."""
        return int(self.scores.shape[1])

    @cached_property
    def scored(self) -> Tensor:
        """``(n,)`` bool: trials with a score for every objective."""
        return torch.isfinite(self.scores).all(0)

    @cached_property
    def feasible(self) -> Tensor:
        """``(n,)`` bool: scored trials that violate nothing, as far as is known."""
        return self.scored & ~(self.slacks < 0).any(0)

    @cached_property
    def violation(self) -> Tensor:
        """``(n,)`` sum of the violations, each in units of its mean over the violating trials."""
        excess = (-self.slacks).nan_to_num(0.0).clamp_min(0)
        unit = excess.sum(-1, keepdim=True) / (excess > 0).sum(-1, keepdim=True).clamp_min(1)
        return (excess / unit.clamp_min(1e-300)).sum(0)

    @cached_property
    def standing(self) -> Tensor:
        """``(n,)`` greater for trials that are better to build on, -inf where not scored.

        Feasible trials come first, by their best rank under any of a fixed set of preferences
        (weighted Chebyshev distances of ranks), so that the non-dominated ones lead; then the
        others by their violation.
        """
        return self.ordered(self._best_rank() if len(self.scores) > 1 else self.scores[0])

    @cached_property
    def box(self) -> Box:
        """Where gains count; that of all scored trials while none is feasible."""
        half = self.scores[:, self.scored] / 2
        if not half.shape[1]:
            blank = torch.zeros(len(half), 1, dtype=half.dtype)
            return Box(1.0, blank, blank)
        counted = half[:, self.feasible[self.scored]] if bool(self.feasible.any()) else half
        front = counted[:, ~dominated(counted)]
        worst, best = front.amin(-1, keepdim=True), half.amax(-1, keepdim=True)
        width = front.amax(-1, keepdim=True) - worst
        span = best - half.amin(-1, keepdim=True)
        covered = torch.where(span > 0, width / span, 0.0).amax()
        coverage = float(covered) if bool((span > 0).any()) else 1.0
        beyond = max(0.0, 1 - coverage / _COLLAPSED) * span
        reach = best - worst + beyond.maximum(margin(front.shape[1]) * width)
        unit = torch.where(torch.isfinite(reach), reach / _MOST_GAP, 0.0)
        return Box(coverage, beyond, unit)

    def ordered(self, merit: Tensor) -> Tensor:
        """``merit`` ``(..., n)`` of feasible trials; infeasible ones fall below, by violation."""
        if not self.n_trials:
            return merit
        low = merit.masked_fill(~self.feasible, torch.inf).amin(-1, keepdim=True)
        low = torch.where(torch.isfinite(low), low, 0.0)
        below = low - 1e-9 - low.abs() * 1e-9 - self.violation * (1 + low.abs())
        return torch.where(self.feasible, merit, below).masked_fill(~self.scored, -torch.inf)

    def _best_rank(self) -> Tensor:
        n = self.n_trials
        worst = self.scores.masked_fill(~self.feasible, -torch.inf)
        rank = torch.zeros_like(worst)
        grid = torch.arange(1, n + 1, dtype=rank.dtype).expand_as(rank)
        rank.scatter_(1, worst.argsort(dim=-1, stable=True), grid)
        preferences = directions(_N_PREFERENCES, len(rank), torch.full((len(rank),), 0.5))
        merit = (rank / preferences[..., None]).amin(1).masked_fill(~self.feasible, -torch.inf)
        best = merit.topk(min(n, _N_RANKS), -1).indices
        position = torch.arange(best.shape[1], dtype=rank.dtype).expand_as(best)
        place = torch.full((n,), float(_N_RANKS), dtype=rank.dtype)
        place.scatter_reduce_(0, best.flatten(), position.flatten(), "amin")
        return rank.mean(0) / (2 * n) - place


def dominated(points: Tensor) -> Tensor:
    """Which of ``points`` ``(m, k)`` another one dominates."""
    at_least = torch.ones(points.shape[1], points.shape[1], dtype=torch.bool)
    for values in points:  # column over row
        at_least &= values >= values[:, None]
    return (at_least & ~at_least.T).any(-1)


def beside(history: History, values: Tensor, unit: Tensor | None = None) -> History:
    """A history (a batch of one) as a batch of the rows of ``values`` ``(k, n)``.

    ``unit`` ``(k, 1)`` is their ``least_unit``.
    """
    k, n = values.shape

    def wide(tensor: Tensor) -> Tensor:
        return tensor.expand(k, *tensor.shape[1:])

    pending = history.outcomes == Outcome.PENDING
    return History(
        wide(history.units),
        wide(history.active),
        wide(history.outcomes),
        values.masked_fill(pending, torch.nan),
        wide(history.fidelity),
        # One expectation is stored per trial, and it is the first objective's.
        history.predicted if k == 1 else torch.full((k, n, 2), torch.nan, dtype=torch.float64),
        wide(history.kind),
        torch.zeros_like(values),
        None if unit is None else unit.expand(k, n),
    )


def repeated(geometry: Geometry, k: int) -> Geometry:
    """The geometry of one space for a batch of ``k``."""
    return geometry.each(lambda field: field.expand(k, *field.shape[1:]))


def directions(n: int, m: int, shift: Tensor) -> Tensor:
    """``(n, m)`` unit vectors spread over the positive part of the sphere.

    An additive recurrence with the powers of the generalised golden ratio (Roberts 2018, "The
    unreasonable effectiveness of quasirandom sequences"), moved by ``shift`` ``(m,)``, is turned
    into half-normal numbers.
    """
    ratio = 2.0
    for _ in range(40):  # the root of x^(m + 1) = x + 1
        ratio = (1 + ratio) ** (1 / (m + 1))
    steps = ratio ** -torch.arange(1, m + 1, dtype=torch.float64)
    points = (torch.arange(n, dtype=torch.float64)[:, None] * steps + shift) % 1
    normal = torch.special.ndtri(0.5 + points.clamp(1e-4, 1 - 1e-4) / 2)
    return torch.as_tensor(normal / normal.norm(dim=-1, keepdim=True))
