"""Simulated learning curves and subset results whose final value is known, by name.

A problem is a landscape (best 0, median 1: its values are normalised regrets) and a law for what a
partial evaluation shows of it. Constants come from the problem's name, and the problems named
``dev-...`` obey the same laws with constants of their own: defaults are chosen on those.

Notation:
    n: points
    k: rungs (report steps) of a full evaluation
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
import zlib

import numpy as np

from benchmarks.axes import Array
from benchmarks.axes import Axis
from benchmarks.axes import Choice
from benchmarks.axes import Real
from benchmarks.axes import Whole
from benchmarks.landscapes import Landscape


DEV_PREFIX = "dev-"
_AXES: tuple[Axis, ...] = (
    Real("lr", 1e-5, 1e-1, log=True),
    Real("weight_decay", 1e-6, 1e-1, log=True),
    Whole("width", 16, 1024, log=True),
    Real("dropout", 0.0, 0.8),
    Choice("optimizer", ("sgd", "adam", "rmsprop")),
)
N_EXAMPLES = 27_000
_FRACTIONS = np.array([1 / 27, 1 / 9, 1 / 3, 1.0])
_FINAL_NOISE = 0.02

Law = Callable[["PartialProblem", Array], Array]


class PartialProblem:
    """What a configuration shows at every rung.

    Args:
        name: The name.
        law: Noise-free values ``(n, k)`` of points; the last column is the true value.
        n_epochs: Length of a learning curve, None for subsets.
        noise: Standard deviation of the first rung's noise; it falls with the root of the effort.
        bend: Of the landscape.
        steep: Whether values are reported as their exponential, which has a heavy tail.
    """

    def __init__(
        self, name: str, law: Law, n_epochs: int | None, noise: float, bend: str, steep: bool
    ) -> None:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.name = name
        self.landscape = Landscape(_AXES, rng, bend)
        self.constants = rng.random(8)
        self.by_subset = n_epochs is None
        # Share of a full evaluation at every rung (k,).
        self.effort = _FRACTIONS if n_epochs is None else np.arange(1, n_epochs + 1) / n_epochs
        self.steps = [round(x) for x in self.effort * (n_epochs or N_EXAMPLES)]
        # A larger subset is trained from the start, a further epoch goes on from the last one.
        self.costs = np.cumsum(self.effort) if self.by_subset else self.effort
        self.noise = np.maximum(noise * np.sqrt(self.effort[0] / self.effort), _FINAL_NOISE)
        self.noise[-1] = _FINAL_NOISE
        self._law, self._steep = law, steep

    @property
    def family(self) -> str:
        """``curves``, ``subsets`` or ``found``."""
        return self.name.removeprefix(DEV_PREFIX).split("/")[0]

    def true_values(self, points: Array) -> Array:
        """Normalised regret ``(n,)``: what a full evaluation would show without noise."""
        return self.landscape.values(points)

    def observe(self, point: Array, rng: np.random.Generator) -> Array:
        """Values ``(k,)`` of a point ``(p,)`` as they are reported, less is better."""
        seen = self._law(self, point[None])[0] + self.noise * rng.normal(size=len(self.noise))
        return np.asarray(np.exp(np.minimum(3 * seen, 300)) if self._steep else seen)


def _slope(problem: PartialProblem, points: Array) -> Array:
    """A smooth function ``(n,)`` of the points in [0, 1], unrelated to their value."""
    angle = 2 * np.pi * (points[:, 0] * (0.3 + problem.constants[0]) + problem.constants[1])
    waves = np.sin(angle) + np.sin(3 * points[:, 2] + 6 * problem.constants[2])
    return np.asarray(0.5 + 0.25 * waves)


def _decay(problem: PartialProblem, true: Array, rate: Array, height: float) -> Array:
    epochs = np.arange(1, len(problem.effort) + 1.0)
    excess = epochs ** -rate[:, None] - epochs[-1] ** -rate[:, None]
    return np.asarray(true[:, None] + height * excess)


def _power(problem: PartialProblem, points: Array) -> Array:
    """Curves that fall at similar rates."""
    true = problem.true_values(points)
    return _decay(problem, true, 0.6 + 0.6 * _slope(problem, points), 2.0)


def _crossing(problem: PartialProblem, points: Array) -> Array:
    """The better a configuration ends, the slower it learns, and an unrelated part of it."""
    true = problem.true_values(points)
    rate = 0.25 + 0.5 * np.minimum(true, 2) / 2 + 0.6 * _slope(problem, points)
    return _decay(problem, true, rate, 2.5)


def _bloom(problem: PartialProblem, points: Array) -> Array:
    """A part of the configurations shows nothing before a late drop."""
    true = problem.true_values(points)
    curve = _decay(problem, true, 0.6 + 0.6 * _slope(problem, points), 2.0)
    late = points[:, 1] > problem.landscape.best_point[1] - 0.1 - 0.2 * problem.constants[3]
    onset = 0.2 + 0.5 * _slope(problem, points)
    asleep = 1 / (1 + np.exp((problem.effort - onset[:, None]) * 40))
    plateau = np.maximum(1.5 + 0.1 * points[:, 3], true)[:, None]
    asleep = asleep * (problem.effort < 1)
    return np.where(late[:, None], asleep * plateau + (1 - asleep) * curve, curve)


def _warm_up(problem: PartialProblem, points: Array) -> Array:
    """For the first quarter to two fifths of the epochs nothing is learned."""
    true = problem.true_values(points)
    rate = 0.6 + 0.6 * _slope(problem, points)
    epochs = np.arange(1, len(problem.effort) + 1.0)
    begun = np.maximum(epochs - (0.25 + 0.15 * problem.constants[3]) * epochs[-1], 0)
    last = begun[-1] + 1
    excess = (begun + 1) ** -rate[:, None] - last ** -rate[:, None]
    learned = true[:, None] + 2.0 * excess
    return np.where(begun > 0, learned, np.maximum(2.0, true[:, None]))


def _biased(problem: PartialProblem, points: Array) -> Array:
    """Less data is worse, for some configurations more than for others."""
    true = problem.true_values(points)
    need = 0.3 + 0.5 * _slope(problem, points)
    return np.asarray(true[:, None] + need[:, None] * (problem.effort**-0.35 - 1))


def _shifted(problem: PartialProblem, points: Array) -> Array:
    """The best learning rate and dropout move with the size of the data."""
    columns = []
    for effort in problem.effort:
        moved = points.copy()
        steps = np.log(1 / effort) / np.log(3)
        moved[:, 0] = np.clip(moved[:, 0] - 0.05 * steps, 0, 1)
        moved[:, 3] = np.clip(moved[:, 3] + 0.04 * steps, 0, 1)
        columns.append(problem.true_values(moved) + 0.2 * steps)
    return np.stack(columns, 1)


def _useless(problem: PartialProblem, points: Array) -> Array:
    """The smallest subset shows something else, the next one half of the truth."""
    curves = _biased(problem, points)
    other = 1 + 2 * _slope(problem, points[:, ::-1])
    curves[:, 0] = other
    curves[:, 1] = (curves[:, 1] + other) / 2
    return curves


_BUILDS: dict[str, tuple[Law, int | None, float, str, bool]] = {
    "curves/power": (_power, 27, 0.1, "root", False),
    "curves/noisy": (_power, 27, 0.5, "square", False),
    "curves/crossing": (_crossing, 27, 0.1, "root", False),
    "curves/long": (_crossing, 100, 0.2, "log", False),
    "curves/bloom": (_bloom, 27, 0.1, "root", False),
    "subsets/biased": (_biased, None, 0.1, "root", False),
    "subsets/noisy": (_biased, None, 0.4, "square", False),
    "subsets/shifted": (_shifted, None, 0.1, "root", False),
    "subsets/useless": (_useless, None, 0.1, "log", False),
    "subsets/steep": (_shifted, None, 0.1, "root", True),
}
PARTIAL_PROBLEM_NAMES = tuple(_BUILDS)
# Made after a defect had been found, as it would show elsewhere.
_FOUND: dict[str, tuple[Law, int | None, float, str, bool]] = {
    "found/warm_up": (_warm_up, 27, 0.1, "root", False),
    "found/long_warm_up": (_warm_up, 100, 0.2, "square", False),
}
FOUND_PROBLEM_NAMES = tuple(_FOUND)


@cache
def load_partial_problem(name: str) -> PartialProblem:
    """Build a problem; a second call returns the same object.

    Args:
        name: One of ``PARTIAL_PROBLEM_NAMES`` or ``FOUND_PROBLEM_NAMES``, with ``DEV_PREFIX``
            before it for its twin.
    """
    law, builds = name.removeprefix(DEV_PREFIX), _BUILDS | _FOUND
    if law not in builds:
        raise ValueError(f"Unknown problem {name!r}. Choose from {', '.join(builds)}.")
    return PartialProblem(name, *builds[law])
