"""Which subsets a method looks at, by its name: ``SAMPLER+PRUNER`` or ``SAMPLER+PRUNER:4``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optuna_rocket import SubsetEvaluator


# By the number of subsets: share of the smallest one, ratio of neighbours.
GRIDS = {2: (1 / 9, 9), 4: (1 / 27, 3)}
DEFAULT_GRID = 2
_MIN_EXAMPLES = 10  # the evaluator's default
_MOST = 0.5


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

    The smallest subset is as large as the evaluator asks of one; small data have none, if that is
    more than half of them.

    Args:
        data: Classes or strata of the training examples, or their number.
        n_subsets: Key of the grid.
        least: Smaller subsets than this share are left out.
    """
    min_fraction, reduction_factor = GRIDS[n_subsets]
    min_fraction = max(min_fraction, least, _enough(data))
    return SubsetEvaluator(
        data,
        min_fraction=min_fraction if min_fraction <= _MOST else 1.0,
        reduction_factor=reduction_factor,
    )


def _enough(data: Sequence[Any] | NDArray[Any] | int) -> float:
    """Share of the examples that holds ten of every class on average."""
    if isinstance(data, int):
        return _MIN_EXAMPLES / data
    return _MIN_EXAMPLES * len(np.unique(data)) / len(data)
