"""One parameter's axis: its values, and its way to the unit interval and back."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution


def is_log(distribution: BaseDistribution) -> bool:
    """Whether a parameter is on a log scale."""
    return isinstance(distribution, (FloatDistribution, IntDistribution)) and distribution.log


def n_values(distribution: BaseDistribution) -> int | None:
    """Number of values of a finite distribution, None where continuous."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, (FloatDistribution, IntDistribution)):
        if isinstance(distribution, IntDistribution):  # exact, however many
            return (distribution.high - distribution.low) // distribution.step + 1
        if distribution.step is None:
            return None
        factor = _fitting(distribution)
        width = distribution.high * factor - distribution.low * factor
        return round(width / (distribution.step * factor)) + 1
    raise ValueError(f"distribution={distribution!r} is not a float, int or categorical one.")


def grid_value(distribution: FloatDistribution | IntDistribution, index: int) -> float:
    """The value number ``index`` of a distribution with a step."""
    assert distribution.step is not None
    if isinstance(distribution, IntDistribution):
        return distribution.low + index * distribution.step
    factor = _fitting(distribution)
    return (distribution.low * factor + index * (distribution.step * factor)) / factor


def grid_values(distribution: BaseDistribution) -> list[float]:
    """All values of a finite distribution, in Optuna's internal representation."""
    if isinstance(distribution, CategoricalDistribution):
        return [float(index) for index in range(len(distribution.choices))]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    count = n_values(distribution)
    assert count is not None and distribution.step is not None
    return [grid_value(distribution, k) for k in range(count)]


def bounds(distribution: BaseDistribution) -> tuple[float, float, bool]:
    """Bounds of the unit interval (after log), half a step outside of the grid."""
    if isinstance(distribution, CategoricalDistribution):
        return 0.0, 1.0, False
    if not isinstance(distribution, (FloatDistribution, IntDistribution)):
        raise ValueError(f"distribution={distribution!r} is not a float, int or categorical one.")
    half_step = distribution.step / 2 if distribution.step is not None else 0.0
    low, high = distribution.low - half_step, distribution.high + half_step
    if distribution.log:
        low, high = math.log(low), math.log(high)
    if not high > low:  # a single value of a continuous parameter
        low, high = low - 0.5, low + 0.5
    if math.isinf(low) or math.isinf(high):
        raise ValueError(
            f"distribution={distribution!r} is wider than a double can hold. Use a narrower one."
        )
    if not high / 2 > low / 2:  # see `decode`
        raise ValueError(
            f"distribution={distribution!r}: a double cannot tell its values apart. Use a wider "
            "one, or one nearer to 0."
        )
    return low, high, distribution.log


def decode(distribution: BaseDistribution, ends: tuple[float, float, bool], unit: float) -> Any:
    """The value, in Optuna's external representation, at a unit of the parameter's axis."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(max(round(unit), 0), len(distribution.choices) - 1)]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, log = ends
    # Halving first keeps the widest ranges finite.
    value = 2 * (low / 2 + min(max(unit, 0.0), 1.0) * (high / 2 - low / 2))
    if log:
        value = math.exp(value)
    if distribution.step is not None:
        value = _on_grid(distribution, value)
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else float(value)


def _on_grid(distribution: FloatDistribution | IntDistribution, value: float) -> float:
    """The value of the grid that is nearest to another one."""
    assert distribution.step is not None
    factor = _fitting(distribution)
    index = (value * factor - distribution.low * factor) / (distribution.step * factor)
    return grid_value(distribution, round(index))


def _fitting(distribution: FloatDistribution | IntDistribution) -> float:
    """A factor that is exact and keeps the widest range finite."""
    return 0.5 if math.isinf(float(distribution.high) - float(distribution.low)) else 1.0
