"""Problems with several objectives, with constraints, or with both; fronts are known.

Sources: ZDT (Zitzler, Deb & Thiele 2000), DTLZ (Deb, Thiele, Laumanns & Zitzler 2002), C2-DTLZ2
and C3-DTLZ4 (Jain & Deb 2014), WFG (`walking_fish`), SRN (Srinivas & Deb 1994), the second
simulation of Gardner et al. 2014, the toy problem of Gramacy et al. 2016, the pressure vessel with
its best known cost (Coello 2000); and six tables of the open suite with a second metric. All
objectives are minimised.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from functools import cached_property
import itertools
import math

import numpy as np
from numpy.typing import NDArray
import optuna

from benchmarks import problems
from benchmarks.front_twins import FRONT_TWINS
from benchmarks.goal_twins import TWINS
from benchmarks.hypervolume import hypervolume
from benchmarks.hypervolume import non_dominated
from benchmarks.hypervolume import swept
from benchmarks.rare_problems import RARE_PROBLEMS
from benchmarks.walking_fish import WFG
from benchmarks.walking_fish import scales
from benchmarks.walking_fish import wfg2_shape


Array = NDArray[np.float64]
Suggested = tuple[Array, Sequence[float]]

# The second metric of a table; its logarithm is minimised.
_SECOND_METRIC = {
    "hpobench/car": "train_time",
    "hpobench/phoneme": "train_time",
    "hpolib/naval_propulsion": "train_time",
    "hpolib/protein_structure": "train_time",
    "nasbench201/cifar10": "latency",
    "nasbench201/imagenet": "latency",
}
_N_RANDOM = 2000
_N_ON_SPHERE = 20_000
_MOST_EXACT = 3  # objectives, beyond which the hypervolume is that along rays


@dataclass(frozen=True, eq=False)
class GoalProblem:
    """A problem whose score is the share of the reachable hypervolume.

    Args:
        name: Family and problem.
        evaluate: Suggests parameters on a trial; returns objective values `(m,)` without noise and
            constraint values, of which none may be above 0.
        observe: Adds the noise of a trial to what `evaluate` returned, given seed and trial.
        front: The best points `(k, m)`.
        reference: The reference point `(m,)`: the median of random feasible configurations, or
            the worst values on the front and a tenth of its range where that is greater.
    """

    name: str
    evaluate: Callable[[optuna.Trial], Suggested]
    observe: Callable[[optuna.Trial, int], Array] | None
    front: Array
    reference: Array

    @property
    def n_objectives(self) -> int:
        """The number of objectives."""
        return len(self.reference)

    def share(self, points: Array) -> float:
        """Return the hypervolume of feasible points `(n, m)` over that of the front."""
        return self._volume(points) / self._reachable

    @cached_property
    def _reachable(self) -> float:
        return self._volume(self.front)

    def _volume(self, points: Array) -> float:
        if self.n_objectives <= _MOST_EXACT:
            return hypervolume(points, self.reference)
        return swept(points, self.reference, self.reference - self.front.min(axis=0))


def _floats(trial: optuna.Trial, n: int, low: float = 0.0, high: float = 1.0) -> Array:
    return np.array([trial.suggest_float(f"x{i}", low, high) for i in range(n)])


def _zdt(second: Callable[[float, float], float]) -> Callable[[optuna.Trial], Suggested]:
    def evaluate(trial: optuna.Trial) -> Suggested:
        x = _floats(trial, 6)
        g = float(1 + 9 * x[1:].mean())
        return np.array([x[0], g * second(x[0], x[0] / g)]), ()

    return evaluate


def _zdt3(f: float, ratio: float) -> float:
    return 1 - math.sqrt(ratio) - ratio * math.sin(10 * math.pi * f)


def _sphere(angles: Array, radius: float | Array) -> Array:
    """Points of DTLZ2's front: products of cosines, the last factor a sine."""
    m = len(angles) + 1
    cosines, sines = np.cos(angles * np.pi / 2), np.sin(angles * np.pi / 2)
    columns = [np.prod(cosines[: m - 1 - i], axis=0) for i in range(m)]
    return np.stack([radius * c * (sines[m - 1 - i] if i else 1) for i, c in enumerate(columns)])


def _dtlz2(m: int) -> Callable[[optuna.Trial], Suggested]:
    def evaluate(trial: optuna.Trial) -> Suggested:
        x = _floats(trial, 6)
        return _sphere(x[: m - 1], float(1 + np.square(x[m - 1 :] - 0.5).sum())), ()

    return evaluate


