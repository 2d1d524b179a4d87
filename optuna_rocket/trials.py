"""From stored Optuna trials to records: the only reader of a study's storage.

All private names of Optuna that this package uses are in this file. What the agent writes is one
attribute per trial: see ``suggestions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from itertools import compress
from itertools import count
from itertools import takewhile
from operator import is_not
from typing import Any
from typing import NamedTuple

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import PartialFixedSampler
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import BaseTrial
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState

from optuna_rocket import retries
from optuna_rocket import suggestions
from optuna_rocket.abandoned import Patience
from optuna_rocket.abandoned import patience
from optuna_rocket.curves import Curve
from optuna_rocket.curves import Standings
from optuna_rocket.curves import curve_of
from optuna_rocket.history import Outcome
from optuna_rocket.records import OUTCOMES
from optuna_rocket.records import Ranges
from optuna_rocket.records import Record
from optuna_rocket.records import Rungs
from optuna_rocket.records import internal_params
from optuna_rocket.records import latest_distributions
from optuna_rocket.records import record_of
from optuna_rocket.suggestions import ATTRIBUTE
from optuna_rocket.suggestions import Suggestion


_ENQUEUED = "fixed_params"
_TELLING = (TrialState.COMPLETE, TrialState.PRUNED)


class _Kept(NamedTuple):
    """What is known of a study's trials.

    Attributes:
        trials: All by number, None for those that may still change.
        held: What they reported, None for those that are neither complete nor pruned.
        standings: What pruning asks of them.
    """

    trials: Sequence[FrozenTrial | None] = ()
    held: Sequence[Curve | None] = ()
    standings: Standings = Standings()


class CurveReader:
    """Reads what finished trials reported; keeps it, as they never change.

    What is kept only saves time: a new reader gives the same.
    """

    def __init__(self) -> None:
        self._kept = _Kept()

    def read(self, study: Study) -> list[Curve]:
        """Complete and pruned trials, by number."""
        return [curve for curve in self._updated(study).held if curve is not None]

    def standings(self, study: Study) -> Standings:
        """What pruning asks of them."""
        return self._updated(study).standings

    def _updated(self, study: Study) -> _Kept:
        stored = study._get_trials(deepcopy=False, use_cache=False)
        n, kept = len(stored), self._kept
        known = kept.trials[:n]
        # Asked at every report: a loop in Python over all trials would take most of its time.
        differs = compress(count(), map(is_not, known, stored))
        changed = [i for i in differs if known[i] is not None or stored[i].state.is_finished()]
        changed += [i for i in range(len(known), n) if stored[i].state.is_finished()]
        if len(kept.trials) <= n and not changed:
            return kept
        unknown = [None] * (n - len(known))
        trials, held = [*known, *unknown], [*kept.held[:n], *unknown]
        # Else they are another study's, or this thread has read what another one knows better.
        is_more = len(kept.trials) <= n and all(trials[i] is None for i in changed)
        sign = score_sign(study)
        for i in changed:
            trials[i] = stored[i] if stored[i].state.is_finished() else None
            held[i] = curve_of(stored[i], sign) if stored[i].state in _TELLING else None
        new = changed if is_more else range(n)
        ended = [curve for i in new if (curve := held[i]) is not None]
        standings = (kept.standings if is_more else Standings()).after(ended)
        # One assignment at the end: threads that share the reader see the old or the new.
        self._kept = kept = _Kept(trials, held, standings)
        return kept


def score_sign(study: Study) -> float:
    """Factor that turns the values of a study's only objective into scores."""
    return score_signs(study)[0]


def score_signs(study: Study) -> tuple[float, ...]:
    """Factor that turns values into scores, for each objective."""
    return tuple(1.0 if x == StudyDirection.MAXIMIZE else -1.0 for x in study.directions)


def reported_values(trial: BaseTrial) -> dict[int, float] | None:
    """What a trial has reported so far, by report step.

    Returns:
        None where reports mean nothing: studies with several objectives, and trials that are no
        longer (``FrozenTrial``) or never were (``FixedTrial``) part of a running study.
    """
    if not isinstance(trial, Trial) or len(trial.study.directions) > 1:
        return None
    return dict(trial._cached_frozen_trial.intermediate_values)


