"""Run methods where samplers are blind: `python -m benchmarks.blind_spots --help`.

A replication that is already in the output file is not run again: see `benchmarks.cells`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import time

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from benchmarks.axes import Array
from benchmarks.blind_problems import BlindProblem
from benchmarks.blind_suite import BLIND_PROBLEM_NAMES
from benchmarks.blind_suite import FOUND_PROBLEM_NAMES
from benchmarks.blind_suite import load_blind_problem
from benchmarks.blind_summary import blind_markdown
from benchmarks.blind_summary import blind_rows
from benchmarks.cells import Cell
from benchmarks.cells import add_options
from benchmarks.cells import add_summary_options
from benchmarks.cells import complete
from benchmarks.cells import select_problems
from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.methods import method_label
from benchmarks.problems import incumbent_curve
from benchmarks.problems import noise_generator
from benchmarks.records import BlindReplication
from benchmarks.records import read_blind_replications
from benchmarks.records import rounded
from benchmarks.report import write_csv
from benchmarks.run import versions
from benchmarks.workers import in_workers


METHODS = ("random", "tpe", "gp", "rocket")


class Objective:
    """A problem as an Optuna objective; counts its own time and records the points.

    Args:
        problem: The problem.
        seed: The seed of the replication.
    """

    def __init__(self, problem: BlindProblem, seed: int) -> None:
        self._problem = problem
        self._seed = seed
        self.seconds = 0.0
        self.points: dict[int, Array] = {}
        self.unintended: list[str] = []

    def __call__(self, trial: optuna.Trial) -> float:
        """Return one observed value, or fail or be pruned as the problem has it."""
        try:
            point = self._problem.terrain.suggest(trial)
        except Exception as error:
            self.unintended.append(type(error).__name__)
            raise
        self.points[trial.number] = point
        start = time.perf_counter()
        try:
            generator = noise_generator(self._problem.name, self._seed, trial.number)
            return self._problem.observe(trial, point, generator)
        finally:
            self.seconds += time.perf_counter() - start


def measure(
    problem: BlindProblem,
    method: str,
    make: Callable[[int], BaseSampler],
    seed: int,
    n_trials: int,
) -> BlindReplication:
    """Run one replication.

    Args:
        problem: The problem.
        method: The method's name in the results.
        make: Returns the sampler for a seed.
        seed: The seed of the sampler and of the noise.
        n_trials: The number of trials.
    """
    objective = Objective(problem, seed)
    study = optuna.create_study(sampler=make(seed), pruner=problem.pruner())
    start = time.perf_counter()
    try:
        study.optimize(objective, n_trials=n_trials, catch=Exception)
    except Exception as error:  # of the sampler, before the objective was called
        objective.unintended.append(type(error).__name__)
    seconds = time.perf_counter() - start - objective.seconds
    found = {trial.number: trial for trial in study.trials}
    trials = [found.get(number) for number in range(n_trials)]
    evaluations = [_evaluation(problem, objective.points, trial) for trial in trials]
    tried = [None if pair is None else (pair[0], pair[0]) for pair in evaluations]
    states = [trial.state for trial in found.values() if trial.number in objective.points]
    return BlindReplication(
        problem=problem.name,
        family=problem.family,
        method=method,
        seed=seed,
        n_trials=n_trials,
        regret=rounded(incumbent_curve(evaluations)),
        sampler_seconds=round(seconds, 4),
        ms_per_trial=round(1000 * seconds / n_trials, 4),
        error=n_trials - len(objective.points),
        error_type=objective.unintended[0] if objective.unintended else None,
        versions=versions(),
        tried_regret=rounded(incumbent_curve(tried)),
        failed_share=round(states.count(TrialState.FAIL) / n_trials, 6),
        n_pruned=states.count(TrialState.PRUNED),
        epochs=[len(trial.intermediate_values) if trial else 0 for trial in trials],
    )


def _evaluation(
    problem: BlindProblem, points: dict[int, Array], trial: FrozenTrial | None
) -> tuple[float, float] | None:
    if trial is None or trial.state != TrialState.COMPLETE or trial.value is None:
        return None
    return problem.normalised_regret(points[trial.number]), trial.value


def _measure_cell(cell: Cell) -> BlindReplication:
    return measure(
        load_blind_problem(cell.problem),
        method_label(cell.method),
        lambda seed: make_sampler(cell.method, seed),
        cell.seed,
        cell.n_trials,
    )


def _measure_in_workers(cells: list[Cell], jobs: int) -> Iterator[BlindReplication]:
    return in_workers(_measure_cell, cells, jobs)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blind_spots", description=__doc__)
    add_options(parser, METHODS, "benchmarks/results/blind_spots.jsonl", seeds=10, trials=60)
    parser.add_argument("--problems", nargs="+", default=["all"], help="all, families or problems")
    add_summary_options(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: fill the file, then summarise all that it holds."""
    args = _parse(argv)
    cells = [
        Cell(problem, check_method(method), seed, args.trials)
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for problem in select_problems(args.problems, BLIND_PROBLEM_NAMES + FOUND_PROBLEM_NAMES)
        for method in args.methods
    ]
    complete(args, cells, lambda missing: _measure_in_workers(missing, args.jobs))
    rows = blind_rows(read_blind_replications(args.out), args.candidate, args.rivals)
    write_csv(args.table or args.out.with_suffix(".csv"), rows)
    print(blind_markdown(rows))


if __name__ == "__main__":
    main()
