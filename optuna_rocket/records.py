"""One stored trial in the terms of this package."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_rocket import constraints
from optuna_rocket import costs
from optuna_rocket import instances
from optuna_rocket import suggestions
from optuna_rocket.curves import Curve
from optuna_rocket.curves import curve_of
from optuna_rocket.history import Outcome
from optuna_rocket.instances import Peer
from optuna_rocket.suggestions import Suggestion


_N_RUNG_PEERS = 64
_FIXED = 5  # trials in a row without a choice: see `Ranges`
OUTCOMES = {
    TrialState.RUNNING: Outcome.PENDING,
    TrialState.COMPLETE: Outcome.COMPLETE,
    TrialState.PRUNED: Outcome.PRUNED,
    TrialState.FAIL: Outcome.FAILED,
}


@dataclass(frozen=True)
class Record:
    """One stored trial in the terms of this package; scores are greater when better.

    There is a score for each objective, NaN where the trial has none; ``constraints`` are what it
    stored, if it has finished; ``curve`` is what a complete or pruned trial reported in a study of
    one objective, None where that is nothing, or single instances.
    """

    trial: FrozenTrial
    number: int
    outcome: Outcome
    params: Mapping[str, float]
    scores: tuple[float, ...]
    constraints: Mapping[str, float]
    fidelity: float
    suggestion: Suggestion
    curve: Curve | None

    @property
    def score(self) -> float:
        """The score of the first objective."""
        return self.scores[0]

    @property
    def may_have_stopped(self) -> bool:
        """Whether it may have ended before it came to all of its parameters.

        What reports has been built from all of them.
        """
        if self.outcome == Outcome.PRUNED:
            return not self.trial.intermediate_values
        return self.outcome == Outcome.FAILED


def internal_params(
    params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
) -> dict[str, float]:
    """Optuna's internal representation of the values that fit their distribution's kind."""
    internal: dict[str, float] = {}
    for name, value in params.items():
        if name not in distributions:
            continue
        try:
            representation = float(distributions[name].to_internal_repr(value))
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(representation):
            internal[name] = representation
    return internal


@dataclass
class Ranges:
    """The latest distribution of every parameter that some trials have had.

    A range that depends on another parameter (``suggest_int("k", 1, n)``) leaves no choice now and
    then: the one before stays, until so many trials in a row say that the parameter was fixed.
    """

    found: dict[str, BaseDistribution] = field(default_factory=dict)
    _n_fixed: dict[str, int] = field(default_factory=dict)

    def add(self, trial: FrozenTrial) -> None:
        """Take in the next trial."""
        for name, distribution in trial.distributions.items():
            n_fixed = self._n_fixed.get(name, 0) + 1 if distribution.single() else 0
            if n_fixed == 0 or n_fixed >= _FIXED or name not in self.found:
                self.found[name] = distribution
            self._n_fixed[name] = n_fixed

    def asked(self, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What the trial that was added last asked for: not what left no choice by the others.

        Nor would another trial like this one ask for it. A parameter that is fixed has its value.
        """
        fixed = {name for name, x in self.found.items() if x.single()}
        return {
            name: x for name, x in trial.distributions.items() if name in fixed or not x.single()
        }

    def copy(self) -> Ranges:
        """One that goes on by itself."""
        return Ranges(dict(self.found), dict(self._n_fixed))


def latest_distributions(
    trials: Iterable[FrozenTrial], before: Ranges | None = None
) -> dict[str, BaseDistribution]:
    """The distributions of trials by number: see ``Ranges``; ``before`` is left as it is."""
    ranges = Ranges() if before is None else before.copy()
    for trial in trials:
        ranges.add(trial)
    return ranges.found


