"""Running trials whose workers have died: nobody says so, but others begin and end meanwhile.

All is told by what is stored, so that every worker gives up the same trials. A trial that was
given up and ends after all counts again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from functools import cached_property
from itertools import islice

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_rocket.moments import passed


# A trial still running this many trials later belongs to a worker that died; so many workers may
# be at work that the limit is this many times the number of running trials, where that is more.
_MAX_AGE = 200
_MAX_ROUNDS = 4
# So does one that was running for this many times as long as the longest of the latest complete
# trials when the latest trial began, a minute at least, if so many have begun and ended meanwhile.
# (Trials that were added with ``add_trial`` have taken no time, and began before.) Where workers
# die often, they make the count above too patient.
_TIMES_LONGEST, _LATEST, _FEWEST = 5, 1000, 5
_LEAST_TIME = timedelta(minutes=1)


@dataclass(frozen=True)
class Patience:
    """How long running trials of a study are waited for.

    Attributes:
        stored: All trials by number.
        max_age: So many later trials.
    """

    stored: Sequence[FrozenTrial]
    max_age: int

    def is_over(self, trial: FrozenTrial, number: int) -> bool:
        """Whether the worker of a running trial has died, seen from the trial ``number``."""
        return trial.state == TrialState.RUNNING and (
            number - trial.number > self.max_age or self._is_overdue(trial)
        )

    def _is_overdue(self, trial: FrozenTrial) -> bool:
        """Whether it has been running for too long, whoever asks."""
        since = passed(trial.datetime_start, self._now)
        if since is None or since <= max(_LEAST_TIME, _TIMES_LONGEST * self._longest):
            return False
        first = bisect_right(self.stored, trial.number, key=lambda other: other.number)
        later = (x for x in self.stored[first:] if _began_after(x, trial))
        return len(list(islice(later, _FEWEST))) == _FEWEST

    @cached_property
    def _now(self) -> datetime | None:
        """When the latest trial began."""
        begun = (trial.datetime_start for trial in reversed(self.stored))
        return next((moment for moment in begun if moment is not None), None)

    @cached_property
    def _longest(self) -> timedelta:
        """What the longest of the latest complete trials took."""
        complete = (x for x in reversed(self.stored) if x.state == TrialState.COMPLETE)
        times = (passed(x.datetime_start, x.datetime_complete) for x in islice(complete, _LATEST))
        return max((time for time in times if time is not None), default=timedelta(0))


def _began_after(other: FrozenTrial, trial: FrozenTrial) -> bool:
    """Whether a complete trial began no earlier than a running one."""
    if other.state != TrialState.COMPLETE:
        return False
    between = passed(trial.datetime_start, other.datetime_start)
    return between is not None and between >= timedelta(0)


def patience(stored: Sequence[FrozenTrial], first: int, n_given_up: int) -> Patience:
    """How long to wait.

    Args:
        stored: All trials by number.
        first: Those before are finished or given up.
        n_given_up: Number of trials before ``first`` that were given up.
    """
    n_running = n_given_up + sum(x.state == TrialState.RUNNING for x in stored[first:])
    return Patience(stored, max(_MAX_AGE, _MAX_ROUNDS * n_running))
