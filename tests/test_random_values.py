from __future__ import annotations

import random

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest

from optuna_rocket import RocketSampler
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


def test_a_step_on_the_widest_range() -> None:
    distribution = FloatDistribution(-1e308, 1e308, step=1e300)
    assert n_values(distribution) == 200_000_001
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for _ in range(8):
        study.tell(trial := study.ask({"x": distribution}), abs(trial.params["x"] / 2))
    values = [trial.params["x"] for trial in study.trials]
    values += [random_value(distribution, random.Random(k)) for k in range(8)]
    assert all(distribution.low <= value <= distribution.high for value in values)
    assert len(set(values)) > 12
