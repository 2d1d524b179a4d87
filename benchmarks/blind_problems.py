"""What makes an objective hard to see: one class of problems per blind spot.

All are minimised. A trial sees a noisy value; what it is worth is the value without noise, its
*true value*, of which the best one is known exactly and the median from a large random sample.

Notation:
    n: points
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
import optuna

from benchmarks.axes import Array
from benchmarks.axes import Choice
from benchmarks.axes import Value
from benchmarks.landscapes import N_SAMPLES
from benchmarks.landscapes import Landscape


class Terrain(Protocol):
    """A search space with a value 0 at its best point: a landscape, or a tree of them."""

    best_point: Array

    def sample(self, generator: np.random.Generator, n: int) -> Array:
        """Return random points `(n, p)`."""

    def suggest(self, trial: optuna.Trial) -> Array:
        """Return the point `(p,)` that the trial's sampler chooses."""

    def params(self, point: Array) -> dict[str, Value]:
        """Return the parameters of a point."""

    def values(self, points: Array) -> Array:
        """Return the values `(n,)` of points `(n, p)`."""


class Crash(RuntimeError):
    """The training of a configuration broke down, as it was designed to."""


class BlindProblem:
    """A terrain under noise. The other problems change one thing each.

    Args:
        name: Blind spot and variant, as `blind spot/variant`.
        terrain: The search space and its values.
        noise: Standard deviation of one observation; median minus best is 1 in most problems.
    """

    def __init__(self, name: str, terrain: Terrain, noise: float = 0.05) -> None:
        self.name = name
        self.family = name.split("/")[0]
        self.terrain = terrain
        self.noise = noise

    def pruner(self) -> optuna.pruners.BasePruner:
        """Return the pruner of a study."""
        return optuna.pruners.NopPruner()

    def true_values(self, points: Array) -> Array:
        """Return the values without noise `(n,)`."""
        return self.terrain.values(points)

    def survives(self, points: Array) -> NDArray[np.bool_]:
        """Return which points have a value at all `(n,)`."""
        return np.ones(len(points), dtype=np.bool_)

    def observe(self, trial: optuna.Trial, point: Array, generator: np.random.Generator) -> float:
        """Return what the trial sees.

        Args:
            trial: The trial, for reports on the way.
            point: Its point.
            generator: The only source of chance; it knows nothing of the point.
        """
        return float(self._true_value(point) + self.noise * generator.normal())

    @cached_property
    def best(self) -> float:
        """The best true value: normalised regret 0."""
        return self._true_value(self.terrain.best_point)

    @cached_property
    def median(self) -> float:
        """The median true value of the points that survive: normalised regret 1."""
        points = self.terrain.sample(np.random.default_rng(0), N_SAMPLES)
        return float(np.median(self.true_values(points[self.survives(points)])))

    @property
    def best_params(self) -> dict[str, Value]:
        """The parameters of the best point."""
        return self.terrain.params(self.terrain.best_point)

    def normalised_regret(self, point: Array) -> float:
        """Return (true value - best) / (median - best) of a point."""
        return (self._true_value(point) - self.best) / (self.median - self.best)

    def _true_value(self, point: Array) -> float:
        return float(self.true_values(point[None])[0])


class Beyond:
    """The part of a space beyond a plane, as a limit of memory is one on log scales.

    Args:
        landscape: The space.
        share: How much of it lies beyond.
        distance: Least and largest distance of the best point, which is on this side.
        generator: Draws the direction, again and again until the distance fits.
    """

    def __init__(
        self,
        landscape: Landscape,
        share: float,
        distance: tuple[float, float],
        generator: np.random.Generator,
    ) -> None:
        is_number = np.array([not isinstance(axis, Choice) for axis in landscape.axes])
        points = landscape.sample(generator, N_SAMPLES)
        for _ in range(1000):
            direction = generator.normal(size=len(is_number)) * is_number
            self._direction = direction / np.linalg.norm(direction)
            self._limit, self._far = np.quantile(points @ self._direction, [1 - share, 1.0])
            if distance[0] < -self.depth(landscape.best_point[None])[0] < distance[1]:
                return
        raise ValueError("No plane has this distance. Allow a wider range of distances.")

    def depth(self, points: Array) -> Array:
        """Return how far beyond the plane points lie `(n,)`, negative on this side."""
        return np.asarray(points @ self._direction - self._limit)

    def relative_depth(self, points: Array) -> Array:
        """Return the same as a share of the deepest point."""
        return self.depth(points) / float(self._far - self._limit)


class Failing(BlindProblem):
    """Part of the space crashes: half of those trials raise, half return NaN."""

    def __init__(self, name: str, landscape: Landscape, crashing: Beyond) -> None:
        super().__init__(name, landscape)
        self._crashing = crashing

    def survives(self, points: Array) -> NDArray[np.bool_]:
        """Return which points do not crash `(n,)`."""
        return self._crashing.depth(points) <= 0

    def observe(self, trial: optuna.Trial, point: Array, generator: np.random.Generator) -> float:
        """Return a noisy value, or NaN, or raise `Crash`."""
        raises = generator.random() < 0.5
        if self.survives(point[None])[0]:
            return super().observe(trial, point, generator)
        if raises:
            raise Crash("out of memory")
        return float("nan")


