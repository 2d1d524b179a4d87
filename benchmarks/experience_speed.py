"""Time of suggestions with many sources: `python -m benchmarks.experience_speed --help`.

A study of five parameters with 100 earlier studies of 100 trials, against the same without. The
time is that of the processor, so that other work on the machine matters little. What the first
suggestion takes, which reads the sources, is told apart; so is the memory that the process came to
hold meanwhile. Every number of sources has a process of its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
import resource
import statistics
import time
from typing import Any

import optuna
from optuna.samplers import BaseSampler

from benchmarks.workers import single_threaded_workers
from optuna_rocket import RocketSampler


_NAMES = tuple(f"x{i}" for i in range(5))
_N_START = 5


def _value(point: Sequence[float], optimum: float) -> float:
    return sum((x - optimum) ** 2 for x in point)


def _source(seed: int, n_trials: int) -> optuna.Study:
    optimum = 0.2 + 0.006 * seed
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    study.optimize(lambda trial: _objective(trial, optimum), n_trials)
    return study


def _objective(trial: optuna.Trial, optimum: float) -> float:
    return _value([trial.suggest_float(name, 0, 1) for name in _NAMES], optimum)


def _times(sampler: BaseSampler, n_trials: int) -> list[float]:
    """Milliseconds of processor time of every trial."""
    study, times = optuna.create_study(sampler=sampler), []
    for _ in range(n_trials):
        start = time.process_time()
        trial = study.ask()
        study.tell(trial, _objective(trial, 0.5))
        times.append(1000 * (time.process_time() - start))
    return times


def measure(n_sources: int, n_source_trials: int, n_trials: int) -> dict[str, Any]:
    """Return mean times per trial without and with sources, and that of the first trial."""
    sources = [_source(seed, n_source_trials) for seed in range(n_sources)]
    _times(RocketSampler(seed=0), _N_START)  # imports and first calls cost time of their own
    plain = _times(RocketSampler(seed=0), n_trials)[_N_START:]
    before = _peak_mib()
    with_sources = _times(RocketSampler(seed=0, source_studies=sources), n_trials)
    ms, ms_with = statistics.mean(plain), statistics.mean(with_sources[_N_START:])
    return {
        "sources": n_sources,
        "trials_per_source": n_source_trials,
        "ms_per_trial": round(ms, 2),
        "ms_per_trial_with_sources": round(ms_with, 2),
        "ratio": round(ms_with / ms, 2),
        "first_trial_ms": round(with_sources[0]),
        "more_mib": round(_peak_mib() - before, 1),
    }


def _peak_mib() -> float:
    """The most memory that the process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.experience_speed", description=__doc__
    )
    parser.add_argument("--sources", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--source-trials", type=int, default=100)
    parser.add_argument("--trials", type=int, default=60)
    args = parser.parse_args(argv)
    for n_sources in args.sources:
        with single_threaded_workers(1) as pool:
            job = pool.submit(measure, n_sources, args.source_trials, args.trials)
            print(json.dumps(job.result()), flush=True)


if __name__ == "__main__":
    main()
