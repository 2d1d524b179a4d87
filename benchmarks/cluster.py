"""Worker processes that share a study on every storage: `python -m benchmarks.cluster --help`.

Every worker is a process of its own that evaluates rows of a table, after a sleep so that trials
overlap. ``memory`` is the same study by one worker. With ``--kills`` the workers are killed
(SIGKILL) at random moments and started again; the storage then has a heartbeat and retries their
trials. A replication that is already in the output file is not run again: see `benchmarks.cells`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
import multiprocessing
from multiprocessing.process import BaseProcess
from pathlib import Path
import queue
import random
import tempfile
import time
from typing import Any
import warnings

import optuna
from optuna.storages import BaseStorage
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.cells import Cell
from benchmarks.cells import add_options
from benchmarks.cells import complete
from benchmarks.cluster_summary import cluster_rows
from benchmarks.cluster_summary import write_rows
from benchmarks.metering import Meter
from benchmarks.metering import MeteredSampler
from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.methods import method_label
from benchmarks.problems import Problem
from benchmarks.problems import incumbent_curve
from benchmarks.problems import load_problem
from benchmarks.records import ClusterReplication
from benchmarks.records import read_cluster_replications
from benchmarks.records import rounded
from benchmarks.report import markdown_rows
from benchmarks.run import versions
from benchmarks.storages import KINDS
from benchmarks.storages import Unreachable
from benchmarks.storages import empty_storage
from benchmarks.storages import opened


METHODS = ("rocket", "tpe")
PROBLEMS = ("hpobench/australian", "nasbench201/cifar10")
ALONE = "memory"
_STUDY = "cluster"
_CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = ["optuna_rocket.suggest", "optuna.storages", "benchmarks.methods", "alembic"]
_PATIENCE = 900  # seconds until a study counts as hung
_SLEEP = 1.0  # mean seconds of a trial
_HEARTBEAT = {"heartbeat_interval": 1, "grace_period": 3}  # seconds


@dataclass(frozen=True)
class ClusterCell(Cell):
    """What identifies a replication of this benchmark.

    Args:
        storage: The kind of storage, or `ALONE`.
        n_workers: The number of workers.
        n_killed: How often a worker is killed.
    """

    storage: str
    n_workers: int
    n_killed: int


def measure(cell: ClusterCell) -> ClusterReplication:
    """Run one replication.

    Raises:
        Unreachable: If the storage is not there.
    """
    start = time.perf_counter()
    if cell.storage == ALONE:
        study = optuna.create_study()
        meters, n_failed, n_killed = [_work(study, cell)], 0, 0
        return _replication(cell, study.trials, meters, n_failed, n_killed, start)
    with (
        tempfile.TemporaryDirectory() as folder,
        empty_storage(cell.storage, Path(folder)) as url,
        opened(url) as storage,
    ):
        optuna.create_study(study_name=_STUDY, storage=storage)
        start = time.perf_counter()
        meters, n_failed, n_killed = _Crew(cell, url).run()
        study = optuna.load_study(study_name=_STUDY, storage=storage)
        return _replication(cell, study.trials, meters, n_failed, n_killed, start)


class _Crew:
    """The workers of one study, some of whom are killed and replaced."""

    def __init__(self, cell: ClusterCell, url: str) -> None:
        self._cell, self._url = cell, url
        self._results: Any = _CONTEXT.Queue()
        self._rng = random.Random(cell.seed)
        self.workers = [self._start() for _ in range(cell.n_workers)]

    def run(self) -> tuple[list[Meter], int, int]:
        """The meters of those that ended well, how many did not, and how many were killed."""
        until, n_killed = time.monotonic() + _PATIENCE, 0
        meters: list[Meter] = []
        next_kill = time.monotonic() + 3
        while any(worker.is_alive() for worker in self.workers) and time.monotonic() < until:
            meters.extend(self._collected())
            if n_killed < self._cell.n_killed and time.monotonic() > next_kill:
                n_killed += self._kill_one()
                next_kill = time.monotonic() + self._rng.uniform(0.1, 0.7)
        meters.extend(self._collected())
        for worker in self.workers:
            if worker.is_alive():
                worker.kill()
            worker.join()
        return meters, sum(worker.exitcode != 0 for worker in self.workers), n_killed

    def _start(self) -> BaseProcess:
        worker = _CONTEXT.Process(target=_take_part, args=(self._cell, self._url, self._results))
        worker.start()
        return worker

    def _collected(self) -> Iterator[Meter]:
        try:
            yield self._results.get(timeout=0.05)
        except queue.Empty:
            return
        yield from self._collected()

    def _kill_one(self) -> int:
        """Kill a worker and start another in its place."""
        at = self._rng.randrange(len(self.workers))
        if not self.workers[at].is_alive():
            return 0
        self.workers[at].kill()
        self.workers[at].join()
        self.workers[at] = self._start()
        return 1


def _take_part(cell: ClusterCell, url: str, results: Any) -> None:
    """What a worker process does."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    options: dict[str, Any] = {}
    if cell.n_killed:
        retry = RetryHeartbeatStaleTrialCallback()
        options = {**_HEARTBEAT, "heartbeat_stale_trial_callback": retry}
    with opened(url, **options) as storage:
        results.put(_work(optuna.load_study(study_name=_STUDY, storage=storage), cell))


