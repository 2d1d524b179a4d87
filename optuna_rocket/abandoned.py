"""Running trials whose workers have died: nobody says so, but others begin and end meanwhile.

All is told by what is stored, so that every worker gives up the same trials. A trial that was
given up and ends after all counts again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from functools import cached_property

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_rocket.moments import passed


# A trial still running this many trials later belongs to a worker that died; so many workers may
# be at work that the limit is this many times the number of running trials, where that is more.
_MAX_AGE = 200
_MAX_ROUNDS = 4
# So does one that was running for this many times as long as the longest of the latest complete
# trials when the latest trial began, a minute at least. Where workers die often, they make the
# count above too patient.
_TIMES_LONGEST, _LATEST, _FEWEST = 5, 50, 5
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
        return since is not None and self._max_time is not None and since > self._max_time

    @cached_property
    def _now(self) -> datetime | None:
        """When the latest trial began."""
        begun = (trial.datetime_start for trial in reversed(self.stored))
        return next((moment for moment in begun if moment is not None), None)

    @cached_property
    def _max_time(self) -> timedelta | None:
        """How long a trial may run, None where too few are complete."""
        times: list[timedelta] = []
        for trial in reversed(self.stored):
            if trial.state == TrialState.COMPLETE:
                time = passed(trial.datetime_start, trial.datetime_complete)
                times += [] if time is None else [time]
                if len(times) == _LATEST:
                    break
        return max(_LEAST_TIME, _TIMES_LONGEST * max(times)) if len(times) >= _FEWEST else None


def patience(stored: Sequence[FrozenTrial], first: int, n_given_up: int) -> Patience:
    """How long to wait.

    Args:
        stored: All trials by number.
        first: Those before are finished or given up.
        n_given_up: Number of trials before ``first`` that were given up.
    """
    n_running = n_given_up + sum(x.state == TrialState.RUNNING for x in stored[first:])
    return Patience(stored, max(_MAX_AGE, _MAX_ROUNDS * n_running))
