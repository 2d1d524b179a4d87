"""Families of related tables, and the earlier studies of each table.

The families of the open suite are those of `benchmarks.problems`. Those of the development suite
are slices of the tables of small networks: the tasks of a family share a space and differ in the
levels of hyperparameters that are taken out of it. Two of them make many small tasks, one makes
few large ones.

`python -m benchmarks.experience_tasks --storage URL` copies the earlier studies of the small tasks
that no benchmark plays to a storage, for `optuna_rocket.training.fine_tune`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
import zlib

import numpy as np
from numpy.typing import NDArray
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import IntDistribution
from optuna.study import StudyDirection

from benchmarks.development_tables import PATH
from benchmarks.development_tables import Table
from benchmarks.development_tables import read_tables
from benchmarks.problems import FAMILIES
from benchmarks.problems import PROBLEM_NAMES
from benchmarks.problems import Choice
from benchmarks.problems import Parameter
from benchmarks.problems import Problem
from benchmarks.problems import load_problem


N_TRIALS = 50
_N_RANDOM = 20
_SEED = 1000
_N_WAVES = 8
# Which hyperparameters of a development table tell its tasks apart.
_SLICED = {
    "cancer_mixed": ("optimizer", "act"),
    "diabetes": ("gain", "steps"),
    "digits_adam": ("smoothing", "steps"),
    "digits_cells": ("conn1", "conn2"),
    "digits_sgd": ("depth", "steps"),
    "moons": ("gain", "depth"),
    "teacher_cells": ("lr", "conn1"),
    "teacher_full": ("act", "optimizer"),
    "wine_mixed": ("optimizer", "steps"),
}


def load_task(name: str) -> Problem:
    """Return a table of the open suite, or a slice of a development table.

    Args:
        name: `family/dataset`, or `table:level,level`, or `table:level` for a large slice.
    """
    if name in PROBLEM_NAMES:
        return load_problem(name)
    return _slices(name.partition(":")[0], is_large="," not in name)[name]


def family_of(name: str) -> tuple[str, ...]:
    """Return the names of all tasks of a task's family."""
    if name in PROBLEM_NAMES:
        family = name.partition("/")[0]
        return tuple(f"{family}/{dataset}" for dataset in FAMILIES[family])
    return tuple(_slices(name.partition(":")[0], is_large="," not in name))


def development_tasks(n_per_family: int, *, are_large: bool = False) -> list[str]:
    """Return some tasks of every family of the development suite, spread over it."""
    names: list[str] = []
    for table in _SLICED:
        known = list(_slices(table, is_large=are_large))
        index = np.linspace(0, len(known) - 1, min(n_per_family, len(known))).round()
        names.extend(known[int(i)] for i in index)
    return names


def copy_other_studies(storage: str, n_per_family: int, n_trials: int = N_TRIALS) -> list[str]:
    """Copy the earlier studies of small development tasks that are not played to a storage.

    Args:
        storage: URL of a database.
        n_per_family: How many tasks of a family are played.
        n_trials: Number of trials of each study.

    Returns:
        Their names.
    """
    played = development_tasks(n_per_family)
    others = [name for table in _SLICED for name in _slices(table, is_large=False)]
    others = [name for name in others if name not in played]
    for name in others:
        study = optuna.create_study(study_name=name, storage=storage)
        study.add_trials(earlier_trials(name, n_trials))
    return others


@cache
def _slices(table: str, *, is_large: bool) -> dict[str, Problem]:
    whole = read_tables(PATH)[table]
    gone = _SLICED[table][: 1 if is_large else 2]
    axes = [whole.parameters.index(name) for name in gone]
    values = np.moveaxis(whole.values, axes, range(len(axes)))
    found = {}
    for levels in np.ndindex(*values.shape[: len(axes)]):
        name = f"{table}:{','.join(map(str, levels))}"
        found[name] = _problem(name, whole, gone, values[levels])
    return found


def _problem(name: str, whole: Table, gone: Sequence[str], values: NDArray[np.float32]) -> Problem:
    parameters = []
    for parameter, is_categorical, n_levels in zip(
        whole.parameters, whole.categorical, whole.shape, strict=True
    ):
        if parameter not in gone:
            levels: tuple[Choice, ...] = tuple(range(n_levels))
            if is_categorical:
                levels = tuple(f"level {k}" for k in levels)
            parameters.append(Parameter(parameter, levels, not is_categorical))
    repeats = values.astype(np.float64).reshape(-1, values.shape[-1])
    return Problem(name, name.partition(":")[0], tuple(parameters), repeats)


