from __future__ import annotations

import random

from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest

from optuna_rocket.axes import n_values
from optuna_rocket.random_values import random_value


@pytest.mark.parametrize(
    ("distribution", "n"),
    [
        (FloatDistribution(0, 1, step=0.1), 11),  # 1 // 0.1 is 9
        (FloatDistribution(0.1, 0.7, step=0.2), 4),
        (IntDistribution(-3, 6, step=3), 4),
    ],
)
def test_every_value_of_a_grid_is_drawn(distribution: BaseDistribution, n: int) -> None:
    rng = random.Random(0)
    values = {round(random_value(distribution, rng), 9) for _ in range(40 * n)}
    assert len(values) == n == n_values(distribution)
    assert (min(values), max(values)) == (distribution.low, distribution.high)  # type: ignore[attr-defined]


def test_counts_of_huge_ranges_are_exact() -> None:
    assert n_values(IntDistribution(-(10**400), 10**400)) == 2 * 10**400 + 1
