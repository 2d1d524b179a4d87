"""From nothing to an expert's level on deep-learning tasks: ``python -m benchmarks.expert_level``.

Studies are those of ``benchmarks.live``, of methods at equal cost, in parallel processes: one task
and seed at a time each, so that every file of evaluations has one writer. The final answer is
trained again with other seeds and scored on the test part. What the output file holds is not run
again, and trainings are kept, so the same command continues an interrupted one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sisters
from benchmarks.cells import select_problems
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.evaluations import FOLDER
from benchmarks.evaluations import Evaluations
from benchmarks.live import LiveReplication
from benchmarks.live import check_live_method
from benchmarks.live import measure
from benchmarks.live_objective import storable
from benchmarks.records import append_line
from benchmarks.records import drop_half_line
from benchmarks.records import read_lines
from benchmarks.subset_grids import parse_method
from benchmarks.workers import in_workers


PATH = Path("benchmarks/results/expert_level.jsonl")
METHODS = (
    "random+none",
    "tpe+none",
    "rocket+none",
    "rocket+rocket",
    "tpe+hyperband",
    "gp+none",
)
_N_TEST_SEEDS = 3


@dataclass(frozen=True)
class Assignment:
    """What one process does at a time: some methods on a task with a seed.

    Attributes:
        task: Name of the task.
        methods: ``SAMPLER+PRUNER`` of every study.
        seed: Of the samplers and of the trainings.
        budget: In full evaluations per study.
        evaluations: Folder where trainings are kept.
        storage: URL of a database for the studies, None for memory.
        sources: URL of a database with studies of the task's sisters, None if there is none.
    """

    task: str
    methods: tuple[str, ...]
    seed: int
    budget: int
    evaluations: Path
    storage: str | None
    sources: str | None = None


def run(assignment: Assignment) -> list[dict[str, Any]]:
    """Run the studies of an assignment; returns the lines of the output file."""
    x = assignment
    evaluations, task = Evaluations(x.evaluations), TASKS[x.task]
    earlier = sisters.studies_of(x.sources, task) if x.sources else []
    lines = []
    for method in x.methods:
        study = measure(task, method, x.seed, x.budget, 0, evaluations, x.storage, earlier)
        lines.append(asdict(study) | {"answer_tests": _test_scores(study, evaluations)})
    return lines


def _test_scores(study: LiveReplication, evaluations: Evaluations) -> list[float | None]:
    """Scores of the final answer on the test part, trained with the study's seed and the next."""
    if study.answer is None:
        return []
    task = TASKS[study.task]
    everything = np.arange(len(task.splits.train))
    return [
        storable(evaluations.get(task, study.answer, everything, seed, "test").score)
        for seed in range(study.seed, study.seed + _N_TEST_SEEDS)
    ]


def assignments(
    args: argparse.Namespace, seed: int, done: set[tuple[Any, ...]]
) -> list[Assignment]:
    """What is not done yet of a seed."""
    result = []
    for task in select_problems(args.tasks, list(TASKS)):
        methods = tuple(m for m in args.methods if (task, m, seed, args.budget) not in done)
        if methods:
            kept = (args.evaluations, args.storage, args.sources)
            result.append(Assignment(task, methods, seed, args.budget, *kept))
    return result


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.expert_level", description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["all"], help="all, families or tasks")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="SAMPLER+PRUNER")
    parser.add_argument("--seeds", type=int, default=1, help="number of replications")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=50, help="full evaluations per study")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--storage", help="URL of a database that keeps the studies")
    parser.add_argument("--sources", help="such a database, for methods that know sisters")
    parser.add_argument("--out", type=Path, default=PATH)
    parser.add_argument("--evaluations", type=Path, default=FOLDER)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: the studies that the file does not hold."""
    args = _parse(argv)
    for method in args.methods:
        check_live_method(method)
        if sisters.uses_sisters(parse_method(method).sampler) and not args.sources:
            raise SystemExit(f"{method} knows earlier studies. Name their --sources.")
    drop_half_line(args.out)
    done = {(x["task"], x["method"], x["seed"], x["budget"]) for x in read_lines(args.out)}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        # One seed after the other: within one, no two processes share a task and its file.
        for lines in in_workers(run, assignments(args, seed, done), args.jobs):
            for line in lines:
                append_line(args.out, line)
    print(f"{len(read_lines(args.out))} studies in {args.out}")


if __name__ == "__main__":
    main()
