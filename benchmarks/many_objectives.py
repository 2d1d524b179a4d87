"""Several objectives, and constraints: `python -m benchmarks.many_objectives --help`.

Fills a file like `benchmarks.run` and prints the summary of all that the file holds. The number
is 1 minus the share of the reachable hypervolume (`benchmarks.goal_problems`) of the feasible
trials so far, by their values without noise; with one objective this is the normalised regret of
the best feasible trial, and 1 before there is one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
import time
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection

from benchmarks.aggregate import arrange
from benchmarks.cells import Cell
from benchmarks.cells import add_options
from benchmarks.cells import complete
from benchmarks.cells import select_problems
from benchmarks.comparison import summary_rows
from benchmarks.front_twins import FRONT_TWINS
from benchmarks.goal_problems import GOAL_PROBLEMS
from benchmarks.goal_problems import MANY_PROBLEMS
from benchmarks.goal_problems import GoalProblem
from benchmarks.goal_problems import load_goal_problem
from benchmarks.goal_twins import TWINS
from benchmarks.methods import make_sampler
from benchmarks.rare_problems import RARE_PROBLEMS
from benchmarks.records import GoalReplication
from benchmarks.records import read_goal_replications
from benchmarks.records import rounded
from benchmarks.report import markdown
from benchmarks.report import write_csv
from benchmarks.run import versions
from benchmarks.workers import in_workers


# Besides those of `benchmarks.methods`: Optuna's default for several objectives, and TPE with and
# without its dependence between parameters. Left to itself (`tpe`), TPE has it for one objective
# and not for several.
_OWN: dict[str, Callable[[int], BaseSampler]] = {
    "nsga2": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
    "tpe_multivariate": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True),
    "tpe_univariate": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=False),
}
_METHODS = ("random", "tpe", "tpe_multivariate", "tpe_univariate", "nsga2", "rocket")


def make_goal_sampler(method: str, seed: int) -> BaseSampler:
    """Return the sampler of a method: those of `benchmarks.methods` and this file's own."""
    make = _OWN.get(method)
    return make(seed) if make else make_sampler(method, seed)


class Objective:
    """A problem as an Optuna objective; remembers what its trials were worth.

    Args:
        problem: The problem.
        seed: The seed of the noise.
    """

    def __init__(self, problem: GoalProblem, seed: int) -> None:
        self._problem = problem
        self._seed = seed
        self.seconds = 0.0
        self.feasible: dict[int, Any] = {}
        self.n_run = 0

    def __call__(self, trial: optuna.Trial) -> tuple[float, ...]:
        """Return the observed objective values, and set the constraints."""
        values, limits = self._problem.evaluate(trial)
        start = time.perf_counter()
        for k, limit in enumerate(limits):
            trial.set_constraint(f"c{k}", float(limit))
        if all(limit <= 0 for limit in limits):
            self.feasible[trial.number] = values
        observe = self._problem.observe
        observed = values if observe is None else observe(trial, self._seed)
        self.n_run += 1
        self.seconds += time.perf_counter() - start
        return tuple(map(float, observed))

    def curve(self, n_trials: int) -> list[float | None]:
        """Return 1 minus the share of the hypervolume, after every trial."""
        curve: list[float | None] = []
        points: list[Any] = []
        for number in range(n_trials):
            share = curve[-1] if curve else 1.0
            if number in self.feasible:
                points.append(self.feasible[number])
                share = max(0.0, 1 - self._problem.share(np.array(points)))
            curve.append(share)
        return curve


def measure(
    problem: GoalProblem, method: str, sampler: BaseSampler, seed: int, n_trials: int
) -> GoalReplication:
    """Run one replication; a trial in which the sampler raises counts as failed.

    Args:
        problem: The problem.
        method: The method's name in the results.
        sampler: The sampler.
        seed: The seed of the noise.
        n_trials: The number of trials.
    """
    objective = Objective(problem, seed)
    directions = [StudyDirection.MINIMIZE] * problem.n_objectives
    study = optuna.create_study(directions=directions, sampler=sampler)
    start = time.perf_counter()
    study.optimize(objective, n_trials=n_trials, catch=Exception)
    seconds = time.perf_counter() - start - objective.seconds
    return GoalReplication(
        problem=problem.name,
        family=problem.name.split("/")[0],
        method=method,
        seed=seed,
        n_trials=n_trials,
        regret=rounded(objective.curve(n_trials)),
        sampler_seconds=round(seconds, 4),
        ms_per_trial=round(1000 * seconds / n_trials, 4),
        error=n_trials - objective.n_run,
        error_type=None,
        versions=versions(),
        n_objectives=problem.n_objectives,
        feasible_share=round(len(objective.feasible) / n_trials, 4),
    )


def _measure_cell(cell: Cell) -> GoalReplication:
    sampler = make_goal_sampler(cell.method, cell.seed)
    problem = load_goal_problem(cell.problem)
    return measure(problem, cell.method, sampler, cell.seed, cell.n_trials)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_objectives")
    add_options(parser, _METHODS, "benchmarks/results/many_objectives.jsonl")
    parser.add_argument(
        "--problems",
        nargs="+",
        default=["all"],
        help="all, families or problems; not of all are many, rare (hardly anything is feasible) "
        "and the development families twin and front_twin",
    )
    parser.add_argument("--candidate", default="rocket", help="compared with each other method")
    parser.add_argument("--table", type=Path, help="the summary as CSV, beside --out by default")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = _parse(argv)
    known = (
        GOAL_PROBLEMS
        if "all" in args.problems
        else (*GOAL_PROBLEMS, *MANY_PROBLEMS, *RARE_PROBLEMS, *TWINS, *FRONT_TWINS)
    )
    cells = [
        Cell(problem, method, seed, args.trials)
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for problem in select_problems(args.problems, known)
        for method in args.methods
    ]
    complete(args, cells, lambda missing: in_workers(_measure_cell, missing, args.jobs))
    results = arrange(read_goal_replications(args.out))
    rows = summary_rows(results, args.candidate if args.candidate in results.regret else None)
    write_csv(args.table or args.out.with_suffix(".csv"), rows)
    print(markdown(rows))


if __name__ == "__main__":
    main()
