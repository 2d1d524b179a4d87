"""Pruners on partial results with known truth, on a simulated clock.

``python -m benchmarks.pruning --help``. The clock counts full evaluations: an epoch costs its
share of a training, a subset its share of the data. Subsets are a ninth of the data and all of it;
``METHOD:4`` has 1/27, 1/9, 1/3 and all. Each is trained from the start; with ``METHOD:warm`` a
training goes on from the smaller subset's, so that what that cost is saved.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from functools import cache
import time

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from benchmarks.aggregate import Array
from benchmarks.cells import Cell
from benchmarks.cells import add_options
from benchmarks.cells import complete
from benchmarks.cells import select_problems
from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.partial_problems import DEV_PREFIX
from benchmarks.partial_problems import FOUND_PROBLEM_NAMES
from benchmarks.partial_problems import N_EXAMPLES
from benchmarks.partial_problems import PARTIAL_PROBLEM_NAMES
from benchmarks.partial_problems import PartialProblem
from benchmarks.partial_problems import load_partial_problem
from benchmarks.problems import noise_generator
from benchmarks.pruning_summary import pruning_markdown
from benchmarks.pruning_summary import pruning_rows
from benchmarks.pruning_summary import write_table
from benchmarks.records import PruningReplication
from benchmarks.records import read_pruning_replications
from benchmarks.records import rounded
from benchmarks.run import versions
from benchmarks.subset_grids import parse_method
from benchmarks.subset_grids import subset_evaluator
from benchmarks.workers import in_workers
from optuna_rocket import RocketPruner
from optuna_rocket import SubsetEvaluator


# A study that stops nearly everything at once ends here, before its budget is spent.
MAX_TRIALS = 400
_TOP_SHARE = 0.05
_N_RANDOM = 2**14

PRUNERS: dict[str, Callable[[PartialProblem], BasePruner]] = {
    "none": lambda problem: optuna.pruners.NopPruner(),
    "median": lambda problem: optuna.pruners.MedianPruner(),
    "halving": lambda problem: optuna.pruners.SuccessiveHalvingPruner(
        min_resource=problem.steps[0], reduction_factor=3
    ),
    "hyperband": lambda problem: optuna.pruners.HyperbandPruner(
        min_resource=problem.steps[0], max_resource=problem.steps[-1], reduction_factor=3
    ),
    "rocket": lambda problem: RocketPruner(),
}
METHODS = ("tpe+rocket", "tpe+hyperband", "tpe+halving", "tpe+median", "tpe+none")


class Simulation:
    """The objective of one study, with a clock that counts full evaluations.

    Args:
        problem: The problem.
        seed: Seed of the noise.
        subsets: The subsets that are looked at, where the problem has subsets; None if no partial
            result is looked at, or paid for.
        is_warm: Whether a subset's training goes on from the smaller one's.
    """

    def __init__(
        self,
        problem: PartialProblem,
        seed: int,
        subsets: SubsetEvaluator | None,
        is_warm: bool = False,
    ) -> None:
        self._problem, self._seed, self._subsets = problem, seed, subsets
        self._is_warm = is_warm
        self.clock = 0.0
        self.true_values: list[float] = []
        self.finals: list[float] = []  # what trials return, or would have returned
        self.clocks: list[float] = []

    def __call__(self, trial: optuna.Trial) -> float:
        """Report rung by rung and return the full result, or raise ``TrialPruned``."""
        problem = self._problem
        point = problem.landscape.suggest(trial)
        values = problem.observe(point, noise_generator(problem.name, self._seed, trial.number))
        self.true_values.append(float(problem.true_values(point[None])[0]))
        self.finals.append(float(values[-1]))
        start = self.clock
        try:
            if self._subsets is None:
                self.clock = start + 1.0
            elif problem.by_subset:
                for subset in self._subsets.subsets(trial):
                    rung = problem.steps.index(subset.step)
                    effort = float(problem.effort[rung])
                    self.clock += effort - (subset.carry or 0.0)
                    if self._is_warm:
                        subset.carry = effort
                    subset.report(float(values[rung]))
            else:
                self._epochs(trial, values, start)
        finally:
            self.clocks.append(self.clock)
        return float(values[-1])

    def _epochs(self, trial: optuna.Trial, values: Array, start: float) -> None:
        for rung, step in enumerate(self._problem.steps):
            self.clock = start + float(self._problem.costs[rung])
            trial.report(float(values[rung]), step)
            if rung < len(values) - 1 and trial.should_prune():
                raise optuna.TrialPruned


def prepare(problem: PartialProblem, method: str, seed: int) -> tuple[optuna.Study, Simulation]:
    """A study without trials and its objective.

    Args:
        problem: The problem.
        method: ``SAMPLER+PRUNER``, with endings such as ``:4``.
        seed: Seed of the sampler and of the noise.
    """
    meant = parse_method(method)
    study = optuna.create_study(
        study_name=f"{problem.name} {seed}",  # Hyperband draws brackets from the name
        sampler=make_sampler(meant.sampler, seed),
        pruner=PRUNERS[meant.pruner](problem),
    )
    evaluator = None if meant.pruner == "none" else subset_evaluator(N_EXAMPLES, meant.n_subsets)
    return study, Simulation(problem, seed, evaluator, meant.is_warm)


def measure(problem: PartialProblem, method: str, seed: int, budget: int) -> PruningReplication:
    """Run one study until its budget is spent.

    Args:
        problem: The problem.
        method: ``SAMPLER+PRUNER``, with endings such as ``:4``.
        seed: Seed of the sampler and of the noise.
        budget: In full evaluations.
    """
    study, simulation = prepare(problem, method, seed)
    start = time.perf_counter()
    while simulation.clock < budget and len(simulation.clocks) < MAX_TRIALS:
        study.optimize(simulation, n_trials=1)
    seconds = time.perf_counter() - start
    trials = study.get_trials(deepcopy=False)
    true = np.array(simulation.true_values)
    pruned = np.array([trial.state == TrialState.PRUNED for trial in trials])
    own_top = true <= np.quantile(true, _TOP_SHARE)
    regret: list[float | None] = []
    best = np.inf
    for trial, value in zip(trials, simulation.true_values, strict=True):
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            regret.append(value if trial.value < best else regret[-1])
            best = min(best, trial.value)
    return PruningReplication(
        problem=problem.name,
        family=problem.family,
        method=method,
        seed=seed,
        n_trials=budget,
        regret=rounded(regret),
        sampler_seconds=round(seconds, 4),
        ms_per_trial=round(1000 * seconds / len(trials), 4),
        error=0,
        error_type=None,
        versions=versions(),
        spent=[round(x, 4) for x in np.array(simulation.clocks)[~pruned].tolist()],
        n_run=len(trials),
        n_pruned=int(pruned.sum()),
        n_pruned_top=int((pruned & (true <= _top_value(problem))).sum()),
        n_pruned_own_top=int((pruned & own_top).sum()),
        n_own_top=int(own_top.sum()),
    )


@cache
def _top_value(problem: PartialProblem) -> float:
    """The value that 5 % of random configurations reach."""
    points = problem.landscape.sample(np.random.default_rng(0), _N_RANDOM)
    return float(np.quantile(problem.true_values(points), _TOP_SHARE))


def _check(method: str) -> str:
    meant = parse_method(method)
    if meant.pruner not in PRUNERS or meant.is_scaled:
        raise ValueError(f"Unknown pruner in {method!r}. Use SAMPLER+{{{','.join(PRUNERS)}}}.")
    check_method(meant.sampler)
    return method


def _measure_cell(cell: Cell) -> PruningReplication:
    return measure(load_partial_problem(cell.problem), cell.method, cell.seed, cell.n_trials)


def _measure_in_workers(cells: list[Cell], jobs: int) -> Iterator[PruningReplication]:
    return in_workers(_measure_cell, cells, jobs)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__)
    add_options(parser, METHODS, "benchmarks/results/pruning.jsonl", seeds=10, trials=80)
    parser.add_argument("--problems", nargs="+", default=["all"], help="all, families or problems")
    parser.add_argument(
        "--development", action="store_true", help="the twins on which defaults are chosen"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: fill the file, then summarise all that it holds."""
    args = _parse(argv)
    prefix = DEV_PREFIX if args.development else ""
    cells = [
        Cell(prefix + problem, _check(method), seed, args.trials)
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for problem in select_problems(args.problems, PARTIAL_PROBLEM_NAMES + FOUND_PROBLEM_NAMES)
        for method in args.methods
    ]
    complete(args, cells, lambda missing: _measure_in_workers(missing, args.jobs))
    rows = pruning_rows(read_pruning_replications(args.out))
    write_table(args.out.with_suffix(".csv"), rows)
    print(pruning_markdown(rows))


if __name__ == "__main__":
    main()
