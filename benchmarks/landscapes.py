"""Random bowls over mixed search spaces, with the best value 0 at a known point and median 1.

A *point* is one coordinate per parameter, as in `benchmarks.axes`.

Notation:
    n: points
    p: parameters
    d: numerical parameters
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
import optuna

from benchmarks.axes import Array
from benchmarks.axes import Axis
from benchmarks.axes import Choice
from benchmarks.axes import Value


N_SAMPLES = 2**15

_BENDS: dict[str, Callable[[Array], Array]] = {
    "square": lambda squared: squared,
    "root": np.sqrt,
    "log": lambda squared: np.asarray(np.log1p(50 * squared)),
}


class Landscape:
    """A bowl: a quadratic form with interactions, of other widths on either side, then bent.

    Every choice of a categorical parameter adds a penalty of its own, 0 for the best one, and
    moves the bottom of the bowl. The bottom is neither in the middle of a range nor near its end.

    Args:
        axes: The parameters.
        generator: Draws all constants.
        bend: Height against squared distance: `square`, its `root` or its `log`.
        matters: Names of the parameters that matter, all by default.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        generator: np.random.Generator,
        bend: str = "square",
        matters: Sequence[str] | None = None,
    ) -> None:
        self.axes = tuple(axes)
        active = [i for i, axis in enumerate(axes) if matters is None or axis.name in matters]
        self._numbers = [i for i in active if not isinstance(axes[i], Choice)]
        self._bend = _BENDS[bend]
        self._form = _quadratic_form(len(self._numbers), generator)
        self._above = generator.uniform(0.6, 1.6, len(self._numbers))
        self.best_point = np.array([_best_coordinate(axis, generator) for axis in axes])
        self._penalties: dict[int, Array] = {}
        self._moves: dict[int, Array] = {}
        self._height = self._depth = 1.0
        points = self.sample(generator, N_SAMPLES)
        self._depth = float(np.median(self.values(points)))
        for i in active:
            if i not in self._numbers:
                self._add_choices(i, generator)
        self._height = float(np.median(self.values(points)))

    def _add_choices(self, i: int, generator: np.random.Generator) -> None:
        axis = self.axes[i]
        assert isinstance(axis, Choice)
        n, best = len(axis.choices), int(self.best_point[i])
        self._penalties[i] = generator.uniform(0.05, 1.0, n)
        self._moves[i] = generator.normal(0.0, 0.1, (n, len(self._numbers)))
        self._penalties[i][best] = self._moves[i][best] = 0.0

    def sample(self, generator: np.random.Generator, n: int) -> Array:
        """Return random points `(n, p)`, distributed as in random search."""
        return np.stack([axis.sample(generator, n) for axis in self.axes], axis=1)

    def suggest(self, trial: optuna.Trial) -> Array:
        """Return the point `(p,)` that the trial's sampler chooses."""
        return np.array([axis.suggest(trial) for axis in self.axes])

    def params(self, point: Array) -> dict[str, Value]:
        """Return the parameters of a point."""
        return {axis.name: axis.value(x) for axis, x in zip(self.axes, point, strict=True)}

    def values(self, points: Array) -> Array:
        """Return the values `(n,)` of points `(n, p)`."""
        bottom = np.tile(self.best_point[self._numbers], (len(points), 1))  # (n, d)
        penalty = np.zeros(len(points))
        for i, penalties in self._penalties.items():
            chosen = points[:, i].astype(int)
            penalty += penalties[chosen]
            bottom += self._moves[i][chosen]
        offset = points[:, self._numbers] - bottom
        offset = np.where(offset > 0, self._above * offset, offset)
        squared = np.einsum("ni,ij,nj->n", offset, self._form, offset)
        return (self._bend(squared) / self._depth + penalty) / self._height


def _quadratic_form(d: int, generator: np.random.Generator) -> Array:
    # Half way between an axis-parallel ellipsoid and a rotated one; widths differ by up to 3 to 4.
    rotation = np.linalg.qr(np.eye(d) + generator.normal(0.0, 0.5 / np.sqrt(d), (d, d)))[0]
    form = rotation.T @ np.diag(10 ** generator.uniform(-1.0, 0.2, d)) @ rotation
    return np.asarray(form)


def _best_coordinate(axis: Axis, generator: np.random.Generator) -> float:
    if isinstance(axis, Choice):
        return float(generator.integers(len(axis.choices)))
    side, distance = generator.choice([-1, 1]), generator.uniform(0.1, 0.4)
    return axis.snapped(0.5 + float(side * distance))
