"""What studies of a task's sisters are worth: as sources of a sampler, or as its first trials.

Sisters are the other tasks of a family. ``rocket_sources`` reads their studies; to a sampler with
``_enqueued`` at its end, such as ``tpe_enqueued``, the best configuration of each is given first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from benchmarks import methods
from benchmarks.deep_learning.task import Task
from optuna_rocket import RocketSampler


_SOURCES, _ENQUEUED = "rocket_sources", "_enqueued"


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


def first_trials(method: str, sisters: Sequence[optuna.Study]) -> list[dict[str, Any]]:
    """The best configuration of each of them, each once, if the method is given them."""
    found: list[dict[str, Any]] = []
    for study in sisters if method.endswith(_ENQUEUED) else ():
        if study.best_params not in found:
            found.append(study.best_params)
    return found
