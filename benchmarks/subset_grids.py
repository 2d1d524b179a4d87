"""How a method looks at subsets, by its name: ``SAMPLER+PRUNER`` and endings such as ``:4``."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optuna_rocket import SubsetEvaluator


# By the number of subsets: share of the smallest one, ratio of neighbours.
GRIDS = {2: (1 / 9, 9), 4: (1 / 27, 3)}
DEFAULT_GRID = 2
_MIN_EXAMPLES = 10  # the evaluator's default
_MOST = 0.5
_SCALED, _WARM = "scaled", "warm"


@dataclass(frozen=True)
class Method:
    """What is meant by ``SAMPLER+PRUNER`` and by its endings, such as ``:4``.

    Attributes:
        sampler: Name of the sampler; it may hold colons itself.
        pruner: Name of the pruner.
        n_subsets: Key of ``GRIDS``.
        is_scaled: Whether the learning rate is fitted to the size of a subset.
        is_warm: Whether a subset's training begins with what the smaller one left.
    """

    sampler: str
    pruner: str
    n_subsets: int = DEFAULT_GRID
    is_scaled: bool = False
    is_warm: bool = False


def parse_method(method: str) -> Method:
    """What a method's name means.

    Raises:
        ValueError: If there is no such ending.
    """
    sampler, _, rest = method.rpartition("+")
    pruner, *endings = rest.split(":")
    grids = [ending for ending in endings if ending.isdigit()]
    if not set(endings) <= {*map(str, GRIDS), _SCALED, _WARM} or len(grids) > 1:
        known = sorted({*map(str, GRIDS), _SCALED, _WARM})
        raise ValueError(f"Unknown ending of {method!r}. Use one of {known}.")
    if {_SCALED, _WARM} <= set(endings):
        raise ValueError(f"{method!r}: a training with another rate cannot go on. Use one ending.")
    n_subsets = int(grids[0]) if grids else DEFAULT_GRID
    return Method(sampler, pruner, n_subsets, _SCALED in endings, _WARM in endings)


def subset_evaluator(
    data: Sequence[Any] | NDArray[Any] | int,
    n_subsets: int,
    least: float = 0.0,
    scale: Mapping[str, float] | None = None,
) -> SubsetEvaluator:
    """An evaluator with a grid of ``GRIDS``.

    The smallest subset is as large as the evaluator asks of one; small data have none, if that is
    more than half of them.

    Args:
        data: Classes or strata of the training examples, or their number.
        n_subsets: Key of the grid.
        least: Smaller subsets than this share are left out.
        scale: Parameters that are fitted to the size of a subset.
    """
    min_fraction, reduction_factor = GRIDS[n_subsets]
    min_fraction = max(min_fraction, least, _enough(data))
    return SubsetEvaluator(
        data,
        min_fraction=min_fraction if min_fraction <= _MOST else 1.0,
        reduction_factor=reduction_factor,
        scale=scale,
    )


def _enough(data: Sequence[Any] | NDArray[Any] | int) -> float:
    """Share of the examples that holds ten of every class on average."""
    if isinstance(data, int):
        return _MIN_EXAMPLES / data
    return _MIN_EXAMPLES * len(np.unique(data)) / len(data)
