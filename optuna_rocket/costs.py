"""What a trial's rounds with ``SubsetEvaluator`` took: its user attribute ``rocket:costs``."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
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


@dataclass(frozen=True)
class Costs:
    """What a trial's rounds took, blank where what is stored makes no sense.

    Attributes:
        steps: Report step of each round, none where the totals alone are known.
        seconds: What each round took.
        examples: Examples that each took: its report step, or less where that is stored.
        n_rounds: Number of the rounds.
        total: Seconds that all of them took.
        is_warm: Whether a round went on from what an earlier one had left.
        by_instance: Whether they were about one instance each.
    """

    steps: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    examples: tuple[float, ...] = ()
    n_rounds: int = 0
    total: float = 0.0
    is_warm: bool = False
    by_instance: bool = False


def read(attributes: Mapping[str, Any]) -> Costs:
    """What is stored about a trial's rounds.

    Args:
        attributes: The trial's user attributes.
    """
    stored = attributes.get(COSTS)
    if not isinstance(stored, dict):
        return Costs()
    is_marked = stored.items() >= INSTANCE_MARK.items()
    steps, seconds = _rounds(stored)
    n_rounds, total = len(seconds), sum(seconds)
    if not seconds and is_marked:
        n_rounds, total = _totals(stored)
    return Costs(
        steps,
        seconds,
        _examples(stored, steps),
        n_rounds,
        total,
        is_warm=stored.get("warm") is True,
        by_instance=is_marked or _are_instances(steps),
    )


def by_instance(attributes: Mapping[str, Any]) -> bool:
    """Whether a trial's rounds were about one instance each, so that steps are no effort.

    Args:
        attributes: The trial's user attributes.
    """
    stored = attributes.get(COSTS)
    if not isinstance(stored, dict):
        return False
    # Asked of many trials: the mark spares reading lists that may be long.
    return stored.items() >= INSTANCE_MARK.items() or _are_instances(_rounds(stored)[0])


def without(rounds: Costs, copied: Costs) -> Costs:
    """What a trial's own rounds took, where it is another run and came with those before it.

    Args:
        rounds: What is stored of the trial.
        copied: What is stored of the run before it.

    Returns:
        ``rounds`` itself where nothing was copied: the trial began anew.
    """
    n = len(copied.steps)
    if rounds.steps:  # two trainings never take the same to a millionth of a second
        first = rounds.steps[:n], rounds.seconds[:n]
        is_copy = n > 0 and first == (copied.steps, copied.seconds)
    else:  # a run that began anew has no more rounds than one that came to its end
        totals = copied.n_rounds, copied.total
        is_same = (rounds.n_rounds, rounds.total) == totals
        is_copy = copied.n_rounds > 0 and (is_same or rounds.n_rounds > copied.n_rounds)
    if not is_copy:
        return rounds
    return replace(
        rounds,
        steps=rounds.steps[n:],
        seconds=rounds.seconds[n:],
        examples=rounds.examples[n:],
        n_rounds=max(rounds.n_rounds - copied.n_rounds, 0),
        total=max(rounds.total - copied.total, 0.0),
    )


def summary(n_rounds: int, seconds: float) -> dict[str, Any]:
    """What is stored of rounds about one instance each that are too many for an attribute."""
    return {**INSTANCE_MARK, "rounds": n_rounds, "seconds": round(seconds, 6)}


def _rounds(stored: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Report steps and seconds."""
    try:
        steps = tuple(float(step) for step in stored["steps"])
        seconds = tuple(float(second) for second in stored["seconds"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return (), ()
    is_sane = len(steps) == len(seconds) and all(0 <= x < math.inf for x in steps + seconds)
    return (steps, seconds) if is_sane else ((), ())


def _totals(stored: Mapping[str, Any]) -> tuple[int, float]:
    """Number of rounds and seconds, where the lists were too long."""
    n, total = stored.get("rounds", 0), stored.get("seconds", 0)
    is_sane = is_number(n, total) and n == int(n) and n > 0 and total >= 0
    return (int(n), float(total)) if is_sane else (0, 0.0)


def _examples(stored: Mapping[str, Any], steps: tuple[float, ...]) -> tuple[float, ...]:
    try:
        examples = tuple(float(n) for n in stored["examples"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return steps
    is_sane = len(examples) == len(steps) and all(
        0 <= n <= step for n, step in zip(examples, steps, strict=True)
    )
    return examples if is_sane else steps


def _are_instances(steps: Sequence[float]) -> bool:
    """Whether rounds without a mark, as older trials have them, were about one instance each.

    Numbers of examples are above 0.
    """
    return 0 in steps