def _wfg(name: str, m: int, k: int) -> Callable[[optuna.Trial], Suggested]:
    return lambda trial: (WFG[name](_floats(trial, 6), k, m), ())


def _c3_dtlz4(trial: optuna.Trial) -> Suggested:
    x = _floats(trial, 6)
    values = _sphere(x[:1] ** 100, float(1 + np.square(x[1:] - 0.5).sum()))
    squares = np.square(values)
    return values, tuple(1 - squares.sum() + 0.75 * squares)


def _c2(f: Array) -> float:
    """Constraint of C2-DTLZ2 for two objectives `(2,)`: balls about the corners and the middle."""
    corners = [np.square(f - corner).sum() - 0.2**2 for corner in np.eye(2)]
    middle = np.square(f - 1 / math.sqrt(2)).sum() - 0.2**2
    return float(min(*corners, middle))


def _c2_dtlz2(trial: optuna.Trial) -> Suggested:
    values, _ = _dtlz2(2)(trial)
    return values, (_c2(values),)


def _srn(trial: optuna.Trial) -> Suggested:
    x, y = _floats(trial, 2, -20, 20)
    values = np.array([2 + (x - 2) ** 2 + (y - 1) ** 2, 9 * x - (y - 1) ** 2])
    return values, (x**2 + y**2 - 225, x - 3 * y + 10)


def _gardner(trial: optuna.Trial) -> Suggested:
    x, y = _floats(trial, 2, 0, 6)
    return np.array([math.sin(x) + y]), (math.sin(x) * math.sin(y) + 0.95,)


def _gramacy(trial: optuna.Trial) -> Suggested:
    x, y = _floats(trial, 2)
    wave = 0.5 * math.sin(2 * math.pi * (x**2 - 2 * y))
    return np.array([x + y]), (1.5 - x - 2 * y - wave, x**2 + y**2 - 1.5)


def _vessel(trial: optuna.Trial) -> Suggested:
    shell = 0.0625 * trial.suggest_int("shell", 1, 99)
    head = 0.0625 * trial.suggest_int("head", 1, 99)
    radius, length = trial.suggest_float("r", 10, 200), trial.suggest_float("l", 10, 200)
    cost = 0.6224 * shell * radius * length + 1.7781 * head * radius**2
    cost += 3.1661 * shell**2 * length + 19.84 * shell**2 * radius
    volume = math.pi * radius**2 * length + 4 / 3 * math.pi * radius**3
    limits = (0.0193 * radius - shell, 0.00954 * radius - head, 1_296_000 - volume)
    return np.array([cost]), limits


def _front_of_zdt(second: Callable[[float, float], float]) -> Array:
    points = np.array([[f, second(f, f)] for f in np.linspace(0, 1, 5001)])
    return points[non_dominated(points)]


def _circle() -> Array:
    return _sphere(np.linspace(0, 1, 5001)[None], 1.0).T


def _sphere_grid() -> Array:
    grid = np.array(list(itertools.product(np.linspace(0, 1, 61), repeat=2))).T
    return _sphere(grid, 1.0).T


def _sphere_points(m: int) -> Array:
    """Many points `(k, m)` spread evenly over the positive part of the sphere."""
    normal = np.abs(np.random.default_rng(0).standard_normal((_N_ON_SPHERE, m)))
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


def _c3_front() -> Array:
    """Where each direction first satisfies both constraints of C3-DTLZ4."""
    circle = _circle()
    squares = np.square(circle)
    needed = 1 / (1 - 0.75 * squares).min(axis=1)  # of the squared radius
    return np.asarray(circle * np.sqrt(needed)[:, None])


def _wfg2_front() -> Array:
    positions = np.linspace(0, 1, 5001)
    points = scales(2) * np.array([wfg2_shape(np.array([x])) for x in positions])
    return np.asarray(points[non_dominated(points)])


def _srn_front() -> Array:
    y = np.linspace(2.5, 14.79, 5001)
    return np.stack([2 + 4.5**2 + (y - 1) ** 2, 9 * -2.5 - (y - 1) ** 2], axis=1)


