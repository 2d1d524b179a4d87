"""Trials whose reports are about one fold or instance each (``SubsetEvaluator(by="instance")``).

Their report steps are numbers of instances, not amounts of effort, and a trial meets them in an
order of its own. One instance is easier than another, so that the mean of those that a stopped
trial has seen says less of it than how it did on each beside trials that have seen them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import NamedTuple

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_rocket import costs


N_PEERS = 32  # latest complete trials that a stopped one is compared with
_TOLERANCE = 1e-5  # for means in single precision


class Peer(NamedTuple):
    """A complete trial by instance.

    Attributes:
        reports: What it reported.
        value: Its value.
        is_mean: Whether that may be a mean of the reports: no sum, nor one with another sign.
    """

    reports: Mapping[int, float]
    value: float
    is_mean: bool


@dataclass(frozen=True)
class InstanceStop:
    """Where a trial was stopped that went through instances; values on the objective's own scale.

    Attributes:
        n_seen: Number of instances that it has reported.
        n_all: Number of those that complete trials before it have; 0 where there are none.
        mean: Mean of what it reported.
        expected: The value that complete trials on the same instances make likely: theirs, and by
            how much this one differed on what it has seen. NaN where there are none.
        are_means: Whether values are means of reports, as far as complete trials tell.
    """

    n_seen: int
    n_all: int
    mean: float
    expected: float
    are_means: bool = True

    @property
    def likely(self) -> float:
        """``expected``, or the mean itself where nothing is known to compare it with.

        NaN where values are something else than means.
        """
        if not self.are_means:
            return math.nan
        return self.mean if math.isnan(self.expected) else self.expected


def peers(stored: Iterable[FrozenTrial]) -> list[Peer]:
    """The trials that others can be compared with, instance by instance."""
    return [
        Peer(
            reports := trial.intermediate_values,
            trial.values[0],
            _is_mean(trial.values[0], reports),
        )
        for trial in stored
        if trial.state == TrialState.COMPLETE
        and trial.values is not None
        and math.isfinite(trial.values[0])
        and trial.intermediate_values
        and costs.by_instance(trial.user_attrs)
    ]


def _is_mean(value: float, reports: Mapping[int, float]) -> bool:
    """Whether a value may be a mean, weighted or trimmed: it lies among the reports."""
    worst, best = min(reports.values()), max(reports.values())
    slack = _TOLERANCE * max(abs(worst), abs(best))
    return not (value < worst - slack or value > best + slack)


def compare(trial: FrozenTrial, others: Iterable[Peer]) -> InstanceStop:
    """What a stopped trial by instance stands for, by peers before it.

    Those that lack one of its instances, or a finite value there, say nothing of it: they may have
    been evaluated on something else. Nor do those whose value is no mean.
    """
    steps = sorted(trial.intermediate_values)
    own = np.array([trial.intermediate_values[step] for step in steps], dtype=np.float64)
    others = list(others)
    comparable = [peer for peer in others if peer.is_mean]
    with np.errstate(invalid="ignore", over="ignore"):
        mean = float(own.mean()) if steps else math.nan
        likely = [
            peer.value + float((own - beside).mean())
            for peer in comparable
            if steps and (beside := _beside(peer, steps)) is not None
        ]
        expected = float(np.mean(likely)) if likely else math.nan
    return InstanceStop(
        n_seen=len(steps),
        n_all=max((len(peer.reports) for peer in others), default=0),
        mean=mean,
        expected=expected,
        are_means=bool(comparable) or not others,
    )


def at_stop(study: Study, trial: FrozenTrial) -> InstanceStop | None:
    """Where a pruned trial by instance was stopped, as the sampler takes it.

    Returns:
        None for other trials.
    """
    is_stopped = trial.state == TrialState.PRUNED and costs.by_instance(trial.user_attrs)
    if not is_stopped or not trial.intermediate_values:
        return None
    before = (x for x in study.get_trials(deepcopy=False) if x.number < trial.number)
    return compare(trial, peers(before)[-N_PEERS:])


def _beside(peer: Peer, steps: Sequence[int]) -> np.ndarray | None:
    """What a peer reported on the same instances, None where it did not on one."""
    if not all(step in peer.reports for step in steps):
        return None
    beside = np.array([peer.reports[step] for step in steps], dtype=np.float64)
    return beside if np.isfinite(beside).all() else None
