"""Time of one trial with several objectives: `python -m benchmarks.goals_speed --help`.

One trial is `ask`, six `suggest_float` and `tell`, on one thread, in a study in memory that was
filled with random trials; each objective is the distance to a point of its own. Times are
processor times, which a busy machine distorts little. NSGA-II fills its study itself, since it
has no generation otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import optuna
from optuna.samplers import BaseSampler

from benchmarks.many_objectives import make_goal_sampler
from benchmarks.records import read_lines
from benchmarks.records import replace_line
from benchmarks.report import markdown_table
from benchmarks.speed import timing
from benchmarks.workers import single_threaded_workers


METHODS = ("rocket", "tpe", "tpe_multivariate", "nsga2", "gp")
_NAMES = tuple(f"x{i}" for i in range(6))
_UNIT = optuna.distributions.FloatDistribution(0.0, 1.0)
_N_WARM_UP = 2
# A trial is feasible where the sum of its numbers is below the first and above the second.
_SUMS = (3.6, 2.4)
# The fields that tell what was measured.
_CELL = ("method", "n_objectives", "n_constraints", "n_stored")


class Distances:
    """Squared distances to as many points as there are objectives.

    Args:
        n_objectives: The number of objectives.
        n_constraints: The number of constraints, at most two.
    """

    def __init__(self, n_objectives: int, n_constraints: int) -> None:
        self._centres = np.random.default_rng(0).random((n_objectives, len(_NAMES)))
        self._n_constraints = n_constraints

    def __call__(self, trial: optuna.Trial) -> list[float]:
        """Return the objective values of a trial, and set its constraints."""
        point = np.array([trial.suggest_float(name, _UNIT.low, _UNIT.high) for name in _NAMES])
        for name, limit in self.limits(point).items():
            trial.set_constraint(name, limit)
        return self.values(point)

    def values(self, point: NDArray[np.float64]) -> list[float]:
        """Return the objective values of a point `(6,)`."""
        return [float(value) for value in np.square(point - self._centres).sum(1)]

    def limits(self, point: NDArray[np.float64]) -> dict[str, float]:
        """Return the constraint values of a point `(6,)`."""
        total = float(point.sum())
        both = {"c0": total - _SUMS[0], "c1": _SUMS[1] - total}
        return dict(list(both.items())[: self._n_constraints])


def filled_study(sampler: BaseSampler, goals: Distances, n_stored: int, own: bool) -> optuna.Study:
    """Return a study that holds some trials.

    Args:
        sampler: The sampler of the study.
        goals: What is evaluated.
        n_stored: The number of trials.
        own: Whether they are the sampler's instead of random ones.
    """
    n_objectives = len(goals.values(np.zeros(len(_NAMES))))
    study = optuna.create_study(directions=["minimize"] * n_objectives, sampler=sampler)
    study.sampler = sampler if own else optuna.samplers.RandomSampler(seed=0)
    study.optimize(goals, n_trials=n_stored)
    study.sampler = sampler
    return study


def trial_times(study: optuna.Study, goals: Distances, n_repeats: int) -> list[float]:
    """Return the processor milliseconds of some trials, without the sampler's first two.

    Args:
        study: The study; it grows by the trials.
        goals: What is evaluated.
        n_repeats: The number of trials that are timed.
    """
    times = []
    for _ in range(_N_WARM_UP + n_repeats):
        start = time.process_time()
        trial = study.ask()
        values = goals(trial)
        study.tell(trial, values)
        times.append(1000 * (time.process_time() - start))
    return times[_N_WARM_UP:]


def _measure(method: str, cell: tuple[int, int, int], n_repeats: int) -> dict[str, Any]:
    n_objectives, n_constraints, n_stored = cell
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    goals = Distances(n_objectives, n_constraints)
    study = filled_study(make_goal_sampler(method, 0), goals, n_stored, own=method == "nsga2")
    times = trial_times(study, goals, n_repeats)
    return {
        "method": method,
        "n_objectives": n_objectives,
        "n_constraints": n_constraints,
        "ms_mean": round(float(np.mean(times)), 3),
        **timing(n_stored, times),
    }


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return results as Markdown: mean and, in brackets, median milliseconds.

    Args:
        lines: What was measured.
    """
    methods = list(dict.fromkeys(line["method"] for line in lines))
    rows: dict[tuple[int, ...], dict[str, str]] = {}
    for line in lines:
        key = (line["n_stored"], line["n_constraints"], line["n_objectives"])
        text = f"{line['ms_mean']:.1f} ({line['ms_median']:.1f})"
        rows.setdefault(key, {})[line["method"]] = text
    head = ["stored", "constraints", "objectives", *methods]
    body = [
        [*map(str, key), *(found.get(method, "-") for method in methods)]
        for key, found in sorted(rows.items())
    ]
    return markdown_table([head, *body])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.goals_speed", description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--objectives", type=int, nargs="+", default=[2, 3, 4, 5])
    parser.add_argument("--constraints", type=int, nargs="+", choices=[0, 1, 2], default=[0, 2])
    parser.add_argument("--stored", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--max-gp", type=int, default=100, help="most stored trials for gp")
    parser.add_argument("--max-gp-objectives", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=40, help="trials that are timed")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/goals_speed.jsonl"))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line. Earlier lines of the same cells are replaced."""
    args = _parse(argv)
    lines: list[dict[str, Any]] = read_lines(args.out)
    cells = [
        (method, (n_objectives, n_constraints, n_stored))
        for n_stored in args.stored
        for n_constraints in args.constraints
        for n_objectives in args.objectives
        for method in args.methods  # side by side, as a machine's pace drifts
        if method != "gp" or (n_stored <= args.max_gp and n_objectives <= args.max_gp_objectives)
    ]
    with single_threaded_workers(jobs=1) as pool:
        for method, cell in cells:
            # GPSampler takes seconds for what takes others milliseconds.
            repeats = min(args.repeats, 3) if method == "gp" else args.repeats
            line = pool.submit(_measure, method, cell, repeats).result()
            lines = replace_line(args.out, line, _CELL)
    print(table(lines))


if __name__ == "__main__":
    main()
