"""Uniform values of a parameter, for what the agent cannot model."""

from __future__ import annotations

import math
import random
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_rocket.axes import grid_value
from optuna_rocket.axes import n_values


def random_value(distribution: BaseDistribution, rng: random.Random) -> Any:
    """A value of any distribution, also where its range is wider than a double can hold."""
    if isinstance(distribution, CategoricalDistribution):
        return rng.choice(distribution.choices)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        value = math.exp(rng.uniform(math.log(low), math.log(high)))
    elif step is not None:
        value = grid_value(distribution, rng.randrange(n_values(distribution) or 1))
    else:
        share = rng.random()
        value = low * (1 - share) + high * share
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else value