def _work(study: Study, cell: ClusterCell) -> Meter:
    """Take part in a study until it has its trials; the cost of this worker."""
    problem, meter = load_problem(cell.problem), Meter()
    storage: BaseStorage = study._storage
    study.sampler = MeteredSampler(make_sampler(cell.method, cell.seed), meter)
    # What is imported and loaded at the first suggestion is no cost of a trial.
    optuna.create_study(sampler=make_sampler(cell.method, 0)).optimize(problem.suggest, 3)
    meter.watch(storage)

    def objective(trial: optuna.Trial) -> float:
        row = problem.suggest(trial)
        if cell.storage != ALONE:  # nobody waits for one who works alone
            time.sleep(_SLEEP * random.Random(row).uniform(0.5, 1.5))
        return problem.observe(row, cell.seed, trial.number)

    if cell.n_killed or cell.storage == ALONE:
        stop = MaxTrialsCallback(cell.n_trials, states=(TrialState.COMPLETE,))
        study.optimize(objective, callbacks=[stop])
    else:
        study.optimize(objective, n_trials=cell.n_trials // cell.n_workers)
    return meter


def _replication(
    cell: ClusterCell,
    trials: Sequence[FrozenTrial],
    meters: Sequence[Meter],
    n_failed: int,
    n_killed: int,
    start: float,
) -> ClusterReplication:
    wall = time.perf_counter() - start
    problem = load_problem(cell.problem)
    complete_trials = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    complete_trials.sort(key=lambda trial: trial.datetime_complete or datetime.max)
    rows = [_row(problem, trial.params) for trial in complete_trials]
    evaluations = [
        (problem.normalised_regret(row), float(trial.value))
        for row, trial in zip(rows, complete_trials, strict=True)
        if trial.value is not None
    ]
    n = max(len(complete_trials), 1)
    seconds = sum(meter.seconds for meter in meters)
    return ClusterReplication(
        problem=cell.problem,
        family=problem.family,
        method=method_label(cell.method),
        seed=cell.seed,
        n_trials=cell.n_trials,
        regret=rounded(incumbent_curve(evaluations)),
        sampler_seconds=round(seconds, 4),
        ms_per_trial=round(1000 * seconds / n, 4),
        error=sum(trial.state == TrialState.FAIL for trial in trials),
        error_type=None,
        versions=versions(),
        storage=cell.storage,
        n_workers=cell.n_workers,
        n_killed=n_killed,
        seconds=round(wall, 2),
        sampler_cpu_ms=round(1000 * sum(meter.cpu_seconds for meter in meters) / n, 3),
        n_duplicates=len(rows) - len(set(rows)),
        n_lost=_n_lost(trials),
        n_failed_workers=n_failed,
        sampler_reads=round(sum(meter.sampler_reads for meter in meters) / n, 3),
        sampler_writes=round(sum(meter.sampler_writes for meter in meters) / n, 3),
        reads=round(sum(meter.reads for meter in meters) / n, 3),
        writes=round(sum(meter.writes for meter in meters) / n, 3),
    )


def _row(problem: Problem, params: Mapping[str, Any]) -> int:
    """The row of the table that a trial has evaluated."""
    fixed = optuna.trial.FixedTrial(dict(params))
    return problem.suggest(fixed)  # type: ignore[arg-type]


def _n_lost(trials: Sequence[FrozenTrial]) -> int:
    """Trials that neither completed nor were run again."""
    retried = {n for trial in trials for n in trial.system_attrs.get("retry_history", [])}
    missing = len(trials) and trials[-1].number + 1 - len(trials)
    return missing + sum(
        trial.state != TrialState.COMPLETE and trial.number not in retried for trial in trials
    )


def _measured(cells: Sequence[ClusterCell]) -> Iterator[ClusterReplication]:
    """One study after the other: they would wait for each other's processors."""
    _CONTEXT.set_forkserver_preload(_PRELOADED)
    gone: set[str] = set()
    for cell in tqdm(cells, unit="study"):
        if cell.storage in gone:
            continue
        try:
            yield measure(cell)
        except Unreachable as reason:
            gone.add(cell.storage)
            print(f"{cell.storage} is left out: {reason}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    add_options(parser, METHODS, "benchmarks/results/cluster.jsonl", seeds=2, trials=96)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--storages", nargs="+", default=[ALONE, *KINDS], choices=[ALONE, *KINDS])
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--kills", type=int, default=0, help="per study; databases only")
    parser.add_argument("--table", type=Path, help="the summary as CSV, beside --out by default")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: fill the file, then summarise all that it holds."""
    args = _parse(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    cells = [
        ClusterCell(
            problem,
            check_method(method),
            seed,
            args.trials,
            storage,
            1 if storage == ALONE else args.workers,
            0 if storage == ALONE else args.kills,
        )
        for seed in range(args.first_seed, args.first_seed + args.seeds)
        for problem in args.problems
        for method in args.methods
        for storage in args.storages
    ]
    complete(args, cells, _measured)
    rows = cluster_rows(read_cluster_replications(args.out), ALONE)
    write_rows(args.table or args.out.with_suffix(".csv"), rows)
    print(markdown_rows(rows))


if __name__ == "__main__":
    main()
