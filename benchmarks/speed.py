"""Time of one trial against the number of stored trials: `python -m benchmarks.speed --help`.

One trial is `ask`, five `suggest_float` and `tell`, on one thread, in a study in memory that was
filled with random trials. No objective is run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import statistics
import time
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler

from benchmarks.methods import SEQUENTIAL_METHODS
from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.methods import method_label
from benchmarks.records import replace_line
from benchmarks.run import versions
from benchmarks.workers import single_threaded_workers


_NAMES = tuple(f"x{i}" for i in range(5))
_UNIT = optuna.distributions.FloatDistribution(0.0, 1.0)
_N_WARM_UP = 2


def filled_study(sampler: BaseSampler, n_stored: int, seed: int) -> optuna.Study:
    """Return a study that holds random trials of a smooth function.

    Args:
        sampler: The sampler of the study.
        n_stored: The number of trials.
        seed: The seed of the trials.
    """
    study = optuna.create_study(sampler=sampler)
    points = np.random.default_rng(seed).random((n_stored, len(_NAMES)))
    study.add_trials(
        optuna.trial.create_trial(
            params=dict(zip(_NAMES, map(float, point), strict=True)),
            distributions=dict.fromkeys(_NAMES, _UNIT),
            value=_objective_value(list(point)),
        )
        for point in points
    )
    return study


def trial_times(study: optuna.Study, n_repeats: int) -> list[float]:
    """Return the milliseconds of some trials, without the first two of the study's sampler.

    Args:
        study: The study; it grows by the trials.
        n_repeats: The number of trials that are timed.
    """
    times = []
    for _ in range(_N_WARM_UP + n_repeats):
        start = time.perf_counter()
        trial = study.ask()
        point = [trial.suggest_float(name, _UNIT.low, _UNIT.high) for name in _NAMES]
        study.tell(trial, _objective_value(point))
        times.append(1000 * (time.perf_counter() - start))
    return times[_N_WARM_UP:]


def _objective_value(point: Sequence[float]) -> float:
    return float(sum((coordinate - 0.3) ** 2 for coordinate in point))


def _measure(method: str, n_stored: int, n_repeats: int) -> dict[str, Any]:
    study = filled_study(make_sampler(method, seed=0), n_stored, seed=0)
    return {"method": method_label(method), **timing(n_stored, trial_times(study, n_repeats))}


def timing(n_stored: int, times: Sequence[float]) -> dict[str, Any]:
    """The fields of a result file for milliseconds that were measured with so many trials."""
    return {
        "n_stored": n_stored,
        "n_repeats": len(times),
        "ms_median": round(statistics.median(times), 3),
        "ms_min": round(min(times), 3),
        "ms_max": round(max(times), 3),
        "versions": versions(),
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--methods", nargs="+", default=list(SEQUENTIAL_METHODS))
    parser.add_argument("--stored", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--max-gp", type=int, default=100, help="most stored trials for gp")
    parser.add_argument("--repeats", type=int, default=20, help="trials behind one median")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/speed.jsonl"))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line. Earlier lines of the same methods and sizes are replaced."""
    args = _parse(argv)
    with single_threaded_workers(jobs=1) as pool:
        for method in map(check_method, args.methods):
            for n_stored in args.stored:
                if method == "gp" and n_stored > args.max_gp:
                    continue
                line = pool.submit(_measure, method, n_stored, args.repeats).result()
                replace_line(args.out, line, ("method", "n_stored"))
                print(f"{line['method']:>10} {n_stored:>6} trials {line['ms_median']:>9.2f} ms")


if __name__ == "__main__":
    main()
