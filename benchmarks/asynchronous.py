"""Several workers that share a study, on a simulated clock, in one process.

A worker that is free asks for a trial and is busy until the trial ends. Events happen in the order
of the clock, so that a suggestion knows exactly the trials that have ended by then; the others
are running.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
import heapq
import time
import zlib

import numpy as np
from numpy.typing import NDArray
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from benchmarks.problems import Problem
from benchmarks.problems import load_problem


# Seconds. Ten is the time of a small training, where the time of a sampler begins to matter.
MEDIAN_COST = 10.0
# Of the logarithm of the cost: what the parameters explain, and what they do not.
_SPREAD, _RESIDUAL = 0.6, 0.3


@dataclass(frozen=True)
class Finished:
    """One trial that has ended.

    Args:
        number: Its number in the study.
        row: Its configuration, None when the sampler failed.
        observed: What the objective returned, None when the sampler failed.
        start: Clock when its worker became free for it.
        end: Clock when it ended.
        sampler_seconds: What the suggestion took.
        is_duplicate: Whether its configuration was running already when it started.
        error: Name of the sampler's exception, if it raised one.
    """

    number: int
    row: int | None
    observed: float | None
    start: float
    end: float
    sampler_seconds: float
    is_duplicate: bool
    error: str | None = None


@cache
def costs(name: str) -> NDArray[np.float64]:
    """Return the seconds that every configuration of a problem takes `(n,)`.

    They are log-normal and rise or fall with every parameter, at a rate that the problem's name
    determines. No training time is measured here; what matters is that costs differ by
    configuration and that all methods pay the same.

    Args:
        name: One of `benchmarks.problems.PROBLEM_NAMES`.
    """
    shape = load_problem(name).shape
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    logarithm = np.zeros(shape)
    for axis, k in enumerate(shape):
        effect = generator.normal() * np.linspace(-1.0, 1.0, k)
        logarithm += effect.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    flat = logarithm.ravel()
    explained = _SPREAD * (flat - flat.mean()) / flat.std()
    noisy = explained + generator.normal(0.0, _RESIDUAL, len(flat))
    return np.asarray(MEDIAN_COST * np.exp(noisy - np.median(noisy)))


def reference_time(name: str, n_trials: int, n_workers: int) -> float:
    """Return the clock at which random search would end, on average and with no worker idle.

    Args:
        name: The problem.
        n_trials: The number of trials.
        n_workers: The number of workers.
    """
    return float(costs(name).mean()) * n_trials / n_workers


def simulate(
    problem: Problem,
    seconds: NDArray[np.float64],
    sampler: BaseSampler,
    seed: int,
    *,
    n_trials: int,
    n_workers: int,
    counts_sampler: bool,
) -> list[Finished]:
    """Run a study with several workers and return its trials in the order in which they ended.

    Args:
        problem: The table.
        seconds: What every configuration takes `(n,)`.
        sampler: The sampler of the study; it suggests for one worker after the other.
        seed: The seed of the noise.
        n_trials: The number of trials of all workers together.
        n_workers: The number of workers.
        counts_sampler: Whether a worker also waits for its suggestion, in the time measured here.
    """
    study = optuna.create_study(sampler=sampler)
    running: list[tuple[float, int, optuna.Trial, Finished]] = []
    finished: list[Finished] = []
    clock = 0.0
    while len(finished) < n_trials:
        while len(running) < n_workers and len(running) + len(finished) < n_trials:
            trial, row, took, error = _ask(problem, study)
            cost = 0.0 if row is None else float(seconds[row])
            started = Finished(
                number=trial.number,
                row=row,
                observed=None if row is None else problem.observe(row, seed, trial.number),
                start=clock,
                end=clock + cost + (took if counts_sampler else 0.0),
                sampler_seconds=took,
                is_duplicate=row is not None and any(row == other.row for *_, other in running),
                error=error,
            )
            heapq.heappush(running, (started.end, trial.number, trial, started))
        clock, _, trial, ended = heapq.heappop(running)
        study.tell(trial, ended.observed, state=TrialState.FAIL if ended.error else None)
        finished.append(ended)
    return finished


def _ask(
    problem: Problem, study: optuna.Study
) -> tuple[optuna.Trial, int | None, float, str | None]:
    start = time.perf_counter()
    trial = study.ask()
    try:
        row = problem.suggest(trial)
    except Exception as error:  # as in the open suite, a sampler that raises has failed its trial
        return trial, None, time.perf_counter() - start, type(error).__name__
    return trial, row, time.perf_counter() - start, None
