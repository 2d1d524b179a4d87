"""What experience from earlier studies is worth: `python -m benchmarks.experience --help`.

Leave-one-out over families of related tables: each table in turn is the study, and each other one
of its family is an earlier study of 50 trials, made once (`benchmarks.experience_tasks`). The
methods are the sampler without and with these sources, with sources that take the worst for the
best, with guesses of a person, and samplers of Optuna to which the best configurations of three
sources are enqueued. `rocket:PATH` and `rocket_sources:PATH` play the checkpoint at a path.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import optuna
from optuna.samplers import BaseSampler

from benchmarks import experience_tasks
from benchmarks.aggregate import arrange
from benchmarks.aggregate import bootstrap_interval
from benchmarks.aggregate import family_weights
from benchmarks.aggregate import paired_difference
from benchmarks.aggregate import weighted_mean
from benchmarks.cells import Cell
from benchmarks.cells import add_options
from benchmarks.cells import complete
from benchmarks.cells import select_problems
from benchmarks.experience_tasks import load_task
from benchmarks.methods import method_label
from benchmarks.problems import PROBLEM_NAMES
from benchmarks.problems import Parameter
from benchmarks.problems import Problem
from benchmarks.records import Replication
from benchmarks.records import read_replications
from benchmarks.report import markdown_rows
from benchmarks.run import measure
from benchmarks.workers import in_workers
from optuna_rocket import RocketSampler


N_ENQUEUED = 3
_AT = (10, 15, 25, 50, 100)
_PER_FAMILY = 3
_GUESS_QUANTILE = 0.1


def _rocket(problem: Problem, seed: int, **arguments: Any) -> BaseSampler:
    return RocketSampler(seed=seed, **arguments)


def _with_sources(
    problem: Problem, seed: int, kind: str = "honest", **arguments: Any
) -> BaseSampler:
    studies = experience_tasks.earlier_studies(problem.name, kind)
    return RocketSampler(seed=seed, source_studies=studies, **arguments)


def _with_guesses(problem: Problem, seed: int, quality: str) -> BaseSampler:
    return RocketSampler(seed=seed, priors=guesses(problem, quality, seed))


def _with_both(problem: Problem, seed: int) -> BaseSampler:
    return _with_sources(problem, seed, priors=guesses(problem, "good", seed))


def _optuna(name: str, problem: Problem, seed: int) -> BaseSampler:
    sampler: BaseSampler = getattr(optuna.samplers, name)(seed=seed)
    return sampler


METHODS: dict[str, Callable[[Problem, int], BaseSampler]] = {
    "rocket": _rocket,
    "rocket_sources": _with_sources,
    "rocket_reversed": partial(_with_sources, kind="reversed"),
    "rocket_shuffled": partial(_with_sources, kind="shuffled"),
    "rocket_unrelated": partial(_with_sources, kind="unrelated"),
    "rocket_poisoned": partial(_with_sources, kind="poisoned"),
    "rocket_enqueued": _rocket,
    "tpe_enqueued": partial(_optuna, "TPESampler"),
    "gp_enqueued": partial(_optuna, "GPSampler"),
    "rocket_good_priors": partial(_with_guesses, quality="good"),
    "rocket_useless_priors": partial(_with_guesses, quality="useless"),
    "rocket_misleading_priors": partial(_with_guesses, quality="misleading"),
    "rocket_sources_good_priors": _with_both,
}
_TUNABLE = {"rocket": _rocket, "rocket_sources": _with_sources}


def _sampler_of(method: str) -> Callable[[Problem, int], BaseSampler]:
    """Return what makes the sampler of a method, or of `NAME:PATH` with a checkpoint's path."""
    name, _, path = method.partition(":")
    return partial(_TUNABLE[name], checkpoint=path) if path else METHODS[method]


def _is_known(method: str) -> bool:
    name, _, path = method.partition(":")
    return name in (_TUNABLE if path else METHODS)


