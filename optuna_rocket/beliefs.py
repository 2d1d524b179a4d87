"""What the agent believed at the last suggestion, kept as far as it still holds; a cache.

The agent reads finished trials in the order of their numbers, and workers end in another order:
one that ends today stands before others that were read already. So beliefs about the first few
trials are kept too, at the sizes at which the memory is fitted: whatever ends, the agent goes on
from the latest belief that does not know of later trials.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent import fitting
from optuna_rocket.agent.many_goals import Beliefs
from optuna_rocket.agent.policy import Belief
from optuna_rocket.fidelity.approximation import Reports
from optuna_rocket.goals import Goals
from optuna_rocket.history import History
from optuna_rocket.rows import Rows
from optuna_rocket.space import Geometry


AnyBelief = Belief | Beliefs


@dataclass(frozen=True)
class Evidence:
    """What a belief is about.

    Attributes:
        rows: The trials as rows of the space, as they were: nothing planned is filled in.
        geometry: The space.
        finished: The finished trials by number.
        goals: Their goals, None for one objective without constraints.
        reports: What they reported, where that tells more of their scores than these: none unless
            one objective is wanted and some trial was pruned.
    """

    rows: Rows
    geometry: Geometry
    finished: History
    goals: Goals | None
    reports: Sequence[Reports] = ()


class Step(NamedTuple):
    """A belief about the first ``n`` finished trials."""

    n: int
    belief: AnyBelief


@dataclass(frozen=True)
class Kept:
    """What was computed for the last suggestion over one set of parameter names.

    Attributes:
        evidence: What the beliefs are about.
        steps: By number of trials; the last is about all of them.
    """

    evidence: Evidence
    steps: tuple[Step, ...]

    @property
    def belief(self) -> AnyBelief:
        """The belief about all finished trials."""
        return self.steps[-1].belief


def updated(
    kept: Kept | None,
    evidence: Evidence,
    n_settled: int,
    initial: Callable[[], AnyBelief],
    advance: Callable[[int, AnyBelief], AnyBelief],
) -> Kept:
    """The beliefs of today, from what is kept or, where that does not hold, from the beginning.

    Args:
        kept: Those of the last suggestion.
        evidence: Today's.
        n_settled: How many of the finished trials come before any running one: nothing will
            stand before these.
        initial: Makes the belief before any trial.
        advance: Brings a belief up to date with the first so many finished trials.
    """
    n = evidence.finished.n_trials
    n_same = 0 if kept is None else _n_same(kept.evidence, evidence)
    steps = [] if kept is None else [step for step in kept.steps if 0 < step.n <= n_same]
    steps = steps or [Step(0, initial())]
    sizes = [n_settled, *(size for size in fitting.link_sizes(n) if size > n_settled), n]
    for size in sizes:
        if size > steps[-1].n:
            steps.append(Step(size, advance(size, steps[-1].belief)))
    first = max(k for k, step in enumerate(steps) if step.n <= max(n_settled, steps[0].n))
    return Kept(evidence, tuple(steps[first:]))


def _n_same(old: Evidence, new: Evidence) -> int:
    """How many finished trials of an earlier time are the first of today's, unchanged."""
    if old.rows.space.distributions != new.rows.space.distributions:
        return 0
    if old.geometry.has_gaps != new.geometry.has_gaps:
        return 0
    # Conditions are found as trials come in.
    if old.geometry is not new.geometry:
        if not torch.equal(old.geometry.parent, new.geometry.parent):
            return 0
        if not torch.equal(old.geometry.allowed, new.geometry.allowed):
            return 0
    if not _same_held(old.geometry.held, new.geometry.held):
        return 0
    if (old.goals is None) != (new.goals is None):
        return 0
    n = min(old.finished.n_trials, new.finished.n_trials)
    one, other = old.finished.first(n), new.finished.first(n)
    same = (one.units == other.units).all(-1) & (one.active == other.active).all(-1)
    same &= (one.outcomes == other.outcomes) & (one.fidelity == other.fidelity)
    same &= _equal(one.scores, other.scores)
    # What the recurrence reads besides: a copied study may lack what was stored of suggestions.
    same &= (one.kind == other.kind) & _equal(one.predicted, other.predicted).all(-1)
    if old.goals is not None and new.goals is not None:
        if old.rows.constraint_names != new.rows.constraint_names:
            return 0
        index = torch.arange(n)
        before, now = old.goals.take(index), new.goals.take(index)
        same &= _equal(before.scores, now.scores).all(0) & _equal(before.slacks, now.slacks).all(0)
    return _n_told_alike(old.reports, new.reports, int(same[0].cumprod(0).sum()))


def _n_told_alike(old: Sequence[Reports], new: Sequence[Reports], n: int) -> int:
    """How many of the first ``n`` trials have reported the same.

    There are no reports where no trial was pruned, so that they mattered to none of these.
    """
    if not old or not new or old[:n] == new[:n]:  # at the speed of C
        return n
    pairs = enumerate(zip(old[:n], new[:n], strict=True))
    return next((i for i, (one, other) in pairs if one != other), n)


def _same_held(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    return torch.equal(a.nan_to_num(-1.0), b.nan_to_num(-1.0))


def _equal(a: Tensor, b: Tensor) -> Tensor:
    """Where scores are equal, those that are missing included."""
    return a.nan_to_num(0.0) == b.nan_to_num(0.0)
