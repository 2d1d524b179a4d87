"""Tuning of real networks on real data, full data against subsets: ``python -m benchmarks.live``.

Every training is done once and kept (``benchmarks.evaluations``); studies run through the real
samplers, evaluator and pruners, and their clock adds up what was measured in that training. A
study that is in the output file already is not run again, and an interrupted one repeats its
trainings from the file, so the same command continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import TrialState
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks import sisters
from benchmarks.cells import select_problems
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.evaluations import FOLDER as EVALUATIONS
from benchmarks.evaluations import Evaluations
from benchmarks.live_objective import RATE
from benchmarks.live_objective import Objective
from benchmarks.live_objective import storable
from benchmarks.records import append_line
from benchmarks.records import drop_half_line
from benchmarks.records import read_lines
from benchmarks.run import versions
from benchmarks.subset_grids import parse_method
from benchmarks.subset_grids import subset_evaluator
from optuna_rocket import RocketPruner
from optuna_rocket import SubsetEvaluator


# A study that stops nearly everything at once ends here, before its budget is spent.
MAX_TRIALS = 400
PATH = Path("benchmarks/results/live.jsonl")
LIVE_TASKS = ("images/mnist", "audio/noisy_digits", "texts/ag_news", "audio/spoken_digits")

# Pruners by the report steps; without subsets ("none") only the full data is evaluated.
PRUNERS: dict[str, Callable[[Sequence[int]], BasePruner]] = {
    "none": lambda steps: optuna.pruners.NopPruner(),
    "all": lambda steps: optuna.pruners.NopPruner(),
    "hyperband": lambda steps: optuna.pruners.HyperbandPruner(
        min_resource=steps[0], max_resource=steps[-1], reduction_factor=3
    ),
    "rocket": lambda steps: RocketPruner(),
}
_WITH_RISK = "rocket@"
METHODS = (
    "tpe+none",
    "gp+none",
    "rocket+none",
    "rocket+rocket",
    "tpe+rocket",
    "tpe+hyperband",
    "random+none",
    "random+all:4",
)


@dataclass(frozen=True)
class LiveReplication:
    """One study of a method on a task.

    Attributes:
        task: Name of the task.
        method: ``SAMPLER+PRUNER``; with ``none`` every trial is on the full data, with ``all`` on
            every subset. Subsets are a ninth of the data and all of it; with ``:4`` at the end
            also 1/27 and 1/3; with ``:warm`` a training begins with what the smaller one left.
        seed: Seed of the sampler and of every training.
        budget: In full evaluations: of trials with ``none``, of examples processed otherwise.
        sizes: Numbers of examples of the subsets.
        full_examples: Examples that a full evaluation processes.
        states: Trial states, a letter each: complete, pruned, failed.
        reports: Validation score on each subset that a trial saw; None where training failed.
        examples: Clock at the end of every trial: examples processed.
        seconds: The same in seconds of processor time.
        best: Number of the trial with the best full-data score, None if none is complete.
        test: Score of that trial's model on the test part.
        audit: Full-data score of some pruned trials, drawn at random, as if they had gone on.
        overhead: Seconds of the study without the objective.
        versions: Of Python and the packages that matter.
        answer: Hyperparameters of the best trial; not kept by the oldest records.
        exponent: What the study found in the end for the rate on subsets, None if it did not.
    """

    task: str
    method: str
    seed: int
    budget: int
    sizes: list[int]
    full_examples: int
    states: str
    reports: list[list[float | None]]
    examples: list[int]
    seconds: list[float]
    best: int | None
    test: float | None
    audit: dict[str, float | None]
    overhead: float
    versions: dict[str, str]
    answer: dict[str, Any] | None = None
    exponent: float | None = None


def measure(
    task: Task,
    method: str,
    seed: int,
    budget: int,
    n_audited: int,
    evaluations: Evaluations,
    storage: str | None = None,
    earlier: Sequence[optuna.Study] = (),
) -> LiveReplication:
    """Run one study.

    Args:
        task: The task.
        method: ``SAMPLER+PRUNER``.
        seed: Of the sampler and of every training.
        budget: In full evaluations.
        n_audited: How many pruned trials are trained on the full data afterwards.
        evaluations: Where trainings are kept.
        storage: URL of a database for the study, in place of what it held of it; None for memory.
        earlier: Studies of other tasks, for the methods of ``benchmarks.sisters``.
    """
    meant = parse_method(method)
    pruner, n_train = meant.pruner, len(task.splits.train)
    scale = {RATE: 0.0} if meant.is_scaled else None
    strata = task.splits.subset_strata
    subsets = subset_evaluator(strata, meant.n_subsets, task.min_fraction, scale)
    # Hyperband draws brackets from the name; in a database that must tell methods apart.
    name = f"{task.name} {seed}" if storage is None else f"{task.name} {method} {seed}"
    if storage is not None and name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction="maximize",
        sampler=sisters.make_sampler(meant.sampler, seed, earlier),
        pruner=_make_pruner(pruner, subsets.sizes),
    )
    for params in sisters.first_trials(meant.sampler, earlier, task):
        study.enqueue_trial(params)
    shown = None if pruner == "none" else subsets
    objective = Objective(task, evaluations, seed, shown, meant.is_warm)
    full = evaluations.get(task, task.expert, np.arange(n_train), seed).n_examples
    start = time.perf_counter()
    while _goes_on(objective, pruner, budget, full):
        study.optimize(objective, n_trials=1)
    overhead = time.perf_counter() - start - objective.own_seconds
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = study.best_trial.number if complete else None
    return LiveReplication(
        task=task.name,
        method=method,
        seed=seed,
        budget=budget,
        sizes=list(subsets.sizes),
        full_examples=full,
        states="".join(trial.state.name[0] for trial in trials),
        reports=objective.reports,
        examples=objective.examples,
        seconds=objective.seconds,
        best=best,
        test=None if best is None else storable(objective.full_score(best, "test")),
        audit={
            str(number): storable(objective.full_score(number))
            for number in _audited(trials, n_audited, seed)
        },
        overhead=round(overhead, 3),
        versions=versions(),
        answer=None if best is None else objective.params[best],
        exponent=_exponent(subsets, study),
    )


def _exponent(subsets: SubsetEvaluator, study: optuna.Study) -> float | None:
    found = subsets.exponents(study).get(RATE)
    return None if found is None else round(found.value, 4)


def _goes_on(objective: Objective, pruner: str, budget: int, full: int) -> bool:
    n_trials = len(objective.examples)
    if pruner in ("none", "all") or n_trials == 0:
        return n_trials < budget
    return objective.examples[-1] < budget * full and n_trials < MAX_TRIALS


def _audited(trials: Sequence[optuna.trial.FrozenTrial], n: int, seed: int) -> list[int]:
    pruned = [trial.number for trial in trials if trial.state == TrialState.PRUNED]
    rng = np.random.default_rng(seed)
    return sorted(rng.choice(pruned, min(n, len(pruned)), replace=False).tolist())


def _make_pruner(name: str, steps: Sequence[int]) -> BasePruner:
    if name.startswith(_WITH_RISK):
        return RocketPruner(risk=float(name.removeprefix(_WITH_RISK)))
    return PRUNERS[name](steps)


def check_live_method(method: str) -> str:
    """Return a method's name if it can be run.

    Raises:
        ValueError: If its sampler, pruner or number of subsets is unknown.
    """
    meant = parse_method(method)
    if meant.pruner not in PRUNERS and not meant.pruner.startswith(_WITH_RISK):
        known = ",".join([*PRUNERS, f"{_WITH_RISK}RISK"])
        raise ValueError(f"Unknown pruner in {method!r}. Use SAMPLER+{{{known}}}.")
    sisters.check_method(meant.sampler)
    return method


def read_live_replications(path: Path) -> list[LiveReplication]:
    """Return the studies of a file, without a half-written last line."""
    return [LiveReplication(**line) for line in read_lines(path)]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=__doc__)
    parser.add_argument(
        "--tasks", nargs="+", default=list(LIVE_TASKS), help="all, families or tasks"
    )
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="SAMPLER+PRUNER")
    parser.add_argument("--seeds", type=int, default=3, help="number of replications")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=40, help="full evaluations per study")
    parser.add_argument("--audit", type=int, default=8, help="pruned trials trained to the end")
    parser.add_argument("--out", type=Path, default=PATH)
    parser.add_argument("--evaluations", type=Path, default=EVALUATIONS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: the studies that the file does not hold."""
    args = _parse(argv)
    methods = [check_live_method(method) for method in args.methods]
    if any(sisters.uses_sisters(parse_method(method).sampler) for method in methods):
        raise SystemExit("Earlier studies are for benchmarks.expert_level, with --sources.")
    names = select_problems(args.tasks, list(TASKS))
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    drop_half_line(args.out)
    done = {(x.task, x.method, x.seed, x.budget) for x in read_live_replications(args.out)}
    evaluations = Evaluations(args.evaluations)
    # Seeds come first, so that an interrupted run holds whole replications.
    studies = [
        (name, method, seed, args.budget)
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for name in names
        for method in methods
    ]
    for study in tqdm([x for x in studies if x not in done], unit="study"):
        name, method, seed, budget = study
        replication = measure(TASKS[name], method, seed, budget, args.audit, evaluations)
        append_line(args.out, asdict(replication))
    print(f"{len(studies)} studies in {args.out}")


if __name__ == "__main__":
    main()