class Rungs:
    """The latest complete trials, for judging pruned ones."""

    def __init__(self) -> None:
        self._complete: deque[Record] = deque(maxlen=_N_RUNG_PEERS)
        self._by_instance: deque[Peer] = deque(maxlen=instances.N_PEERS)
        self._longest = 0

    def copy(self) -> Rungs:
        """The same, to be continued on its own."""
        twin = Rungs()
        twin._complete, twin._by_instance = self._complete.copy(), self._by_instance.copy()
        twin._longest = self._longest
        return twin

    def add(self, record: Record) -> None:
        """Take note of a trial, in order of number."""
        if record.outcome != Outcome.COMPLETE or not math.isfinite(record.score):
            return
        self._complete.append(record)
        if record.curve is not None:
            self._longest = max(self._longest, record.curve.steps[-1])
        else:
            self._by_instance.extend(instances.peers([record.trial]))

    def judge(self, trial: FrozenTrial, sign: float) -> tuple[float, float]:
        """Score that a full evaluation of a pruned trial might have had, and its fidelity.

        Without a report, or after NaN, it is the lower quartile of the scores (somebody judged it
        not worth going on).
        """
        if costs.by_instance(trial.user_attrs):
            stop = instances.compare(trial, self._by_instance)
            score, fidelity = sign * stop.likely, _fidelity(stop.n_seen, stop.n_all)
        else:
            score, fidelity = self._judge_last(trial, sign)
        if not math.isnan(score):
            return score, fidelity
        finals = [record.score for record in self._complete]
        return (float(np.quantile(finals, 0.25)) if finals else math.nan), 0.2

    def _judge_last(self, trial: FrozenTrial, sign: float) -> tuple[float, float]:
        """By the last report, whose step is an amount of effort; NaN where there is none.

        Its rank among earlier complete trials at the same step is carried over to their final
        scores. Without such trials the report stands for itself.
        """
        step = trial.last_step
        value = sign * trial.intermediate_values[step] if step is not None else math.nan
        if step is None or math.isnan(value):
            return math.nan, 0.0
        fidelity = _fidelity(step, max(self._longest, step))
        pairs = [
            (sign * reports[step], record.score)
            for record in self._complete
            if record.curve is not None
            and step in (reports := record.trial.intermediate_values)
            and math.isfinite(reports[step])
        ]
        if len(pairs) < 2:
            return value, fidelity
        rungs = np.array([rung for rung, _ in pairs])
        worse = float((rungs < value).mean() + 0.5 * (rungs == value).mean())
        return float(np.quantile([final for _, final in pairs], worse)), fidelity


def _fidelity(done: int, of: int) -> float:
    """The share of a full evaluation that a trial was; half where nobody knows of how much."""
    return min(max(done / of, 0.05), 0.95) if of > 0 else 0.5


def record_of(
    trial: FrozenTrial, signs: tuple[float, ...], rungs: Rungs, ranges: Ranges | None = None
) -> Record:
    """A stored trial.

    Args:
        trial: The trial, in one of the states of ``OUTCOMES``.
        signs: Factor that turns values into scores, for each objective.
        rungs: What complete trials before it reported.
        ranges: Those of it and the trials before it, None to take all of its parameters.
    """
    suggestion = suggestions.read(trial.system_attrs)
    asked = trial.distributions if ranges is None else ranges.asked(trial)
    params = internal_params(trial.params, asked)
    scores, fidelity = (math.nan,) * len(signs), 1.0
    if trial.state == TrialState.COMPLETE and trial.values is not None:
        scores = tuple(sign * value for sign, value in zip(signs, trial.values, strict=False))
        scores += (math.nan,) * (len(signs) - len(scores))  # a foreign storage may hold fewer
    elif trial.state == TrialState.PRUNED and len(signs) == 1:
        score, fidelity = rungs.judge(trial, signs[0])
        scores = (score,)
    elif trial.state == TrialState.RUNNING:
        params = suggestion.params | params
    return Record(
        trial,
        trial.number,
        OUTCOMES[trial.state],
        params,
        scores,
        constraints.read(trial.system_attrs) if trial.state.is_finished() else {},
        fidelity,
        suggestion,
        _reported_curve(trial, signs),
    )


def _reported_curve(trial: FrozenTrial, signs: tuple[float, ...]) -> Curve | None:
    is_told = trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and len(signs) == 1
    if not is_told or not trial.intermediate_values:
        return None
    curve = curve_of(trial, signs[0])
    return curve if curve.steps else None
