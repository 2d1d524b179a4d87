"""One worker of a study that many share: start it as often, and on as many machines, as you like.

    python 05_cluster.py --storage postgresql+psycopg://user@host/optuna --trials 100
    python 05_cluster.py --storage mysql+pymysql://user@host/optuna --trials 100
    python 05_cluster.py --storage redis://host:6379/0 --trials 100
    python 05_cluster.py --storage grpc://host:13000 --trials 100
    python 05_cluster.py --storage /shared/folder/study.log --trials 100

Drivers: ``pip install 'optuna-rocket[storages]'``. A worker that is killed is replaced by starting
another; a storage that goes away is waited for. See docs/cluster.md.
"""

import argparse
import copy
import math
import random
import time
from typing import Any
import warnings

import optuna
from optuna.exceptions import StorageInternalError
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages import GrpcStorageProxy
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal import JournalRedisBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState
import sqlalchemy

from optuna_rocket import RocketSampler


PATIENCE = 600  # seconds that a worker waits for a storage to come back
MAX_PAUSE = 30  # seconds between two attempts
MAX_RETRY = 3  # of a trial whose worker was killed
ERROR = "error"  # attribute of trials that failed through the objective, and are not run again
DRIVERS = {"sqlalchemy", "psycopg", "pymysql", "redis", "grpc"}


def objective(trial: optuna.Trial) -> float:
    """Return a value that is lowest, 0, at x = 0.3, n = 7 and kind = "round"."""
    x = trial.suggest_float("x", 0.0, 1.0)
    n = trial.suggest_int("n", 1, 20)
    kind = trial.suggest_categorical("kind", ["flat", "round", "sharp"])
    time.sleep(0.1)  # your training
    return (x - 0.3) ** 2 + 0.01 * (n - 7) ** 2 + (0.0 if kind == "round" else 0.5)


def open_storage(url: str, heartbeat: int) -> BaseStorage:
    """Open a database, a Redis server, a gRPC proxy, or a journal file."""
    if url.startswith("grpc://"):
        host, port = url.removeprefix("grpc://").split(":")
        return GrpcStorageProxy(host=host, port=int(port))
    if url.startswith("redis://"):
        server, _, prefix = url.partition("#")  # of the keys, where others use the server too
        return JournalStorage(JournalRedisBackend(server, prefix=prefix))
    if "://" not in url:
        return JournalStorage(JournalFileBackend(url))
    storage = RDBStorage(
        url,
        engine_kwargs={"pool_pre_ping": True},  # notices connections that an outage has cut
        heartbeat_interval=heartbeat,
        grace_period=5 * heartbeat,
        heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MAX_RETRY),
    )
    sqlalchemy.event.listen(storage.engine, "do_connect", connect_patiently)
    return storage