def guesses(problem: Problem, quality: str, seed: int) -> dict[str, Any]:
    """A person's guesses for all parameters of a table.

    Args:
        problem: The table.
        quality: ``good``: the values of one of the best hundredth of its configurations;
            ``misleading``: of one of the worst tenth; ``useless``: of any one.
        seed: Which one.
    """
    rng = np.random.default_rng([seed, 77])
    order = np.argsort(problem.true_values)
    n = len(order)
    parts = {"good": (0, n // 100), "useless": (0, n), "misleading": (n * 9 // 10, n)}
    first, last = parts[quality]
    row = int(order[rng.integers(first, max(last, first + 1))])
    indices = np.unravel_index(row, problem.shape)
    return {
        parameter.name: _guess(parameter, int(index))
        for parameter, index in zip(problem.parameters, indices, strict=True)
    }


def _guess(parameter: Parameter, index: int) -> Any:
    return index if parameter.is_ordinal else parameter.choices[index]


def _measure_cell(cell: Cell) -> Replication:
    problem = load_task(cell.problem)
    enqueued: list[dict[str, Any]] = []
    if cell.method.endswith("_enqueued"):
        studies = experience_tasks.earlier_studies(problem.name)
        enqueued = experience_tasks.favourites(studies, N_ENQUEUED)
    make = partial(_sampler_of(cell.method), problem)
    return measure(problem, method_label(cell.method), make, cell.seed, cell.n_trials, enqueued)


def measure_in_workers(cells: list[Cell], jobs: int) -> Iterator[Replication]:
    """Return the replications of the cells as they end."""
    return in_workers(_measure_cell, cells, jobs)


def summary(replications: Sequence[Replication]) -> list[dict[str, Any]]:
    """One row per method and family: mean regret, and what it is against `rocket`."""
    results = arrange(replications)
    rows = []
    for method in results.methods:
        curves = results.curves(method)
        families = dict.fromkeys(results.families[problem] for problem in curves)
        for family in ("all", *families):
            inside = {
                problem: curve
                for problem, curve in curves.items()
                if family in ("all", results.families[problem])
            }
            weights = family_weights(inside, results.families)
            row: dict[str, Any] = {
                "method": method,
                "family": family,
                "studies": sum(len(curve) for curve in inside.values()),
            }
            row |= _at(weighted_mean(inside, weights), "")
            if method != "rocket" and "rocket" in results.methods:
                gap = {
                    problem: curve
                    for problem, curve in paired_difference(results, method, "rocket").items()
                    if problem in inside
                }
                weights = family_weights(gap, results.families)
                low, high = bootstrap_interval(gap, weights)
                row |= _at(weighted_mean(gap, weights), "against rocket ")
                row |= _at(low, "low ") | _at(high, "high ")
            times = [x.ms_per_trial for x in replications if x.method == method]
            row["ms_per_trial"] = round(float(np.mean(times)), 1)
            rows.append(row)
    return rows


def differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the methods of a summary are against `rocket`, with 95 % intervals, as text."""
    shown = []
    for row in rows:
        found = {"method": row["method"], "family": row["family"]}
        for t in _AT:
            if f"low @{t}" in row:
                gap, low, high = (row[f"{x} @{t}"] for x in ("against rocket", "low", "high"))
                found[f"@{t}"] = f"{gap:+.3f} [{low:.3f}, {high:.3f}]"
        if len(found) > 2:
            shown.append(found)
    return shown


def _at(curve: NDArray[np.float64], label: str) -> dict[str, float]:
    return {f"{label}@{t}": round(float(curve[t - 1]), 3) for t in _AT if t <= len(curve)}


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experience", description=__doc__)
    results = "benchmarks/results/experience.jsonl"
    add_options(parser, list(METHODS), results)
    parser.add_argument("--problems", nargs="+", default=["all"], help="all, families or problems")
    parser.add_argument(
        "--development",
        choices=["small", "large"],
        help="families of the development suite instead, of many small or few large tasks",
    )
    parser.add_argument("--tasks", type=int, default=_PER_FAMILY, help="of a development family")
    args = parser.parse_args(argv)
    unknown = [method for method in args.methods if not _is_known(method)]
    if unknown:
        parser.error(f"unknown methods {unknown}; choose from {', '.join(METHODS)}")
    if args.development:
        is_large = args.development == "large"
        problems = experience_tasks.development_tasks(args.tasks, are_large=is_large)
        args.out = args.out.with_stem(f"{args.out.stem}_{args.development}")
    else:
        problems = select_problems(args.problems, PROBLEM_NAMES)
    cells = [
        Cell(problem, method, seed, args.trials)
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for problem in problems
        for method in args.methods
    ]
    complete(args, cells, lambda missing: measure_in_workers(missing, args.jobs))
    rows = summary(read_replications(args.out))
    _write(args.out.with_suffix(".csv"), rows)
    shown = ("method", "family", "studies", *(f"@{t}" for t in _AT), "ms_per_trial")
    print(markdown_rows([{name: row.get(name, "") for name in shown} for row in rows]))
    if compared := differences(rows):
        names = list(dict.fromkeys(name for row in compared for name in row))
        print("\nAgainst rocket on the same studies, with 95 % intervals:\n")
        print(markdown_rows([{name: row.get(name, "") for name in names} for row in compared]))


if __name__ == "__main__":
    main()