class TrialReader:
    """Reads studies; keeps the records of finished trials, which never change.

    The kept records only save time: a new reader gives the same.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._records: dict[int, Record] = {}
        # The leading trials about which nothing can change: finished, or given up as dead.
        self._settled: list[Record] = []
        self._settled_rungs = Rungs()
        self._settled_ranges = Ranges()
        self._settled_retried: set[int] = set()
        self._n_settled = 0
        self._dead: list[int] = []
        self._latest: tuple[Sequence[FrozenTrial], int, list[Record]] = ([], -1, [])

    def read(self, study: Study, trial: FrozenTrial, *, fresh: bool = False) -> list[Record]:
        """All trials but ``trial`` itself that are finished or running, by number.

        Under ``HyperbandPruner`` these are the trials of all brackets: the agent knows how much
        of a full evaluation each result stands for. With ``fresh`` the storage is asked again, to
        see what other threads have suggested since this trial's first read.
        """
        stored = study._get_trials(deepcopy=False, use_cache=not fresh)
        # Optuna hands out one cached list during one trial of one thread.
        if stored is not self._latest[0] or trial.number != self._latest[1]:
            records = self._arranged(stored, score_signs(study), trial.number)
            self._latest = (stored, trial.number, records)
        return self._latest[2]

    def is_latest_of(self, trial: FrozenTrial) -> bool:
        """Whether nobody has read since this trial did: no other thread has decided since."""
        return self._latest[1] == trial.number

    def distributions(self, records: Sequence[Record]) -> dict[str, BaseDistribution]:
        """The distribution of every parameter that any of the latest records has had."""
        latest = takewhile(lambda record: record.number >= self._n_settled, reversed(records))
        unsettled = [record.trial for record in latest][::-1]
        return latest_distributions(unsettled, self._settled_ranges)

    def _arranged(
        self, stored: Sequence[FrozenTrial], signs: tuple[float, ...], number: int
    ) -> list[Record]:
        """The records of some trials, by number, on behalf of a running one of them or a new one.

        That one is left out, but tells which failed trials it runs again.
        """
        waiting = self._settle(stored, signs, number)
        records, rungs = list(self._settled), self._settled_rungs.copy()
        ranges = self._settled_ranges.copy()
        retried = set(self._settled_retried)
        for other in stored[self._n_settled :]:
            retried |= retries.retried_numbers(other.system_attrs)
            if other.number == number or other.state not in OUTCOMES:
                continue
            if waiting.is_over(other, number):
                continue
            ranges.add(other)
            records.append(self._record(other, signs, rungs, ranges))
            rungs.add(records[-1])
        return _without(records, retried)

    def _settle(
        self, stored: Sequence[FrozenTrial], signs: tuple[float, ...], number: int
    ) -> Patience:
        """Bring the settled trials up to date; start again where they are another study's.

        Returns how long running trials are waited for.
        """
        # Some storages make running trials anew for every reading, but not finished ones.
        ends = self._settled[:1] + self._settled[-1:]
        known = self._n_settled <= len(stored) and all(stored[r.number] is r.trial for r in ends)
        # One that was given up may have finished after all.
        if not known or any(stored[i].state.is_finished() for i in self._dead):
            self._forget()
        waiting = patience(stored, self._n_settled, len(self._dead))
        # More workers came, or trials take longer than they did.
        if not all(waiting.is_over(stored[i], number) for i in self._dead):
            self._forget()
        for other in stored[self._n_settled :]:
            if other.state.is_finished():
                self._settled_ranges.add(other)
                record = self._record(other, signs, self._settled_rungs, self._settled_ranges)
                self._settled.append(record)
                self._settled_rungs.add(record)
            # For every trial that may ask.
            elif other.number != number and waiting.is_over(other, number - waiting.max_age):
                self._dead.append(self._n_settled)
            else:
                break
            self._settled_retried |= retries.retried_numbers(other.system_attrs)
            self._n_settled += 1
        return waiting

    def _record(
        self, trial: FrozenTrial, signs: tuple[float, ...], rungs: Rungs, ranges: Ranges
    ) -> Record:
        kept = self._records.get(trial.number)
        if kept is not None and kept.trial is trial:
            # An earlier trial that ended since may have shown which ranges leave no choice.
            if kept.params == internal_params(trial.params, ranges.asked(trial)):
                return kept
        record = record_of(trial, signs, rungs, ranges)
        # What a pruned trial is worth depends on earlier ones, which may be running still.
        if trial.state in (TrialState.COMPLETE, TrialState.FAIL):
            self._records[trial.number] = record
        return record


def records_of(study: Study, stored: Sequence[FrozenTrial], number: int) -> list[Record]:
    """What a new reader makes of some trials, by number, on behalf of the trial ``number``.

    That one is left out, and is running where it is among them.
    """
    return TrialReader()._arranged(stored, score_signs(study), number)


def _without(records: list[Record], retried: set[int]) -> list[Record]:
    """Without failed trials that are run again: their workers died, which says nothing of them."""
    if not retried:
        return records
    return [x for x in records if x.outcome != Outcome.FAILED or x.number not in retried]


def stored_suggestion(trial: FrozenTrial) -> Suggestion | None:
    """What the agent said about a trial, None where nothing that can be read is stored."""
    suggestion = suggestions.of_trial(trial)
    return suggestion if suggestion.kind >= 0 or suggestion.params else None


def enqueued_params(
    trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]
) -> dict[str, float]:
    """What ``study.enqueue_trial`` has decided of a trial."""
    enqueued = trial.system_attrs.get(_ENQUEUED)
    return internal_params(enqueued if isinstance(enqueued, Mapping) else {}, distributions)


def has_waited(trial: FrozenTrial) -> bool:
    """Whether a trial got its number before it started: it was enqueued, or is another run."""
    return not trial.system_attrs.keys().isdisjoint((_ENQUEUED, retries.HISTORY))


def imposed_params(
    study: Study, trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]
) -> dict[str, float]:
    """What is already decided of a trial: values set, enqueued, held, or suggested before."""
    planned = suggestions.read(trial.system_attrs).params
    planned = {name: value for name, value in planned.items() if name in distributions}
    held = internal_params(unwrapped(study.sampler)[1], distributions)
    enqueued = enqueued_params(trial, distributions)
    return planned | held | enqueued | internal_params(trial.params, distributions)


def unwrapped(sampler: BaseSampler) -> tuple[BaseSampler, dict[str, Any]]:
    """The sampler inside of ``PartialFixedSampler``, and the values that these hold."""
    held: dict[str, Any] = {}
    while isinstance(sampler, PartialFixedSampler):
        held = {**sampler._fixed_params, **held}
        sampler = sampler._base_sampler
    return sampler, held


def write_suggestion(study: Study, trial: FrozenTrial, suggestion: Suggestion) -> None:
    """Store what the agent said about a running trial."""
    study._storage.set_trial_system_attr(
        trial._trial_id, ATTRIBUTE, suggestions.encode(suggestion)
    )
