"""Problems of which hardly any configuration is feasible, for `benchmarks.many_objectives`.

Found later: `RocketSampler` looked for a first feasible trial where its chance was greatest, which
in six and more dimensions is in the corners. No part of the benchmark's results. The reference
point is no better than the worst feasible values, so that the number of a study (1 before) falls
with its first feasible trial. All objectives are minimised, all parameters are on the unit
interval.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
import optuna


Array = NDArray[np.float64]
Suggested = tuple[Array, Sequence[float]]

# Every parameter of the middle of the ball and of the points that objectives are distances from.
_MIDDLE, _GOAL, _SECOND_GOAL = 0.75, 0.6, 0.9


class RareProblem(NamedTuple):
    """What `goal_problems.load_goal_problem` makes a problem of: see `GoalProblem`."""

    evaluate: Callable[[optuna.Trial], Suggested]
    front: Array
    reference: Array


def _units(trial: optuna.Trial, n: int) -> Array:
    return np.array([trial.suggest_float(f"x{i}", 0, 1) for i in range(n)])


def _to(x: Array, point: float) -> float:
    return float(np.square(x - point).sum())


def _ball(n: int, squared_radius: float) -> RareProblem:
    """One constraint that says how far away the ball is."""

    def evaluate(trial: optuna.Trial) -> Suggested:
        x = _units(trial, n)
        return np.array([_to(x, _GOAL)]), (_to(x, _MIDDLE) - squared_radius,)

    away, radius = math.sqrt(n) * (_MIDDLE - _GOAL), math.sqrt(squared_radius)
    return RareProblem(
        evaluate, np.array([[(away - radius) ** 2]]), np.array([(away + radius) ** 2])
    )


def _front_in_a_ball(n: int, squared_radius: float) -> RareProblem:
    """The same with a second objective; the front is a part of the diagonal."""

    def evaluate(trial: optuna.Trial) -> Suggested:
        x = _units(trial, n)
        values = np.array([_to(x, _GOAL), _to(x, _SECOND_GOAL)])
        return values, (_to(x, _MIDDLE) - squared_radius,)

    away, radius = math.sqrt(n) * (_MIDDLE - _GOAL), math.sqrt(squared_radius)
    along = np.linspace(-radius, radius, 1001)
    front = np.stack([np.square(away + along), np.square(away - along)], axis=1)
    return RareProblem(evaluate, front, np.full(2, (away + radius) ** 2))


def _two_balls(trial: optuna.Trial) -> Suggested:
    x = _units(trial, 8)
    return np.array([_to(x, 0.6)]), (_to(x[:4], 0.75) - 0.02, _to(x[4:], 0.3) - 0.02)


def _equalities(trial: optuna.Trial) -> Suggested:
    x = _units(trial, 5)
    return np.array([_to(x, 0.4)]), (
        abs(x[0] + x[1] ** 2 - 0.9) - 0.03,
        abs(x[2] - x[3] * x[0] - 0.2) - 0.03,
        1000 * (0.7 - x[4] * x[1]),
    )


# The best value of the equalities was found by descents from 200 places, their reference is no
# better than any configuration.
RARE_PROBLEMS: dict[str, RareProblem] = {
    "rare/ball6": _ball(6, 0.02),
    "rare/ball10": _ball(10, 0.05),
    "rare/front10": _front_in_a_ball(10, 0.05),
    "rare/balls8": RareProblem(
        _two_balls,
        np.array([[(0.3 - math.sqrt(0.02)) ** 2 + (0.6 - math.sqrt(0.02)) ** 2]]),
        np.array([(0.3 + math.sqrt(0.02)) ** 2 + (0.6 + math.sqrt(0.02)) ** 2]),
    ),
    "rare/equalities": RareProblem(_equalities, np.array([[0.399229]]), np.array([5 * 0.6**2])),
}
