"""Trials that are run again because their worker died, as Optuna's heartbeat marks them.

Optuna fails a trial without a heartbeat, and ``RetryHeartbeatStaleTrialCallback`` queues a copy of
it whose attribute ``retry_history`` holds the numbers of all its earlier runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


HISTORY = "retry_history"


def retried_numbers(attributes: Mapping[str, Any]) -> set[int]:
    """The trials of which this one is another run; none where the attribute is malformed.

    Args:
        attributes: The trial's system attributes.
    """
    history = attributes.get(HISTORY)
    return {x for x in history if type(x) is int} if isinstance(history, list) else set()
