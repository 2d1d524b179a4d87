"""Whether a subset tells more with another learning rate: ``python -m benchmarks.scaling``.

Configurations of full-data studies (random search, TPE and Rocket, seed 0) are trained on a ninth
of the data with their learning rate times ``fraction ** -exponent``; their scores there are
compared with those on the full data, among all and among the better ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.evaluations import FOLDER as EVALUATIONS
from benchmarks.evaluations import Evaluations
from benchmarks.live import LIVE_TASKS
from benchmarks.live_objective import RATE
from benchmarks.live_objective import Objective
from benchmarks.methods import make_sampler
from benchmarks.pruning_summary import write_table
from benchmarks.report import markdown_rows
from benchmarks.subset_grids import DEFAULT_GRID
from benchmarks.subset_grids import subset_evaluator
from optuna_rocket.fidelity.correlation import rank_correlation


PATH = Path("benchmarks/results/scaling.csv")
EXPONENTS = (0.0, 0.25, 0.5, 0.75)
SAMPLERS = ("random", "tpe", "rocket")
_N_TRIALS = 40
_SHARES = {"all": 1.0, "better_half": 0.5, "best_quarter": 0.25}


def configurations(task: Task, evaluations: Evaluations) -> list[tuple[dict[str, Any], float]]:
    """Hyperparameters that studies on the full data tried, each once, and their scores."""
    found: dict[str, tuple[dict[str, Any], float]] = {}
    for name in SAMPLERS:
        study = optuna.create_study(direction="maximize", sampler=make_sampler(name, 0))
        objective = Objective(task, evaluations, 0, None)
        study.optimize(objective, n_trials=_N_TRIALS)
        for params, (score,) in zip(objective.params, objective.reports, strict=True):
            found[repr(sorted(params.items()))] = params, score or 0.0
    return list(found.values())


def rows_of(task: Task, evaluations: Evaluations) -> list[dict[str, Any]]:
    """One row per exponent: rank correlations of a subset with the full data."""
    subsets = subset_evaluator(task.splits.subset_strata, DEFAULT_GRID, task.min_fraction)
    indices = next(subsets.subsets(optuna.create_study().ask())).indices
    tried = configurations(task, evaluations)
    finals = np.array([score for _, score in tried])
    factor = len(task.splits.train) / len(indices)
    rows = []
    for exponent in EXPONENTS:
        scores = np.array(
            [
                task.evaluate({**x, RATE: x[RATE] * factor**exponent}, indices, 0).score
                for x, _ in tried
            ]
        )
        row: dict[str, Any] = {"task": task.name, "n": len(tried), "exponent": exponent}
        for name, share in _SHARES.items():
            top = finals >= np.quantile(finals, 1 - share)
            row[name] = round(rank_correlation(scores[top], finals[top])[0], 3)
        rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(LIVE_TASKS), choices=list(TASKS))
    parser.add_argument("--out", type=Path, default=PATH)
    parser.add_argument("--evaluations", type=Path, default=EVALUATIONS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    evaluations = Evaluations(args.evaluations)
    tasks = tqdm(args.tasks, unit="task")
    rows = [row for name in tasks for row in rows_of(TASKS[name], evaluations)]
    write_table(args.out, rows)
    print(markdown_rows(rows))


if __name__ == "__main__":
    main()
