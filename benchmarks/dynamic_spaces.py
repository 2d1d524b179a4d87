"""Run methods on spaces that branch, change or are large: `python -m benchmarks.dynamic_spaces`.

A replication that is already in the output file is not run again: see `benchmarks.cells`. The
problems are those of `benchmarks.dynamic_problems`; the columns of the tables are those of
`benchmarks.blind_spots`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import warnings

import optuna
from optuna.samplers import BaseSampler

from benchmarks.blind_spots import measure
from benchmarks.blind_summary import blind_markdown
from benchmarks.blind_summary import blind_rows
from benchmarks.cells import Cell
from benchmarks.cells import add_options
from benchmarks.cells import add_summary_options
from benchmarks.cells import complete
from benchmarks.cells import select_problems
from benchmarks.dynamic_problems import DYNAMIC_PROBLEM_NAMES
from benchmarks.dynamic_problems import load_dynamic_problem
from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.methods import method_label
from benchmarks.records import BlindReplication
from benchmarks.records import read_blind_replications
from benchmarks.report import write_csv
from benchmarks.workers import in_workers


METHODS = ("random", "tpe", "tpe_group", "rocket")


def _tpe_group(seed: int) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)


# TPE with a joint density for every set of parameters that occurs together.
_OWN: dict[str, Callable[[int], BaseSampler]] = {"tpe_group": _tpe_group}


def _measure_cell(cell: Cell) -> BlindReplication:
    make = _OWN.get(cell.method, lambda seed: make_sampler(cell.method, seed))
    problem = load_dynamic_problem(cell.problem)
    return measure(problem, method_label(cell.method), make, cell.seed, cell.n_trials)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.dynamic_spaces", description=__doc__
    )
    add_options(parser, METHODS, "benchmarks/results/dynamic_spaces.jsonl", seeds=10, trials=80)
    parser.add_argument("--problems", nargs="+", default=["all"], help="all, families or problems")
    parser.add_argument(
        "--variants", type=int, nargs="+", help="numbers of other constants, to tune on"
    )
    add_summary_options(parser)
    parser.set_defaults(rivals=["random", "tpe", "tpe_group"])
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: fill the file, then summarise all that it holds."""
    args = _parse(argv)
    names = select_problems(args.problems, DYNAMIC_PROBLEM_NAMES)
    if args.variants:
        names = [f"{name}@{variant}" for name in names for variant in args.variants]
    cells = [
        Cell(name, method if method in _OWN else check_method(method), seed, args.trials)
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for name in names
        for method in args.methods
    ]
    complete(args, cells, lambda missing: in_workers(_measure_cell, missing, args.jobs))
    rows = blind_rows(read_blind_replications(args.out), args.candidate, args.rivals)
    write_csv(args.table or args.out.with_suffix(".csv"), rows)
    print(blind_markdown(rows))


if __name__ == "__main__":
    main()
