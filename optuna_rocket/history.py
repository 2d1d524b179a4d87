"""The evidence that the agent reads: one frozen record, for real and simulated studies alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING
from dataclasses import dataclass
from dataclasses import fields
from enum import IntEnum
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


class Outcome(IntEnum):
    """What became of a trial."""

    PENDING = 0
    COMPLETE = 1
    PRUNED = 2
    FAILED = 3


@dataclass(frozen=True)
class History:
    """Trials in order of their number; shapes as in ``space``.

    Attributes:
        units: ``(B, n, d)`` unit params, inactive ones at their neutral value.
        active: ``(B, n, d)`` bool.
        outcomes: ``(B, n)`` values of ``Outcome``.
        scores: ``(B, n)`` objective values turned so that greater is better; NaN where the trial
            has none (failed, pending). A pruned trial's score is what its rung suggests.
        fidelity: ``(B, n)`` in (0, 1]: share of a full evaluation behind the score.
        predicted: ``(B, n, 2)`` mean and standard deviation that the memory had expected, in
            transformed scores, when the trial was suggested; NaN where unknown.
        kind: ``(B, n)`` kind of the proposal that won, -1 where unknown.
        errors: ``(B, n)`` standard errors of scores that are approximated, 0 where observed.
        least_unit: ``(B, n)`` half of the least unit of the scores' gaps, the same for all trials
            of a study (``scores.transformed``); None where the scores alone decide.
        outdated: ``(B, n)`` bool: trials whose scores say nothing of what can be reached
            (``agent/newcomers.py``); None where there are none.
        planned: ``(B, n, d)`` bool: active parameters that a trial never asked for, as it stopped
            before, at the values that it would have been given, or as they have gone, where they
            are held; None where there are none.
    """

    units: Tensor
    active: Tensor
    outcomes: Tensor
    scores: Tensor
    fidelity: Tensor
    predicted: Tensor
    kind: Tensor
    errors: Tensor
    least_unit: Tensor | None = None
    outdated: Tensor | None = None
    planned: Tensor | None = None

    @classmethod
    def of(
        cls, units: Tensor, active: Tensor, outcomes: Tensor, scores: Tensor, **known: Tensor
    ) -> History:
        """Full evaluations of which nothing was expected, but for what is ``known`` besides."""
        blank = {
            "fidelity": torch.ones_like(scores),
            "predicted": scores.new_full((*scores.shape, 2), torch.nan),
            "kind": torch.full(scores.shape, -1),
            "errors": torch.zeros_like(scores),
        }
        return cls(units, active, outcomes, scores, **{**blank, **known})

    @property
    def n_trials(self) -> int:
        """Number of trials, in any state."""
        return int(self.outcomes.shape[1])

    @cached_property
    def scored(self) -> Tensor:
        """``(B, n)`` bool: complete and pruned trials that carry a score."""
        return torch.isfinite(self.scores) & (self.outcomes != Outcome.PENDING)

    @property
    def blank(self) -> Tensor:
        """``(B, n)`` bool: trials without any parameter, as when a score was noted by hand."""
        return ~self.active.any(-1)

    @property
    def appeared(self) -> Tensor:
        """``(B, n, d)`` bool: whether a trial up to this one has had the parameter."""
        return self.active.cumsum(1) > 0

    @property
    def comparable(self) -> Tensor:
        """``(B, n)`` bool: scored trials that set the level to beat and the scale of scores.

        All where no other is left (a part of a history).
        """
        if self.outdated is None:
            return self.scored
        newer = self.scored & ~self.outdated
        return torch.where(newer.any(-1, keepdim=True), newer, self.scored)

    def first(self, n: int) -> History:
        """The first ``n`` trials, without copying them."""
        return self if n >= self.n_trials else self._each(lambda field: field[:, :n])

    def take(self, index: Tensor) -> History:
        """The trials at ``index`` ``(k,)``, the same in all studies of the batch."""
        return self._each(lambda field: field[:, index])

    def studies(self, index: Tensor | slice) -> History:
        """The studies at ``index`` ``(k,)`` of the batch, or at a slice of it."""
        return self._each(lambda field: field[index])

    def _each(self, part: Callable[[Tensor], Tensor]) -> History:
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        parts: dict[str, Any] = {k: None if x is None else part(x) for k, x in held.items()}
        return History(**parts)


# The fields that every history has: what is joined when histories are.
ALWAYS_THERE = tuple(field.name for field in fields(History) if field.default is MISSING)


def empty_history(batch: int, d: int) -> History:
    """A history without trials."""
    return History.of(
        units=torch.zeros(batch, 0, d, dtype=torch.float64),
        active=torch.zeros(batch, 0, d, dtype=torch.bool),
        outcomes=torch.zeros(batch, 0, dtype=torch.long),
        scores=torch.zeros(batch, 0, dtype=torch.float64),
    )
