"""Which subsets a method looks at, by its name: ``SAMPLER+PRUNER`` or ``SAMPLER+PRUNER:4``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from optuna_rocket import SubsetEvaluator


# By the number of subsets: share of the smallest one, ratio of neighbours.
GRIDS = {2: (1 / 9, 9), 4: (1 / 27, 3)}
DEFAULT_GRID = 2


def parse_method(method: str) -> tuple[str, str, int]:
    """Sampler, pruner and number of subsets.

    Args:
        method: ``SAMPLER+PRUNER`` or ``SAMPLER+PRUNER:N``; the sampler may hold colons itself.

    Raises:
        ValueError: If there is no such number of subsets.
    """
    sampler, _, pruner = method.rpartition("+")
    pruner, _, number = pruner.partition(":")
    if number and number not in {str(n) for n in GRIDS}:
        raise ValueError(f"Unknown number of subsets in {method!r}. Use one of {list(GRIDS)}.")
    return sampler, pruner, int(number or DEFAULT_GRID)


def subset_evaluator(
    data: Sequence[Any] | NDArray[Any] | int, n_subsets: int, least: float = 0.0
) -> SubsetEvaluator:
    """An evaluator with a grid of ``GRIDS``.

    Args:
        data: Labels of the training examples, or their number.
        n_subsets: Key of the grid.
        least: Smaller subsets than this share are left out.
    """
    min_fraction, reduction_factor = GRIDS[n_subsets]
    return SubsetEvaluator(
        data, min_fraction=max(min_fraction, least), reduction_factor=reduction_factor
    )
