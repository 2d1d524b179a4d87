"""What the experts' recipes reach on the deep-learning tasks: ``python -m benchmarks.experts``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import Literal

import numpy as np
import torch

from benchmarks.cells import select_problems
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.pruning_summary import write_table


PATH = Path("benchmarks/results/experts.csv")
PARTS: tuple[Literal["validation", "test"], ...] = ("validation", "test")


def expert_row(task: Task, seeds: Sequence[int]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of the recipe's score on both parts."""
    everything = np.arange(len(task.splits.train))
    row: dict[str, Any] = {"task": task.name, "seeds": len(seeds)}
    seconds = []
    for part in PARTS:
        results = [task.evaluate(task.expert, everything, seed, part) for seed in seeds]
        scores = [result.score for result in results]
        seconds += [result.seconds for result in results]
        row[part] = round(float(np.mean(scores)), 4)
        row[f"{part}_sd"] = round(float(np.std(scores)), 4)
    return row | {"seconds": round(float(np.median(seconds)), 2), "source": task.source}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: one line per task."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experts", description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=["all"], help="all, families or tasks")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=PATH)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = []
    for name in select_problems(args.tasks, list(TASKS)):
        rows.append(expert_row(TASKS[name], range(args.seeds)))
        print(rows[-1], flush=True)
    write_table(args.out, rows)


if __name__ == "__main__":
    main()
