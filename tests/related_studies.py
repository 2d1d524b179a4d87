"""A small objective, earlier studies of it, and new studies that learn from them."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.study import StudyDirection

from optuna_rocket import RocketSampler


SPACE: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-5, 1, log=True),
    "x": FloatDistribution(0, 1),
    "kind": CategoricalDistribution(["a", "b", "c"]),
}
BEST = {"rate": 1e-2, "x": 0.9, "kind": "c"}


def loss(params: dict[str, Any]) -> float:
    """0 at ``BEST``, in a corner that a start from the centre finds late."""
    far: float = (math.log10(params["rate"]) + 2) ** 2 + 4 * (params["x"] - 0.9) ** 2
    return far + {"a": 1.0, "b": 0.5, "c": 0.0}[params["kind"]]


def filled(
    n_trials: int = 30,
    value: Callable[[dict[str, Any]], float] = loss,
    space: dict[str, BaseDistribution] | None = None,
    seed: int = 0,
    direction: StudyDirection = StudyDirection.MINIMIZE,
    storage: RDBStorage | None = None,
    name: str | None = None,
) -> Study:
    """A study by random search."""
    study = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=seed),
        direction=direction,
        storage=storage,
        study_name=name,
    )
    for _ in range(n_trials):
        trial = study.ask(space or SPACE)
        study.tell(trial, value(trial.params))
    return study


def target(
    sampler: RocketSampler, n_trials: int, space: dict[str, BaseDistribution] | None = None
) -> Study:
    study = optuna.create_study(sampler=sampler)
    for _ in range(n_trials):
        trial = study.ask(space or SPACE)
        study.tell(trial, loss(trial.params))
    return study


def with_sources(*sources: Any, seed: int = 0) -> RocketSampler:
    return RocketSampler(seed=seed, source_studies=sources)