# Name to evaluation and front. A single optimum is a front of one point; that of `gardner` was
# found on a grid and polished.
_FORMULAS: dict[str, tuple[Callable[[optuna.Trial], Suggested], Callable[[], Array]]] = {
    "front/zdt1": (
        _zdt(lambda f, r: 1 - math.sqrt(r)),
        lambda: _front_of_zdt(lambda f, r: 1 - math.sqrt(r)),
    ),
    "front/zdt2": (_zdt(lambda f, r: 1 - r**2), lambda: _front_of_zdt(lambda f, r: 1 - r**2)),
    "front/zdt3": (_zdt(_zdt3), lambda: _front_of_zdt(_zdt3)),
    "front/dtlz2_2": (_dtlz2(2), _circle),
    "front/dtlz2_3": (_dtlz2(3), _sphere_grid),
    "front/wfg2": (_wfg("wfg2", 2, 2), _wfg2_front),
    "front/wfg4": (_wfg("wfg4", 2, 2), lambda: _circle() * scales(2)),
    "front/wfg7": (_wfg("wfg7", 3, 2), lambda: _sphere_grid() * scales(3)),
    "constrained/c3_dtlz4": (_c3_dtlz4, _c3_front),
    "constrained/c2_dtlz2": (
        _c2_dtlz2,
        lambda: np.array([point for point in _circle() if _c2(point) <= 0]),
    ),
    "constrained/srn": (_srn, _srn_front),
    "constrained/gardner": (_gardner, lambda: np.array([[0.253236]])),
    "constrained/gramacy": (_gramacy, lambda: np.array([[0.599788]])),
    "constrained/vessel": (_vessel, lambda: np.array([[6059.7143]])),
}
# With four and five objectives; not among those that are run by default.
_MANY: dict[str, tuple[Callable[[optuna.Trial], Suggested], Callable[[], Array]]] = {
    "many/dtlz2_4": (_dtlz2(4), lambda: _sphere_points(4)),
    "many/dtlz2_5": (_dtlz2(5), lambda: _sphere_points(5)),
    "many/wfg4_4": (_wfg("wfg4", 4, 3), lambda: _sphere_points(4) * scales(4)),
    "many/wfg4_5": (_wfg("wfg4", 5, 4), lambda: _sphere_points(5) * scales(5)),
}
MANY_PROBLEMS = tuple(_MANY)
GOAL_PROBLEMS = (*_FORMULAS, *(f"table/{name.split('/')[1]}" for name in _SECOND_METRIC))


@cache
def load_goal_problem(name: str) -> GoalProblem:
    """Build a problem; a second call returns the same object.

    Args:
        name: One of `GOAL_PROBLEMS`, `MANY_PROBLEMS`, `RARE_PROBLEMS`, or of the development
            problems `TWINS` and `FRONT_TWINS`.
    """
    if name in RARE_PROBLEMS:
        evaluate_rare, front_of_rare, reference = RARE_PROBLEMS[name]
        return GoalProblem(name, evaluate_rare, None, front_of_rare, reference)
    if name in TWINS:
        evaluate_twin, least = TWINS[name]
        return _with_reference(name, evaluate_twin, None, np.array([[least]]))
    formulas = {**_FORMULAS, **_MANY, **FRONT_TWINS}
    if name in formulas:
        evaluate, front = formulas[name]
        return _with_reference(name, evaluate, None, front())
    tables = {table.split("/")[1]: table for table in _SECOND_METRIC}
    table = tables.get(name.removeprefix("table/"))
    if table is None:
        raise ValueError(f"Unknown problem {name!r}. Choose from {', '.join(GOAL_PROBLEMS)}.")
    return _from_table(name, table)


def _from_table(name: str, table: str) -> GoalProblem:
    """A table with a noisy first objective and the logarithm of the second metric's mean."""
    problem = problems.load_problem(table)
    measured = problems.read_metric(table, problem.parameters, _SECOND_METRIC[table])
    second = np.log(np.nanmean(measured, axis=1))
    points = np.stack([problem.true_values, second], axis=1)

    def evaluate(trial: optuna.Trial) -> Suggested:
        return points[problem.suggest(trial)], ()

    def observe(trial: optuna.Trial, seed: int) -> Array:
        row = problem.suggest(trial)
        return np.array([problem.observe(row, seed, trial.number), second[row]])

    return _with_reference(name, evaluate, observe, points[non_dominated(points)])


def _with_reference(
    name: str,
    evaluate: Callable[[optuna.Trial], Suggested],
    observe: Callable[[optuna.Trial, int], Array] | None,
    front: Array,
) -> GoalProblem:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [evaluate(study.ask()) for _ in range(_N_RANDOM)]
    feasible = [values for values, limits in drawn if all(x <= 0 for x in limits)]
    median = np.median(np.array(feasible), axis=0)
    worst = front.max(axis=0)
    reference = np.maximum(median, worst + 0.1 * (worst - front.min(axis=0)))
    return GoalProblem(name, evaluate, observe, front, reference)
