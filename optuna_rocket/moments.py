"""Stored times: by any clock, with or without a time zone, or missing."""

from __future__ import annotations

from datetime import datetime
from datetime import timedelta


def may_precede(first: datetime | None, second: datetime | None) -> bool:
    """Whether ``first`` is not after ``second``; True where one of them is unknown.

    Optuna stores local times without a zone, but keeps what trials in memory are given.
    """
    if first is None or second is None:
        return True
    if (first.tzinfo is None) == (second.tzinfo is None):
        return first <= second
    return _local(first) <= _local(second)


def passed(first: datetime | None, second: datetime | None) -> timedelta | None:
    """The time from ``first`` to ``second``, None where one of them is unknown."""
    if first is None or second is None:
        return None
    if (first.tzinfo is None) != (second.tzinfo is None):
        first, second = _local(first), _local(second)
    return second - first


def _local(moment: datetime) -> datetime:
    """Without a zone, in local time."""
    if moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone().replace(tzinfo=None)
    except OverflowError:  # within a day of the calendar's ends
        return moment.replace(tzinfo=None)
