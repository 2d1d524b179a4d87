"""Time of one report against the number of stored trials: ``python -m benchmarks.report_speed``.

A report is what a subset costs besides training: ``SubsetEvaluator`` stores the score and the
costs, and ``RocketPruner`` judges the trial. The study is in memory, on one thread; half of its
trials were pruned at a ninth of the data, and ``RocketSampler`` has suggested the running one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
import time
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from benchmarks.records import write_lines
from benchmarks.speed import timing
from benchmarks.workers import single_threaded_workers
from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import SubsetEvaluator


PATH = Path("benchmarks/results/report_speed.jsonl")
_N_EXAMPLES = 9000
_N_WARM_UP = 2
_UNIT = optuna.distributions.FloatDistribution(0.0, 1.0)


def report_times(n_stored: int, n_repeats: int) -> list[float]:
    """Milliseconds of some first reports, without the first two.

    Args:
        n_stored: Number of stored trials.
        n_repeats: Number of reports that are timed.
    """
    subsets = SubsetEvaluator(_N_EXAMPLES, min_fraction=1 / 9, reduction_factor=9)
    study = optuna.create_study(sampler=RocketSampler(seed=0), pruner=RocketPruner())
    study.add_trials(list(_stored(n_stored, subsets.sizes)))
    times = []
    for _ in range(_N_WARM_UP + n_repeats):
        trial = study.ask()
        x = trial.suggest_float("x", _UNIT.low, _UNIT.high)
        try:
            for i, subset in enumerate(subsets.subsets(trial)):
                start = time.perf_counter()
                try:
                    subset.report((x - 0.3) ** 2)
                finally:
                    if i == 0:
                        times.append(1000 * (time.perf_counter() - start))
            study.tell(trial, subset.value)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
    return times[_N_WARM_UP:]


def _stored(n: int, sizes: Sequence[int]) -> Iterator[optuna.trial.FrozenTrial]:
    rng = np.random.default_rng(0)
    for i, x in enumerate(rng.random(n).tolist()):
        loss = (x - 0.3) ** 2
        first = loss + 0.1 * float(rng.standard_normal())
        is_pruned = i % 2 == 1
        yield optuna.create_trial(
            state=TrialState.PRUNED if is_pruned else TrialState.COMPLETE,
            value=first if is_pruned else loss,
            params={"x": x},
            distributions={"x": _UNIT},
            intermediate_values={sizes[0]: first} | ({} if is_pruned else {sizes[1]: loss}),
        )


def _measure(n_stored: int, n_repeats: int) -> dict[str, Any]:
    return timing(n_stored, report_times(n_stored, n_repeats))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; the file is written anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_speed", description=__doc__)
    parser.add_argument("--stored", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--repeats", type=int, default=20, help="reports behind one median")
    parser.add_argument("--out", type=Path, default=PATH)
    args = parser.parse_args(argv)
    lines = []
    with single_threaded_workers(jobs=1) as pool:
        for n_stored in args.stored:
            lines.append(pool.submit(_measure, n_stored, args.repeats).result())
            print(f"{n_stored:>6} trials {lines[-1]['ms_median']:>9.2f} ms")
    write_lines(args.out, lines)


if __name__ == "__main__":
    main()
