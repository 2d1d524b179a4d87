"""What finished trials reported, and what pruning asks of all of them."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
import math

import numpy as np
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_rocket import constraints
from optuna_rocket import costs
from optuna_rocket import suggestions
from optuna_rocket.fidelity.correlation import rank_correlation
from optuna_rocket.fidelity.expectation import Said
from optuna_rocket.fidelity.expectation import Trust
from optuna_rocket.fidelity.expectation import trust
from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import gather
from optuna_rocket.fidelity.forecast import latest
from optuna_rocket.fidelity.guards import A_CURVE


@dataclass(frozen=True)
class Curve:
    """What a finished trial reported; scores are greater when better.

    Attributes:
        trial: The stored trial.
        steps: Its report steps, rising; none where it reported nothing, or single instances, whose
            numbers are no amounts of effort.
        scores: The scores there.
        final: The score it ended with, NaN for a pruned trial.
        is_feasible: Whether it violates no constraint.
    """

    trial: FrozenTrial
    steps: tuple[int, ...]
    scores: tuple[float, ...]
    final: float
    is_feasible: bool

    @cached_property
    def said(self) -> Said:
        """What ``RocketSampler`` expected of the trial, unknown where it ran something else."""
        suggestion = suggestions.of_trial(self.trial)
        return Said(suggestion.score, suggestion.spread)


@dataclass(frozen=True)
class Standings:
    """What pruning asks of all trials, however old.

    Attributes:
        curves: Those that reported, by number.
        best: Best final score of a feasible trial, also of one that reported nothing (imported, a
            baseline); None where there is none.
        longest: The first complete one that reported at the horizon, None where none is complete.
        n_complete: How many of those that reported are complete.
    """

    curves: Sequence[Curve] = ()
    best: float | None = None
    longest: Curve | None = None
    n_complete: int = 0

    def after(self, ended: Sequence[Curve]) -> Standings:
        """With other trials that have ended, before or after these by number."""
        complete = _complete(ended)
        curves = list(self.curves)
        for curve in ended:
            if curve.steps:
                insort(curves, curve, key=_number)
        levels = [level_to_beat(ended), self.best]
        furthest = [*complete, self.longest] if self.longest else complete
        return Standings(
            curves=curves,
            best=max((level for level in levels if level is not None), default=None),
            longest=max(furthest, key=lambda x: (x.steps[-1], -_number(x)), default=None),
            n_complete=self.n_complete + len(complete),
        )


def curve_of(trial: FrozenTrial, sign: float) -> Curve:
    """A finished trial; ``sign`` turns its values into scores."""
    are_instances = costs.by_instance(trial.user_attrs)
    reports = [] if are_instances else sorted(trial.intermediate_values.items())
    is_complete = trial.state == TrialState.COMPLETE and trial.values is not None
    return Curve(
        trial,
        steps=tuple(step for step, _ in reports),
        # One NaN for all, which is equal to itself where curves are compared.
        scores=tuple(math.nan if math.isnan(value) else sign * value for _, value in reports),
        final=sign * trial.values[0] if is_complete else math.nan,
        is_feasible=constraints.is_feasible(trial.system_attrs),
    )


def learn(curves: Sequence[Curve]) -> tuple[Evidence, Trust]:
    """What the latest trials that reported tell of others, and of the sampler's word.

    Args:
        curves: Trials that reported, at least one, by number.
    """
    held = _latest(curves)
    evidence = gather([(curve.steps, curve.scores, curve.final) for curve in held])
    return evidence, trust(evidence, [curve.said for curve in held])


def level_to_beat(curves: Sequence[Curve]) -> float | None:
    """The best final score of a feasible trial, None where there is none."""
    levels = [x.final for x in curves if x.is_feasible and math.isfinite(x.final)]
    return max(levels, default=None)


def horizon(curves: Sequence[Curve]) -> int:
    """The longest report step of a complete trial, 0 where none has reported."""
    return max((x.steps[-1] for x in _complete(curves)), default=0)


def begins_late(longest: Curve | None) -> tuple[int, int] | None:
    """First and last step of the longest complete trial if it reported in its second half alone.

    None too where it reported seldom or where rounds of ``SubsetEvaluator`` tell what they took.
    """
    if longest is None or len(longest.steps) < A_CURVE:
        return None
    if costs.read(longest.trial.user_attrs).steps or 2 * longest.steps[0] <= longest.steps[-1]:
        return None
    return longest.steps[0], longest.steps[-1]


def spending(longest: Curve) -> Callable[[int], float]:
    """Share of a full evaluation that is spent up to a report step.

    Report steps are amounts of effort. An epoch goes on from the last one, but of the rounds of
    ``SubsetEvaluator`` each took examples of its own: all of a subset that is trained from the
    start, fewer where it goes on from the previous one. Told by the longest complete trial. Steps
    that count from 0 stand for one more.
    """
    rounds = costs.read(longest.trial.user_attrs)
    total = sum(rounds.examples)
    if not total > 0:
        more = int(longest.steps[0] == 0)
        return lambda step: (step + more) / max(longest.steps[-1] + more, 1)
    taken = list(zip(rounds.steps, rounds.examples, strict=True))
    return lambda step: sum(examples for s, examples in taken if s <= step) / total


def agreement(curves: Sequence[Curve], step: int) -> tuple[float, int]:
    """Rank correlation of the latest reports at a step with the final scores; number of pairs."""
    held = _latest([curve for curve in curves if step in curve.steps])
    x = np.array([curve.scores[curve.steps.index(step)] for curve in held], dtype=np.float64)
    y = np.array([curve.final for curve in held], dtype=np.float64)
    return rank_correlation(x, y)


def _latest(curves: Sequence[Curve]) -> Sequence[Curve]:
    """The ones to learn from of trials that reported, by number."""
    places = latest(len(curves), lambda i: not math.isnan(curves[i].final))
    return [curves[i] for i in places]


def _number(curve: Curve) -> int:
    return curve.trial.number


def _complete(curves: Sequence[Curve]) -> list[Curve]:
    """The complete trials that have reported."""
    return [x for x in curves if x.steps and not math.isnan(x.final)]
