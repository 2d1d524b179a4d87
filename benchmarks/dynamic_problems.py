"""Search spaces that branch, change or are large: what `benchmarks.dynamic_spaces` measures.

All are minimised, have a known best value and see a little noise: see `benchmarks.blind_problems`.
A name is `family/variant`; `family/variant@3` is the same kind of problem with other constants,
which is what methods may be tuned on.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
import zlib

import numpy as np
import optuna

from benchmarks.axes import Array
from benchmarks.axes import Axis
from benchmarks.axes import Choice
from benchmarks.axes import Real
from benchmarks.axes import Whole
from benchmarks.blind_problems import BlindProblem
from benchmarks.landscapes import Landscape
from benchmarks.trees import Branch
from benchmarks.trees import Tree


Build = Callable[[str, np.random.Generator], BlindProblem]
# The trial from which on a space is another one.
CHANGE_AT = 30


class Late(Landscape):
    """Some parameters are asked for from a later trial on; until then they have a default.

    Args:
        axes: All parameters.
        late: Names of those that come late.
        generator: Draws all constants.
        bend: See `Landscape`.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        late: Sequence[str],
        generator: np.random.Generator,
        bend: str = "square",
    ) -> None:
        super().__init__(axes, generator, bend)
        self._late = set(late)
        self._defaults = self.sample(generator, 1)[0]

    def suggest(self, trial: optuna.Trial) -> Array:
        """Return the point `(p,)` that the trial's sampler chooses."""
        there = [trial.number >= CHANGE_AT or axis.name not in self._late for axis in self.axes]
        rows = zip(self.axes, there, self._defaults, strict=True)
        return np.array([axis.suggest(trial) if on else default for axis, on, default in rows])


class Moving(Landscape):
    """Ranges of numbers that change during the study.

    Args:
        axes: The parameters.
        generator: Draws all constants.
        widens: Whether the ranges begin narrow, without the best point; otherwise they begin
            wide and become narrow around it.
        bend: See `Landscape`.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        generator: np.random.Generator,
        *,
        widens: bool,
        bend: str = "square",
    ) -> None:
        super().__init__(axes, generator, bend)
        self._widens = widens
        shifts = generator.uniform(-0.15, 0.15, len(self.axes))
        self._windows: list[tuple[float, float] | None] = []
        for axis, best, shift in zip(self.axes, self.best_point, shifts, strict=True):
            if isinstance(axis, Choice):
                self._windows.append(None)
                continue
            if widens:  # the half of the range on the other side of the middle
                self._windows.append((0.5, 1.0) if best < 0.5 else (0.0, 0.5))
            else:
                low = min(max(best + shift - 0.2, 0.0), 0.6)
                self._windows.append((low, low + 0.4))

    def suggest(self, trial: optuna.Trial) -> Array:
        """Return the point `(p,)` that the trial's sampler chooses."""
        narrow = (trial.number < CHANGE_AT) == self._widens
        return np.array(
            [
                _suggest_within(axis, window if narrow else None, trial)
                for axis, window in zip(self.axes, self._windows, strict=True)
            ]
        )


class ManyChoices(Landscape):
    """A bowl beside a categorical parameter of which few choices are good.

    Args:
        axes: The parameters, the categorical one among them.
        n_good: Number of good choices.
        generator: Draws all constants.
    """

    def __init__(self, axes: Sequence[Axis], n_good: int, generator: np.random.Generator) -> None:
        super().__init__(axes, generator)
        for penalties in self._penalties.values():
            order = generator.permutation(len(penalties))
            best = int(penalties.argmin())
            good = [best, *order[order != best][: n_good - 1]]
            penalties += 1.0
            penalties[good] = generator.uniform(0.0, 0.2, n_good)
            penalties[best] = 0.0


def _suggest_within(axis: Axis, window: tuple[float, float] | None, trial: optuna.Trial) -> float:
    if window is None or not isinstance(axis, (Real, Whole)):
        return axis.suggest(trial)
    low, high = axis.value(window[0]), axis.value(window[1])
    if isinstance(axis, Whole):
        low, high = int(low), max(int(high), int(low) + 1)
        narrow: Axis = replace(axis, low=int(low), high=int(high))
    else:
        narrow = replace(axis, low=float(low), high=float(high))
    narrow.suggest(trial)
    # The coordinate in the whole range, whatever the range of this trial is.
    return _coordinate(axis, trial.params[axis.name])


def _coordinate(axis: Real | Whole, value: float) -> float:
    low, high = (np.log(axis.low), np.log(axis.high)) if axis.log else (axis.low, axis.high)
    return float(((np.log(value) if axis.log else value) - low) / (high - low))


