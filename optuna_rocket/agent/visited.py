"""Which candidates some trial has tried already.

Rows of units tell most of it. Where a trial lacks a parameter for a reason that the geometry does
not know (two switches together, a parent of many values, a parameter that the objective dropped),
its row and that of a candidate differ in what was never asked for. A trial that did not fail
asked for all that it needed: a candidate with the same values of these would repeat it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import Geometry


# Different sets of parameters, the latest ones, that unexplained trials are compared by.
_MOST_SETS = 256


@dataclass(frozen=True)
class Visited:
    """What the trials of a batch of studies have tried.

    Attributes:
        geometry: Of the spaces.
        keys: ``(B, n)`` of whole rows.
        partial: Of the trials with unexplained gaps in a single study: which parameters ``(d,)``
            some of them had, and their keys ``(1, k)`` over these alone.
    """

    geometry: Geometry
    keys: Tensor
    partial: tuple[tuple[Tensor, Tensor], ...] = ()

    def has(self, units: Tensor) -> Tensor:
        """Which candidates ``(B, m, d)`` would repeat a trial: bool ``(B, m)``."""
        found = is_in(self.geometry.keys(units), self.keys)
        for mask, keys in self.partial:
            found = found | is_in(self.geometry.keys(units * mask), keys)
        return found

    def untried(self, units: Tensor) -> Tensor:
        """Indices ``(k,)`` of one study's candidates that repeat no trial; all if none is left."""
        left = ~self.has(units)[0]
        return left.nonzero()[:, 0] if bool(left.any()) else torch.arange(len(left))

    def forbid(self, logits: Tensor, units: Tensor) -> Tensor:
        """Minus infinity for candidates that would repeat a trial, unless nothing else is left.

        What a repetition would tell of the noise is worth less (``benchmarks/README.md``).
        """
        repeated = self.has(units)
        repeated = repeated & ~repeated.all(-1, keepdim=True)
        return logits.masked_fill(repeated, -torch.inf)


def by(history: History, geometry: Geometry) -> Visited:
    """The configurations that the trials of a history have tried."""
    keys = geometry.keys(history.units)
    # A batch is of tasks whose conditions are known.
    if len(keys) > 1 or (history.planned is None and bool(history.active.all())):
        return Visited(geometry, keys)
    active, units = history.active[0], history.units[0]
    asked = active if history.planned is None else active & ~history.planned[0]
    # A parameter that appeared later was never asked for, whatever the others were.
    appeared = history.appeared[0].all(-1)
    explained = (geometry.activity(history.units)[0] == active).all(-1)
    outcomes = history.outcomes[0]
    complete = (outcomes == Outcome.COMPLETE) | (outcomes == Outcome.PRUNED)
    # With what has gone since, the objective may have been another one.
    earlier = (asked & ~geometry.free).any(-1)
    complete &= ~earlier
    explained &= ~earlier
    # What fills a gap that nothing explains is a value that was never tried.
    keys = keys[:, explained]
    running = outcomes == Outcome.PENDING
    if bool((running & ~explained).any()):
        # It was planned when less was known of the conditions; what it will ask for is known now.
        planned = history.units[:, running & ~explained]
        planned = geometry.fill_inactive(planned, geometry.activity(planned))
        keys = torch.cat([keys, geometry.keys(planned)], 1)
    whole = explained & (asked == active).all(-1)
    rows = (complete & appeared & ~whole & asked.any(-1)).nonzero()[:, 0]
    if len(rows) == 0:
        return Visited(geometry, keys)
    codes, which = geometry.keys(asked[None, rows].double())[0].unique(return_inverse=True)
    latest = torch.zeros(len(codes), dtype=torch.long).scatter_reduce(0, which, rows, "amax")
    partial = []
    for code in latest.topk(min(_MOST_SETS, len(codes))).indices.tolist():
        mask = asked[latest[code]]
        partial.append((mask, geometry.keys(units[None, rows[which == code]] * mask)))
    return Visited(geometry, keys, tuple(partial))


def is_in(keys: Tensor, others: Tensor) -> Tensor:
    """Which of ``keys`` ``(B, m)`` are among ``others`` ``(B, n)`` of the same study."""
    if others.shape[1] == 0:
        return torch.zeros_like(keys, dtype=torch.bool)
    ordered = others.sort(-1).values
    index = torch.searchsorted(ordered, keys).clamp_max(others.shape[1] - 1)
    return ordered.gather(1, index) == keys