class Pruned(BlindProblem):
    """Learning curves, some slower than others, under Optuna's median pruner.

    Args:
        name: Blind spot and variant.
        landscape: The values at the end of training.
        n_epochs: The length of a full training.
        generator: Draws which parameters slow training down.
    """

    def __init__(
        self, name: str, landscape: Landscape, n_epochs: int, generator: np.random.Generator
    ) -> None:
        super().__init__(name, landscape)
        self._n_epochs = n_epochs
        self._speed = generator.normal(size=len(landscape.axes))

    def pruner(self) -> optuna.pruners.BasePruner:
        """Return the median pruner with its default arguments."""
        return optuna.pruners.MedianPruner()

    def curve(self, point: Array) -> Array:
        """Return the learning curve without noise `(n_epochs,)`; it ends at the true value."""
        rate = 0.3 + 1.2 / (1 + np.exp(-2 * (point - 0.5) @ self._speed))
        epochs = np.arange(1, self._n_epochs + 1, dtype=np.float64)
        excess = 2 * (epochs**-rate - float(self._n_epochs) ** -rate)
        return np.asarray(self._true_value(point) + excess)

    def observe(self, trial: optuna.Trial, point: Array, generator: np.random.Generator) -> float:
        """Report every epoch and return the last one, or raise `TrialPruned`."""
        seen = self.curve(point) + self.noise * generator.normal(size=self._n_epochs)
        for epoch, value in enumerate(map(float, seen)):
            trial.report(value, epoch)
            if epoch < self._n_epochs - 1 and trial.should_prune():
                raise optuna.TrialPruned
        return value


class Plateau(BlindProblem):
    """Most of the space is at chance level; the rest descends from there to the best point."""

    def __init__(self, name: str, landscape: Landscape, share: float) -> None:
        super().__init__(name, landscape)
        values = landscape.values(landscape.sample(np.random.default_rng(1), N_SAMPLES))
        self._edge = float(np.quantile(values, 1 - share))

    def true_values(self, points: Array) -> Array:
        """Return the values without noise `(n,)`, 1 at chance level."""
        return np.minimum(super().true_values(points) / self._edge, 1.0)


class HeavyTails(BlindProblem):
    """Losses that diverge in part of the space: 1e3 to 1e12, infinite in a tenth of those trials.

    The true value is the logarithm of the loss, to base 10.
    """

    def __init__(self, name: str, landscape: Landscape, diverging: Beyond) -> None:
        super().__init__(name, landscape)
        self._diverging = diverging

    def true_values(self, points: Array) -> Array:
        """Return the logarithm of the loss without noise `(n,)`."""
        depth = self._diverging.relative_depth(points)
        return np.where(depth > 0, 3 + 9 * depth, 1.5 * super().true_values(points) - 2)

    def observe(self, trial: optuna.Trial, point: Array, generator: np.random.Generator) -> float:
        """Return a loss."""
        overflows = generator.random() < 0.1
        logarithm = super().observe(trial, point, generator)
        return float("inf") if logarithm > 2.5 and overflows else float(10**logarithm)


class Decades(BlindProblem):
    """Losses that nobody took the logarithm of: six decades lie between the median and the best.

    The true value is a sixth of the logarithm of the loss, to base 10.
    """

    def observe(self, trial: optuna.Trial, point: Array, generator: np.random.Generator) -> float:
        """Return a loss."""
        return float(10 ** (6 * super().observe(trial, point, generator)))


class BadLuck(BlindProblem):
    """A tenth of the trials ends with a loss of 1e1 to 1e6, wherever they are."""

    def observe(self, trial: optuna.Trial, point: Array, generator: np.random.Generator) -> float:
        """Return a noisy value, or a bad one."""
        value = super().observe(trial, point, generator)
        is_bad, exponent = generator.random() < 0.1, generator.uniform(1, 6)
        return float(10**exponent) if is_bad else value


class Heteroscedastic(BlindProblem):
    """Noise that grows towards the good region, on one side of the best point above all."""

    def __init__(self, name: str, landscape: Landscape, generator: np.random.Generator) -> None:
        super().__init__(name, landscape)
        self._side = generator.normal(size=len(landscape.axes))

    def noise_at(self, point: Array) -> float:
        """Return the standard deviation of an observation."""
        closeness = np.exp(-self._true_value(point) / 0.3)
        side = 1 / (1 + np.exp(-6 * (point - self.terrain.best_point) @ self._side))
        return float(self.noise + 0.8 * closeness * side)

    def observe(self, trial: optuna.Trial, point: Array, generator: np.random.Generator) -> float:
        """Return a noisy value."""
        return float(self._true_value(point) + self.noise_at(point) * generator.normal())
