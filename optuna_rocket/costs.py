"""What a trial's rounds with ``SubsetEvaluator`` took: its user attribute ``rocket:costs``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
import math
from typing import Any

from optuna_rocket.arguments import is_number


# Holds the report steps and the seconds that each of them took, as lists of equal length,
# ``"warm": true`` where a round began with what an earlier one had left in ``Subset.carry``, and
# the examples that each step took, as ``"examples"``, where ``Subset.remaining`` made them fewer.
# Rounds about one instance each are marked with ``"by": "instance"``; where their lists are too
# long for an attribute, ``"rounds"`` is their number and ``"seconds"`` what they took in all.
COSTS = "rocket:costs"
INSTANCE_MARK = {"by": "instance"}


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


def totals_of(attributes: Mapping[str, Any]) -> tuple[int, float]:
    """Number of a trial's rounds and the seconds that all took, zeros where none make sense.

    Args:
        attributes: The trial's user attributes.
    """
    _, seconds = rounds_of(attributes)
    if seconds:
        return len(seconds), sum(seconds)
    if not _is_marked(attributes):
        return 0, 0.0
    stored = attributes[COSTS]
    n, total = stored.get("rounds", 0), stored.get("seconds", 0)
    is_sane = is_number(n, total) and n == int(n) and n > 0 and total >= 0
    return (int(n), float(total)) if is_sane else (0, 0.0)


def summary(n_rounds: int, seconds: float) -> dict[str, Any]:
    """What is stored of rounds about one instance each that are too many for an attribute."""
    return {**INSTANCE_MARK, "rounds": n_rounds, "seconds": round(seconds, 6)}


def is_by_instance(attributes: Mapping[str, Any]) -> bool:
    """Whether a trial's rounds were about one instance each.

    Args:
        attributes: The trial's user attributes.
    """
    if _is_marked(attributes):
        return True
    # Older trials have no mark. Numbers of examples are above 0 and rise, but for a trial that was
    # retried with another evaluator; instances come mixed.
    steps, _ = rounds_of(attributes)
    return 0 in steps or sum(b < a for a, b in pairwise(steps)) > 1


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


def _is_marked(attributes: Mapping[str, Any]) -> bool:
    stored = attributes.get(COSTS)
    return isinstance(stored, dict) and stored.items() >= INSTANCE_MARK.items()
