"""A search space of conditional parameters: a landscape per leaf of a tree of choices.

A *point* holds the index of its leaf and then the coordinates of the parameters on the way there,
filled up with NaN.

Notation:
    n: points
    p: parameters of the leaf that has most of them
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
import math

import numpy as np
import optuna

from benchmarks.axes import Array
from benchmarks.axes import Axis
from benchmarks.axes import Value
from benchmarks.landscapes import Landscape


@dataclass(frozen=True)
class Branch:
    """Parameters that exist together, and what is chosen after them.

    Args:
        axes: The parameters of this branch.
        switch: Name of the categorical parameter that chooses a child, empty in a leaf.
        children: The branches by choice.
    """

    axes: tuple[Axis, ...] = ()
    switch: str = ""
    children: dict[str, Branch] = field(default_factory=dict)


@dataclass(frozen=True)
class _Leaf:
    switches: dict[str, str]
    axes: tuple[Axis, ...]
    share: float


class Tree:
    """Landscapes in the leaves of a tree.

    One leaf holds the best value. By default it is steep: without tuning it is worse than the
    others, which are flat and forgiving.

    Args:
        root: The tree.
        generator: Draws all constants.
        best_height: Height of the best leaf's landscape.
        heights: Range of the heights of the others.
    """

    def __init__(
        self,
        root: Branch,
        generator: np.random.Generator,
        *,
        best_height: float = 2.0,
        heights: tuple[float, float] = (0.2, 0.6),
    ) -> None:
        self._root = root
        self._leaves = list(_leaves(root))
        n = len(self._leaves)
        self._landscapes = [Landscape(leaf.axes, generator) for leaf in self._leaves]
        self._floors = generator.uniform(0.2, 0.6, n)
        self._heights = generator.uniform(*heights, n)
        best = int(generator.integers(n))
        self._floors[best], self._heights[best] = 0.0, best_height
        self.best_point = self._point(best, self._landscapes[best].best_point)

    def sample(self, generator: np.random.Generator, n: int) -> Array:
        """Return random points `(n, 1 + p)`, distributed as in random search."""
        counts = generator.multinomial(n, [leaf.share for leaf in self._leaves])
        return np.stack(
            [
                self._point(i, coordinates)
                for i, count in enumerate(counts)
                for coordinates in self._landscapes[i].sample(generator, count)
            ]
        )

    def suggest(self, trial: optuna.Trial) -> Array:
        """Return the point `(1 + p,)` that the trial's sampler chooses."""
        branch, coordinates, switches = self._root, [], {}
        while True:
            coordinates += [axis.suggest(trial) for axis in branch.axes]
            if not branch.switch:
                break
            chosen = trial.suggest_categorical(branch.switch, tuple(branch.children))
            switches[branch.switch] = chosen
            branch = branch.children[chosen]
        leaf = [each.switches for each in self._leaves].index(switches)
        return self._point(leaf, np.array(coordinates))

    def params(self, point: Array) -> dict[str, Value]:
        """Return the parameters of a point: those of its leaf and no others."""
        leaf, coordinates = self._split(point)
        return {**self._leaves[leaf].switches, **self._landscapes[leaf].params(coordinates)}

    def values(self, points: Array) -> Array:
        """Return the values `(n,)` of points `(n, 1 + p)`."""
        values = np.empty(len(points))
        for i, (leaf, landscape) in enumerate(zip(self._leaves, self._landscapes, strict=True)):
            here = points[:, 0] == i
            inside = landscape.values(points[here, 1 : 1 + len(leaf.axes)])
            values[here] = self._floors[i] + self._heights[i] * inside
        return values

    def _point(self, leaf: int, coordinates: Array) -> Array:
        n_free = max(len(each.axes) for each in self._leaves) - len(coordinates)
        return np.array([float(leaf), *coordinates, *[math.nan] * n_free])

    def _split(self, point: Array) -> tuple[int, Array]:
        leaf = int(point[0])
        return leaf, point[1 : 1 + len(self._leaves[leaf].axes)]


def _leaves(branch: Branch) -> Iterator[_Leaf]:
    if not branch.switch:
        yield _Leaf({}, branch.axes, share=1.0)
    for choice, child in branch.children.items():
        for leaf in _leaves(child):
            yield _Leaf(
                {branch.switch: choice, **leaf.switches},
                (*branch.axes, *leaf.axes),
                leaf.share / len(branch.children),
            )
