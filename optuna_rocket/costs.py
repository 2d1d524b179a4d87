"""What a trial's rounds with ``SubsetEvaluator`` took: its user attribute ``rocket:costs``."""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any


# Holds the report steps and the seconds that each of them took, as lists of equal length,
# ``"warm": true`` where a round began with what an earlier one had left in ``Subset.carry``, and
# the examples that each step took, as ``"examples"``, where ``Subset.remaining`` made them fewer.
COSTS = "rocket:costs"


def rounds_of(attributes: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """Report steps and seconds of a trial's rounds, empty where none make sense.

    Args:
        attributes: The trial's user attributes.
    """
    stored = attributes.get(COSTS)
    if not isinstance(stored, dict):
        return [], []
    try:
        steps = [float(step) for step in stored["steps"]]
        seconds = [float(second) for second in stored["seconds"]]
    except (KeyError, OverflowError, TypeError, ValueError):
        return [], []
    is_sane = len(steps) == len(seconds) and all(0 <= x < math.inf for x in steps + seconds)
    return (steps, seconds) if is_sane else ([], [])


def examples_of(attributes: Mapping[str, Any]) -> list[float]:
    """Examples that each of a trial's rounds took: its report step, or less where that is stored.

    Args:
        attributes: The trial's user attributes.
    """
    steps, _ = rounds_of(attributes)
    try:
        stored = [float(n) for n in attributes[COSTS]["examples"]]
    except (KeyError, OverflowError, TypeError, ValueError):
        return steps
    is_sane = len(stored) == len(steps) and all(
        0 <= n <= step for n, step in zip(stored, steps, strict=True)
    )
    return stored if is_sane else steps


def is_warm(attributes: Mapping[str, Any]) -> bool:
    """Whether a round of a trial went on from what an earlier one had left.

    Args:
        attributes: The trial's user attributes.
    """
    stored = attributes.get(COSTS)
    return isinstance(stored, dict) and stored.get("warm") is True
