"""Parameters of synthetic problems: how they are asked for, and what a coordinate means.

A *coordinate* is the position in the unit interval for a number, on its log scale where it has
one, and the index of the choice for a categorical parameter.

Notation:
    n: coordinates
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
import optuna


Array = NDArray[np.float64]
Value = float | int | str


class Axis(Protocol):
    """One parameter: how it is asked for, and what a coordinate means."""

    @property
    def name(self) -> str:
        """The name given to Optuna."""

    def suggest(self, trial: optuna.Trial) -> float:
        """Return the coordinate that the trial's sampler chooses."""

    def sample(self, generator: np.random.Generator, n: int) -> Array:
        """Return random coordinates `(n,)`, distributed as in random search."""

    def value(self, coordinate: float) -> Value:
        """Return the parameter's value at a coordinate."""

    def snapped(self, coordinate: float) -> float:
        """Return the nearest coordinate that the parameter can have."""


@dataclass(frozen=True)
class Real:
    """A floating-point parameter.

    Args:
        name: The name given to Optuna.
        low: Lower end of its range.
        high: Upper end of its range.
        log: Whether it is searched on its log scale.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    def suggest(self, trial: optuna.Trial) -> float:
        """Return the coordinate that the trial's sampler chooses."""
        return _to_unit(self, trial.suggest_float(self.name, self.low, self.high, log=self.log))

    def sample(self, generator: np.random.Generator, n: int) -> Array:
        """Return uniform coordinates `(n,)`."""
        return generator.random(n)

    def value(self, coordinate: float) -> float:
        """Return the value at a coordinate."""
        return min(max(_from_unit(self, coordinate), self.low), self.high)

    def snapped(self, coordinate: float) -> float:
        """Return the coordinate: the parameter can have all of them."""
        return coordinate


@dataclass(frozen=True)
class Whole:
    """An integer parameter.

    Args:
        name: The name given to Optuna.
        low: Lower end of its range.
        high: Upper end of its range.
        log: Whether it is searched on its log scale.
    """

    name: str
    low: int
    high: int
    log: bool = False

    def suggest(self, trial: optuna.Trial) -> float:
        """Return the coordinate that the trial's sampler chooses."""
        return _to_unit(self, trial.suggest_int(self.name, self.low, self.high, log=self.log))

    def sample(self, generator: np.random.Generator, n: int) -> Array:
        """Return the coordinates of random integers `(n,)`."""
        # Every integer owns the half unit on either side of it, as in Optuna.
        wide = Real(self.name, self.low - 0.5, self.high + 0.5, self.log)
        values = np.rint(_from_units(wide, generator.random(n)))
        return _to_units(self, np.clip(values, self.low, self.high))

    def value(self, coordinate: float) -> int:
        """Return the integer nearest to a coordinate."""
        return min(max(round(_from_unit(self, coordinate)), self.low), self.high)

    def snapped(self, coordinate: float) -> float:
        """Return the coordinate of the nearest integer."""
        return _to_unit(self, self.value(coordinate))


@dataclass(frozen=True)
class Choice:
    """A categorical parameter without order.

    Args:
        name: The name given to Optuna.
        choices: Its choices.
    """

    name: str
    choices: tuple[str, ...]

    def suggest(self, trial: optuna.Trial) -> float:
        """Return the index of the choice that the trial's sampler makes."""
        return float(self.choices.index(trial.suggest_categorical(self.name, self.choices)))

    def sample(self, generator: np.random.Generator, n: int) -> Array:
        """Return random indices `(n,)`."""
        return generator.integers(len(self.choices), size=n).astype(np.float64)

    def value(self, coordinate: float) -> str:
        """Return the choice with an index."""
        return self.choices[int(coordinate)]

    def snapped(self, coordinate: float) -> float:
        """Return the index: it has no neighbours."""
        return coordinate


def _ends(axis: Real | Whole) -> tuple[float, float]:
    if axis.log:
        return math.log(axis.low), math.log(axis.high)
    return axis.low, axis.high


def _to_units(axis: Real | Whole, values: Array) -> Array:
    low, high = _ends(axis)
    return np.asarray(((np.log(values) if axis.log else values) - low) / (high - low))


def _from_units(axis: Real | Whole, units: Array) -> Array:
    low, high = _ends(axis)
    values = low + units * (high - low)
    return np.asarray(np.exp(values) if axis.log else values)


def _to_unit(axis: Real | Whole, value: float) -> float:
    return float(_to_units(axis, np.array(value)))


def _from_unit(axis: Real | Whole, unit: float) -> float:
    return float(_from_units(axis, np.array(unit)))
