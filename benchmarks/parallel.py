"""Run methods with several workers on a simulated clock: `python -m benchmarks.parallel --help`.

A replication that is already in the output file is not run again: see `benchmarks.cells`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.asynchronous import costs
from benchmarks.asynchronous import reference_time
from benchmarks.asynchronous import simulate
from benchmarks.cells import Cell
from benchmarks.cells import add_options
from benchmarks.cells import add_summary_options
from benchmarks.cells import complete
from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.methods import method_label
from benchmarks.parallel_summary import parallel_markdown
from benchmarks.parallel_summary import parallel_rows
from benchmarks.problems import FAMILIES
from benchmarks.problems import incumbent_curve
from benchmarks.problems import load_problem
from benchmarks.records import ParallelReplication
from benchmarks.records import read_parallel_replications
from benchmarks.records import rounded
from benchmarks.report import write_csv
from benchmarks.run import versions
from benchmarks.workers import in_workers


METHODS = ("random", "tpe", "tpe_no_liar", "gp", "rocket")
# The first two tables of every family: chosen by their order, before any was run.
PARALLEL_PROBLEMS = tuple(
    f"{family}/{dataset}" for family, datasets in FAMILIES.items() for dataset in datasets[:2]
)


@dataclass(frozen=True)
class ParallelCell(Cell):
    """What identifies a replication of this benchmark.

    Args:
        n_workers: The number of workers.
        counts_sampler: Whether the sampler's time counts on the clock.
    """

    n_workers: int
    counts_sampler: bool


def measure(cell: ParallelCell) -> ParallelReplication:
    """Run one replication."""
    problem = load_problem(cell.problem)
    finished = simulate(
        problem,
        costs(cell.problem),
        make_sampler(cell.method, cell.seed),
        cell.seed,
        n_trials=cell.n_trials,
        n_workers=cell.n_workers,
        counts_sampler=cell.counts_sampler,
    )
    seconds = sum(trial.sampler_seconds for trial in finished)
    errors = [trial.error for trial in finished if trial.error is not None]
    return ParallelReplication(
        problem=cell.problem,
        family=problem.family,
        method=method_label(cell.method),
        seed=cell.seed,
        n_trials=cell.n_trials,
        regret=rounded(
            incumbent_curve(
                [
                    None
                    if trial.row is None or trial.observed is None
                    else (problem.normalised_regret(trial.row), trial.observed)
                    for trial in finished
                ]
            )
        ),
        sampler_seconds=round(seconds, 4),
        ms_per_trial=round(1000 * seconds / cell.n_trials, 4),
        error=len(errors),
        error_type=errors[0] if errors else None,
        versions=versions(),
        n_workers=cell.n_workers,
        counts_sampler=cell.counts_sampler,
        finished=[round(trial.end, 3) for trial in finished],
        reference=round(reference_time(cell.problem, cell.n_trials, cell.n_workers), 3),
        n_duplicates=sum(trial.is_duplicate for trial in finished),
    )


def _measure_in_workers(cells: list[ParallelCell], jobs: int) -> Iterator[ParallelReplication]:
    return in_workers(measure, cells, jobs)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parallel", description=__doc__)
    add_options(parser, METHODS, "benchmarks/results/parallel.jsonl")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument(
        "--problems", nargs="+", default=list(PARALLEL_PROBLEMS), choices=PARALLEL_PROBLEMS
    )
    add_summary_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: fill the file, then summarise all that it holds."""
    args = _parse(argv)
    cells = [
        ParallelCell(problem, check_method(method), seed, args.trials, n_workers, counts_sampler)
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for problem in args.problems
        for n_workers in args.workers
        for method in args.methods
        for counts_sampler in (False, True)
    ]
    complete(args, cells, lambda missing: _measure_in_workers(missing, args.jobs))
    rows = parallel_rows(read_parallel_replications(args.out), args.candidate, args.rivals)
    write_csv(args.table or args.out.with_suffix(".csv"), rows)
    print(parallel_markdown(rows))


if __name__ == "__main__":
    main()
