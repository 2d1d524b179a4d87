"""Real worker processes for the tests: started together, watched, and killed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
import multiprocessing
from multiprocessing.process import BaseProcess
import time
from typing import Any
import warnings

import optuna
from optuna.trial import Trial

from benchmarks.storages import open_storage
from optuna_rocket import RocketSampler


# Forked from a server that has the slow imports behind it: a fraction of a second for a worker.
_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = ["optuna_rocket.suggest", "optuna.storages", "alembic", "sqlalchemy"]
_PATIENCE = 120  # seconds until a worker counts as hung

GRID = (6, 3, 5)
SHORT = 0.02  # seconds of a trial: others overlap, nobody waits


def grid_loss(trial: Trial) -> float:
    """A loss over 90 configurations."""
    width = trial.suggest_int("width", 0, GRID[0] - 1)
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    drop = trial.suggest_float("drop", 0, 1, step=0.25)
    time.sleep(SHORT)
    return (width - 3) ** 2 + (kind != "b") + drop


def take_part(url: str, name: str, n_trials: int, start: Any, **rdb_options: Any) -> None:
    """What a worker does: some trials of a stored study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    study = optuna.load_study(
        study_name=name, storage=open_storage(url, **rdb_options), sampler=RocketSampler(seed=0)
    )
    start.wait()
    study.optimize(grid_loss, n_trials=n_trials)


@dataclass(frozen=True)
class Crew:
    """Workers that were started together.

    Attributes:
        workers: Their processes.
        barrier: Where they wait for each other; it must live until all have passed.
    """

    workers: Sequence[BaseProcess]
    barrier: Any

    def join(self) -> list[int | None]:
        """Wait for all and return their exit codes; one that hangs is killed: -9."""
        until = time.monotonic() + _PATIENCE
        for worker in self.workers:
            worker.join(max(until - time.monotonic(), 0.1))
            if worker.is_alive():
                worker.kill()
                worker.join()
        return [worker.exitcode for worker in self.workers]


def start(target: Callable[..., None], n: int, *arguments: Any, **options: Any) -> Crew:
    """Start ``n`` workers, which wait for each other before the first trial."""
    _CONTEXT.set_forkserver_preload(_PRELOADED)
    barrier = _CONTEXT.Barrier(n)
    workers = [
        _CONTEXT.Process(target=target, args=(*arguments, barrier), kwargs=options)
        for _ in range(n)
    ]
    for worker in workers:
        worker.start()
    return Crew(workers, barrier)