def connect_patiently(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
    """Connect to a database, and wait where it is away."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


class Worker:
    """Takes part in a study; keeps the trial in hand, so that an outage does not lose it."""

    def __init__(self, study: optuna.Study, n_trials: int, lost: "LostTrials") -> None:
        self.study, self.n_trials, self.lost = study, n_trials, lost
        self.trial: optuna.Trial | None = None
        self.value: float | None = None
        self.away_since: float | None = None  # of the storage, on the monotonic clock
        self.pause = 0.5

    def run(self) -> None:
        """Work until the study has its trials."""
        enough = MaxTrialsCallback(self.n_trials, states=(TrialState.COMPLETE,))
        while True:
            try:
                self.settle()
                done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
                if len(done) < self.n_trials:
                    self.study.optimize(self.evaluate, callbacks=[self.lost, enough])
                return
            except Exception as error:
                if not is_ended_by_another(error):
                    self.wait(error)

    def evaluate(self, trial: optuna.Trial) -> float:
        """The objective, with a note of its trial, and one in the trial where it is at fault."""
        self.trial, self.value = trial, None
        try:
            self.value = objective(trial)
        except Exception as error:
            if not isinstance(error, optuna.TrialPruned) and not is_outage(error):
                trial.set_user_attr(ERROR, repr(error)[:500])
            raise
        if math.isnan(self.value):
            trial.set_user_attr(ERROR, "the objective returned NaN")
        self.away_since, self.pause = None, 0.5
        return self.value

    def wait(self, error: Exception) -> None:
        """Give a storage that is away some time; raise what is no outage, or a too long one."""
        now = time.monotonic()
        self.away_since = self.away_since or now
        if not is_outage(error) or now - self.away_since > PATIENCE:
            raise error
        print(f"waiting for the storage: {type(error).__name__}", flush=True)
        time.sleep(self.pause)
        self.pause = min(2 * self.pause, MAX_PAUSE)  # a full disk fails a trial each time

    def settle(self) -> None:
        """After an interruption: tell the result in hand, or give the trial up."""
        if self.trial is None:
            return
        stored = self.study.get_trials(deepcopy=False)[self.trial.number]
        if stored.state == TrialState.RUNNING and self.value is not None:
            self.study.tell(stored.number, self.value)
        elif stored.state == TrialState.RUNNING:
            self.study.tell(stored.number, state=TrialState.FAIL)
        elif stored.state == TrialState.FAIL:
            print(f"trial {stored.number} was failed; another worker may run it again", flush=True)
        self.trial = None


class LostTrials:
    """Sees to trials that nobody will end; called after each trial.

    A worker that is killed between asking for a trial and its first heartbeat leaves it *running*,
    and Optuna never notices: this gives the trial a heartbeat, once, so that it becomes stale like
    others. A worker that is killed while it gives up another one's trial may leave that *failed*
    and not queued again: this queues it. Two workers that do so within the same moment would run
    it twice, so that each waits for a time of its own.

    Args:
        storage: The study's, where it has heartbeats.
        grace: Seconds for which a trial must have been seen like this, at least.
    """

    def __init__(self, storage: RDBStorage | None, grace: float) -> None:
        self.storage, self.grace = storage, grace * random.uniform(1, 2)
        self.again = RetryHeartbeatStaleTrialCallback(MAX_RETRY)
        self.seen: dict[tuple[int, TrialState], float] = {}  # since when, monotonic clock
        self.done: set[tuple[int, TrialState]] = set()
        self.next_look = 0.0

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Look at all trials of the study."""
        now = time.monotonic()
        if now < self.next_look:
            return
        self.next_look = now + self.grace / 20
        stored = study.get_trials(deepcopy=False)
        history = RetryHeartbeatStaleTrialCallback.retry_history
        queued = {number for each in stored for number in history(each)}
        lost = {
            (each.number, each.state): each
            for each in stored
            if each.state == TrialState.RUNNING
            or (
                each.state == TrialState.FAIL
                and each.number not in queued
                and ERROR not in each.user_attrs
            )
        }
        self.seen = {key: self.seen.get(key, now) for key in lost}
        for key in lost.keys() - self.done:
            if now - self.seen[key] > self.grace:
                self.done.add(key)
                self.revive(study, lost[key])

    def revive(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """Let a trial become stale, or queue it."""
        if trial.state == TrialState.FAIL:
            self.again(study, copy.deepcopy(trial))
        elif self.storage is not None:
            study_id = self.storage.get_study_id_from_name(study.study_name)
            self.storage.record_heartbeat(
                self.storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
            )


def is_outage(error: BaseException | None) -> bool:
    """Whether an error is a storage's, or hides one: Optuna may raise another on top of it."""
    if error is None:
        return False
    known = (StorageInternalError, UpdateFinishedTrialError, ConnectionError)
    if isinstance(error, known) or type(error).__module__.split(".")[0] in DRIVERS:
        return True
    return is_outage(error.__cause__ or error.__context__)


def is_ended_by_another(error: BaseException | None) -> bool:
    """Whether another worker has ended the trial in hand, because its heartbeat stood still.

    Optuna raises ``Cannot tell a FAIL trial``, and may raise ``Should not reach`` on top of it.
    """
    if error is None:
        return False
    if isinstance(error, ValueError) and str(error).startswith("Cannot tell a "):
        return True
    return is_ended_by_another(error.__cause__ or error.__context__)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--study", default="cluster")
    parser.add_argument("--trials", type=int, default=100, help="of the study, not of the worker")
    parser.add_argument("--heartbeat", type=int, default=60, help="seconds; databases only")
    args = parser.parse_args()
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(args.storage, args.heartbeat)
    study = optuna.create_study(
        storage=storage,
        study_name=args.study,
        load_if_exists=True,
        sampler=RocketSampler(),
    )
    database = storage if isinstance(storage, RDBStorage) else None
    Worker(study, args.trials, LostTrials(database, 5 * args.heartbeat)).run()
    print(f"{len(study.trials)} trials, best {study.best_value:.4f} with {study.best_params}")
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    assert len(complete) >= args.trials, "whoever ends last finds all of them"
