"""What studies of a task's sisters are worth: as sources of a sampler, or as its first trials.

Sisters are the other tasks of a family. ``rocket_sources`` reads their studies; to a sampler with
``_enqueued`` at its end, such as ``tpe_enqueued``, the best configuration of each is given first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler

from benchmarks import methods
from benchmarks.deep_learning.task import Task
from optuna_rocket import RocketSampler


_SOURCES, _ENQUEUED = "rocket_sources", "_enqueued"
_N_PROBES = 100


def studies_of(storage: str, task: Task) -> list[optuna.Study]:
    """The studies of the task's sisters in a database, which holds studies ``TASK METHOD SEED``.

    Raises:
        ValueError: If it holds none.
    """
    names = sorted(
        name
        for name in optuna.get_all_study_names(storage)
        if name.startswith(f"{task.family}/") and name.split()[0] != task.name
    )
    if not names:
        raise ValueError(
            f"{storage} holds no study of {task.family}/ but of {task.name}. Run the family "
            "with --storage first."
        )
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def uses_sisters(method: str) -> bool:
    """Whether a sampler's name says that it knows earlier studies."""
    return method == _SOURCES or method.endswith(_ENQUEUED)


def check_method(method: str) -> str:
    """Return the sampler's name when it exists; raise a ValueError otherwise."""
    if method != _SOURCES:
        methods.check_method(method.removesuffix(_ENQUEUED))
    return method


def make_sampler(method: str, seed: int, sisters: Sequence[optuna.Study]) -> BaseSampler:
    """Return the sampler of a method.

    Args:
        method: A name in ``benchmarks.methods``, with ``_enqueued`` or not, or ``rocket_sources``.
        seed: Of the sampler.
        sisters: What the latter reads.
    """
    if method == _SOURCES:
        return RocketSampler(seed=seed, source_studies=sisters)
    return methods.make_sampler(method.removesuffix(_ENQUEUED), seed)


def first_trials(method: str, sisters: Sequence[optuna.Study], task: Task) -> list[dict[str, Any]]:
    """The best configuration of each of them, each once, if the method is given them.

    Values that the task does not offer are left out.
    """
    if not method.endswith(_ENQUEUED):
        return []
    offered = _distributions(task)
    found: list[dict[str, Any]] = []
    for study in sisters:
        best = {
            name: value
            for name, value in study.best_params.items()
            if name in offered and _is_in(offered[name], value)
        }
        if best not in found:
            found.append(best)
    return found


def _distributions(task: Task) -> dict[str, BaseDistribution]:
    """Those of all parameters that random configurations of a task have."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found: dict[str, BaseDistribution] = {}
    for _ in range(_N_PROBES):
        trial = study.ask()
        task.suggest(trial)
        found |= trial.distributions
    return found


def _is_in(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return bool(distribution.low <= value <= distribution.high)