def distributions(problem: Problem) -> dict[str, BaseDistribution]:
    """Return the search space as `Parameter.suggest` states it."""
    return {
        parameter.name: IntDistribution(0, len(parameter.choices) - 1)
        if parameter.is_ordinal
        else CategoricalDistribution(parameter.choices)
        for parameter in problem.parameters
    }


@cache
def earlier_trials(
    name: str, n_trials: int = N_TRIALS, *, is_unrelated: bool = False
) -> list[optuna.trial.FrozenTrial]:
    """Return the trials of the earlier study of a task: some random ones, then TPE's.

    Unrelated ones share the space of the task and nothing else: their objective is a random
    smooth function.
    """
    problem = load_task(name)
    seed = zlib.crc32(name.encode()) % 2**31
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_N_RANDOM)
    study = optuna.create_study(sampler=sampler)
    foreign = _random_function(problem, seed)

    def objective(trial: optuna.Trial) -> float:
        row = problem.suggest(trial)
        if is_unrelated:
            return float(foreign[row])
        return problem.observe(row, _SEED, trial.number)

    study.optimize(objective, n_trials)
    return study.get_trials()


def _random_function(problem: Problem, seed: int) -> NDArray[np.float64]:
    """Values of all configurations: a sum of waves over axes in a scale from 0 to 1."""
    rng = np.random.default_rng(seed)
    place = []
    for parameter, n_levels in zip(problem.parameters, problem.shape, strict=True):
        levels = np.arange(n_levels) if parameter.is_ordinal else rng.permutation(n_levels)
        place.append(levels / max(n_levels - 1, 1))
    waves = [
        sum(
            rng.normal(scale=2.0) * axis.reshape([-1 if k == j else 1 for k in range(len(place))])
            for j, axis in enumerate(place)
        )
        + rng.uniform(0, 2 * np.pi)
        for _ in range(_N_WAVES)
    ]
    return np.asarray(sum(np.cos(wave) for wave in waves), dtype=np.float64).ravel()


def earlier_study(name: str, kind: str = "honest", n_trials: int = N_TRIALS) -> optuna.Study:
    """Return the earlier study of a task.

    Args:
        name: The task.
        kind: ``honest``; ``reversed`` takes the worst for the best; ``shuffled`` has its values
            dealt out anew; ``unrelated`` has another objective over the same space.
        n_trials: Number of its trials.
    """
    direction = StudyDirection.MAXIMIZE if kind == "reversed" else StudyDirection.MINIMIZE
    study = optuna.create_study(study_name=name, direction=direction)
    trials = earlier_trials(name, n_trials, is_unrelated=kind == "unrelated")
    if kind == "shuffled":
        order = np.random.default_rng(zlib.crc32(name.encode())).permutation(len(trials))
        trials = [
            _with_value(trial, trials[i].value) for trial, i in zip(trials, order, strict=True)
        ]
    study.add_trials(trials)
    return study


def _with_value(trial: optuna.trial.FrozenTrial, value: float | None) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        params=trial.params, distributions=trial.distributions, value=value
    )


def earlier_studies(name: str, kind: str = "honest") -> list[optuna.Study]:
    """Return the earlier studies of all other tasks of a task's family.

    Args:
        name: The task.
        kind: See ``earlier_study``; of ``poisoned`` ones every second is reversed.
    """
    others = [other for other in family_of(name) if other != name]
    if kind == "poisoned":
        return [
            earlier_study(other, "honest" if i % 2 else "reversed")
            for i, other in enumerate(others)
        ]
    return [earlier_study(other, kind) for other in others]


def favourites(studies: list[optuna.Study], n: int) -> list[dict[str, Choice]]:
    """Return the configurations that won most clearly in their own study, each once.

    Values of different studies cannot be compared; how far the best one lies from a study's mean,
    in its standard deviations, can.
    """
    lead = []
    for study in studies:
        values = np.array([trial.value for trial in study.trials])
        lead.append((study.best_value - values.mean()) / max(values.std(), 1e-12))
    found: list[dict[str, Choice]] = []
    for i in np.argsort(lead, kind="stable"):
        if studies[i].best_params not in found:
            found.append(studies[i].best_params)
    return found[:n]


def main() -> None:
    """Copy studies to learn from."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experience_tasks")
    parser.add_argument("--storage", required=True, help="URL of the database")
    parser.add_argument("--tasks", type=int, default=3, help="of a family, that are played")
    args = parser.parse_args()
    print(f"{len(copy_other_studies(args.storage, args.tasks))} studies copied to {args.storage}")


if __name__ == "__main__":
    main()