def _grown(widths: Sequence[int], n_axes: Sequence[int], prefix: str = "") -> Branch:
    """A tree with `widths[level]` branches at each level and `n_axes[level]` parameters there."""
    axes = tuple(_axis(f"{prefix}x{i}", i) for i in range(n_axes[0]))
    if not widths:
        return Branch(axes)
    children = {
        f"{prefix}{letter}": _grown(widths[1:], n_axes[1:], f"{prefix}{letter}_")
        for letter in "abcdefgh"[: widths[0]]
    }
    return Branch(axes, f"{prefix}switch", children)


def _axis(name: str, i: int) -> Axis:
    kinds: tuple[Axis, ...] = (
        Real(name, 1e-4, 1.0, log=True),
        Real(name),
        Whole(name, 1, 20),
    )
    return kinds[(i + len(name)) % len(kinds)]


def _uneven() -> Branch:
    """One deep side, one flat side: leaves at levels one, two and three."""
    deep = _grown((2, 2), (1, 1, 2), "deep_")
    middle = _grown((3,), (1, 1), "middle_")
    flat = Branch(tuple(_axis(f"flat_x{i}", i) for i in range(3)))
    return Branch((), "kind", {"deep": deep, "middle": middle, "flat": flat})


def _tree(root: Branch, best_height: float, heights: tuple[float, float]) -> Build:
    return lambda name, rng: BlindProblem(
        name, Tree(root, rng, best_height=best_height, heights=heights)
    )


# The best leaf is like the others, or worse than them as long as it is not tuned.
_ALIKE, _STEEP = (0.9, (0.6, 1.2)), (2.0, (0.2, 0.6))


def _late(axes: Sequence[Axis], n_late: int, bend: str) -> Build:
    names = [axis.name for axis in axes][-n_late:]
    return lambda name, rng: BlindProblem(name, Late(axes, names, rng, bend))


def _moving(axes: Sequence[Axis], *, widens: bool) -> Build:
    return lambda name, rng: BlindProblem(name, Moving(axes, rng, widens=widens))


def _wide(n: int, n_matter: int) -> Build:
    axes = tuple(_axis(f"p{i:03}", i) for i in range(n))

    def build(name: str, rng: np.random.Generator) -> BlindProblem:
        matters = [axes[i].name for i in rng.choice(n, n_matter, replace=False)]
        return BlindProblem(name, Landscape(axes, rng, "root", matters))

    return build


def _choices(n: int, n_good: int | None, n_reals: int) -> Build:
    reals = tuple(Real(f"x{i}") for i in range(n_reals))
    axes: tuple[Axis, ...] = (Choice("kind", tuple(f"kind_{i}" for i in range(n))), *reals)

    def build(name: str, rng: np.random.Generator) -> BlindProblem:
        landscape = Landscape(axes, rng) if n_good is None else ManyChoices(axes, n_good, rng)
        return BlindProblem(name, landscape)

    return build


_TRAINING: tuple[Axis, ...] = (
    Real("lr", 1e-5, 1e-1, log=True),
    Real("weight_decay", 1e-6, 1e-1, log=True),
    Whole("layers", 1, 16),
    Choice("optimizer", ("sgd", "adam", "rmsprop")),
    Real("dropout", 0.0, 0.8),
    Real("warmup"),
    Whole("width", 16, 1024, log=True),
)

_BUILDS: dict[str, Build] = {
    "tree/alike_2x2x2": _tree(_grown((2, 2, 2), (1, 1, 1, 1)), *_ALIKE),
    "tree/alike_3x3x2": _tree(_grown((3, 3, 2), (0, 1, 1, 1)), *_ALIKE),
    "tree/alike_uneven": _tree(_uneven(), *_ALIKE),
    "tree/steep_2x2x2": _tree(_grown((2, 2, 2), (0, 1, 1, 1)), *_STEEP),
    "tree/steep_4x2x2": _tree(_grown((4, 2, 2), (1, 0, 1, 1)), *_STEEP),
    "tree/steep_uneven": _tree(_uneven(), *_STEEP),
    "late/1_of_7": _late(_TRAINING, 1, "square"),
    "late/3_of_7": _late(_TRAINING, 3, "square"),
    "ranges/narrowed": _moving(_TRAINING, widens=False),
    "ranges/widened": _moving(_TRAINING, widens=True),
    "wide/100_few": _wide(100, 4),
    "wide/100_many": _wide(100, 50),
    "choices/1000_few_good": _choices(1000, 20, 2),
    "choices/1000_structured": _choices(1000, None, 4),
}
DYNAMIC_PROBLEM_NAMES = tuple(_BUILDS)


@cache
def load_dynamic_problem(name: str) -> BlindProblem:
    """Build a problem of the suite; a second call returns the same object.

    Args:
        name: One of `DYNAMIC_PROBLEM_NAMES`, with `@` and a number for other constants.
    """
    build = _BUILDS.get(name.split("@")[0])
    if build is None:
        choices = ", ".join(DYNAMIC_PROBLEM_NAMES)
        raise ValueError(f"Unknown problem {name!r}. Choose from {choices}.")
    return build(name, np.random.default_rng(zlib.crc32(name.encode())))
