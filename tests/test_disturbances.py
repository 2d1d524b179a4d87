"""Workers that are killed, storages that go away or fill up, foreign attributes, wrong clocks."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import datetime
from datetime import timedelta
from datetime import timezone
import json
import math
import os
from pathlib import Path
import random
import select
import socket
import subprocess
import sys
import threading
import time
from typing import Any
import warnings

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest
import sqlalchemy

from benchmarks.storages import Unreachable
from benchmarks.storages import empty_storage
from benchmarks.storages import opened
from optuna_rocket import RocketSampler
from optuna_rocket import SubsetEvaluator
from optuna_rocket import retries
from optuna_rocket.costs import COSTS
from optuna_rocket.moments import may_precede
from optuna_rocket.suggestions import ATTRIBUTE
from optuna_rocket.trials import TrialReader
from tests import example_workers
from tests import processes
from tests.example_workers import end
from tests.example_workers import wait_for_trials
from tests.support import ROOT
from tests.support import add
from tests.support import new_trial
from tests.support import package_log
from tests.support import sampler_log


# Workers of the example, and what becomes of their study

_PATIENCE = 900  # seconds until workers count as hung
MAX_RETRY = 3  # of examples/05_cluster.py


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """PostgreSQL where it is there, SQLite where not."""
    try:
        with empty_storage("postgresql", tmp_path) as url:
            yield url
    except Unreachable:
        with empty_storage("sqlite", tmp_path) as url:
            yield url


@pytest.fixture(autouse=True)
def no_worker_outlives_its_test() -> Iterator[None]:
    yield
    example_workers.kill_all()


def left_behind(study: Study) -> list[FrozenTrial]:
    """Trials that are neither complete nor run again, though they may be."""
    stored = study.trials
    assert [trial.number for trial in stored] == list(range(len(stored)))
    retried = {trial.number: retries.retried_numbers(trial.system_attrs) for trial in stored}
    ended = set().union(*retried.values())
    # Whose workers were killed this often is given up for good.
    ended |= {number for number, earlier in retried.items() if len(earlier) >= MAX_RETRY}
    return [t for t in stored if t.state != TrialState.COMPLETE and t.number not in ended]


def assert_optuna_lost_sight(study: Study, left: list[FrozenTrial]) -> None:
    """Only silent trials are left, and failed ones that nobody queued again.

    Whoever fails a trial for its heartbeat queues it in a second step, before which it may be
    killed itself.
    """
    unqueued = {trial.number for trial in left if trial.state == TrialState.FAIL}
    assert {trial.number for trial in left} <= silent(study) | unqueued


def silent(study: Study) -> set[int]:
    """Running trials whose worker died before its first heartbeat: for Optuna they run for ever.

    Their objective had not begun, so that nothing that was measured is lost.
    """
    with study._storage._backend.engine.connect() as connection:  # type: ignore[attr-defined]
        beating = set(connection.scalars(sqlalchemy.text("SELECT trial_id FROM trial_heartbeats")))
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return {trial.number for trial in running if trial._trial_id not in beating}


def unfinished(study: Study) -> list[FrozenTrial]:
    """Trials that somebody has still to run, or to notice."""
    states, gone = (TrialState.RUNNING, TrialState.WAITING), silent(study)
    return [x for x in study.get_trials(deepcopy=False, states=states) if x.number not in gone]


def survive_kills(database: str, n_kills: int, n_trials: int, n_workers: int) -> None:
    rng = random.Random(0)
    with opened(database) as storage:
        study = optuna.create_study(study_name="cluster", storage=storage)
        workers = [example_workers.start(database, n_trials) for _ in range(n_workers)]
        for _ in range(n_kills):
            wait_for_a_new_trial(study)  # or the next would be killed before they begin
            time.sleep(rng.uniform(0, 0.3))
            victim = rng.randrange(n_workers)
            workers[victim].kill()
            workers[victim].communicate()
            workers[victim] = example_workers.start(database, n_trials)
        end(workers)
        run_until(study, database, lambda: not unfinished(study), n_more=0)
        assert len(study.get_trials(states=(TrialState.COMPLETE,))) >= n_trials
        left = left_behind(study)
        assert_optuna_lost_sight(study, left)
        if n_kills >= 10:  # of a few kills chance and a slow machine may let all come early
            assert len(left) <= n_kills // 10
        # A worker that is at work for some time sees to these few.
        run_until(study, database, lambda: not left_behind(study), n_more=100)


def wait_for_a_new_trial(study: Study) -> None:
    n, until = len(study.get_trials(deepcopy=False)), time.monotonic() + _PATIENCE
    while len(study.get_trials(deepcopy=False)) == n:
        assert time.monotonic() < until, "the workers do nothing"
        time.sleep(0.02)


def run_until(study: Study, database: str, is_done: Callable[[], bool], n_more: int) -> None:
    """Start one worker after the other.

    Workers that ended could not see who died last: the next one does, once that is stale.
    """
    until = time.monotonic() + _PATIENCE
    while not is_done():
        assert time.monotonic() < until, study.trials
        time.sleep(1)
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        n_left = len(unfinished(study))
        end([example_workers.start(database, len(complete) + n_left + n_more)])


def test_killed_workers_lose_no_trial(database: str) -> None:
    survive_kills(database, n_kills=3, n_trials=12, n_workers=2)


@pytest.mark.slow
def test_fifty_killed_workers_lose_no_trial(database: str) -> None:
    survive_kills(database, n_kills=50, n_trials=150, n_workers=4)


@pytest.mark.slow
def test_a_worker_sees_to_trials_of_which_optuna_has_lost_sight(database: str) -> None:
    with opened(database) as storage:
        study = optuna.create_study(study_name="cluster", storage=storage)
        storage.create_new_trial(study._study_id)  # killed before the first heartbeat
        study.add_trial(failed(state=TrialState.FAIL))  # whoever failed it was killed
        assert len(left_behind(study)) == 2
        run_until(study, database, lambda: not left_behind(study), n_more=100)
        retried = [trial for trial in study.trials if "retry_history" in trial.system_attrs]
        histories = [trial.system_attrs["retry_history"] for trial in retried]
        assert sorted(histories) == [[0], [1]]
        assert {trial.state for trial in retried} == {TrialState.COMPLETE}


class Line:
    """A line to a server, which can be cut: a TCP proxy."""

    def __init__(self, host: str, port: int) -> None:
        self._server, self._is_cut = (host, port), False
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections and refuse new ones."""
        self._is_cut = True
        for each in self._sockets:
            each.close()
        self._sockets.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._is_cut:
                    raise ConnectionRefusedError
                far = socket.create_connection(self._server)
            except OSError:  # also where the server has just ended
                near.close()
                continue
            self._sockets += [near, far]
            threading.Thread(target=self._pump, args=(near, far), daemon=True).start()

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        try:
            while True:
                for each in select.select([near, far], [], [], 0.2)[0]:
                    content = each.recv(65536)
                    if not content:
                        raise OSError
                    other[each].sendall(content)
        except (OSError, ValueError):
            near.close()
            far.close()


@contextmanager
def line_to(url: str) -> Iterator[tuple[Line, str]]:
    """A line to a storage's server, and the storage's URL through it."""
    address, mark, prefix = url.partition("#")  # of the keys in Redis
    parsed = sqlalchemy.make_url(address)
    line = Line(parsed.host or "127.0.0.1", parsed.port or 0)
    try:
        through = parsed.set(host="127.0.0.1", port=line.port)
        yield line, through.render_as_string(hide_password=False) + mark + prefix
    finally:
        line.close()


def survive_an_outage(kind: str, folder: Path, seconds: float, n_trials: int) -> None:
    try:
        with empty_storage(kind, folder) as url:
            _survive_an_outage(url, seconds, n_trials)
    except Unreachable as reason:
        pytest.skip(str(reason))


def _survive_an_outage(url: str, seconds: float, n_trials: int) -> None:
    with line_to(url) as (line, through), opened(url) as storage:
        study = optuna.create_study(study_name="cluster", storage=storage)
        workers = [example_workers.start(through, n_trials) for _ in range(2)]
        wait_for_trials(study, 3, TrialState.COMPLETE)
        line.cut()
        time.sleep(seconds)
        n_before = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        assert n_before < n_trials, "the outage came too late"
        line.mend()
        end(workers)
        # What another worker had to run again failed first, in the worker's own name.
        complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
        assert len(complete) >= n_trials
        running = [t for t in study.trials if t.state == TrialState.RUNNING]
        # Of a trial that was being made its worker has not heard; it has no heartbeat of its own.
        assert len(running) <= len(workers)
        assert len({tuple(t.params.items()) for t in complete}) == len(complete)


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_workers_wait_for_a_database_that_is_away(kind: str, tmp_path: Path) -> None:
    survive_an_outage(kind, tmp_path, seconds=1.5, n_trials=16)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "mysql", "redis", "grpc"])
def test_workers_wait_ten_seconds_for_a_storage(kind: str, tmp_path: Path) -> None:
    survive_an_outage(kind, tmp_path, seconds=10, n_trials=40)


# A disk that is full


def fill(study: Study, n_trials: int = 400) -> Exception:
    """Run until the storage is full; the error that ended it."""
    with sampler_log() as messages, pytest.raises(Exception) as caught:
        study.optimize(processes.grid_loss, n_trials=n_trials)
    assert messages == [], "the sampler is not at fault and does not say so"
    return caught.value


def test_a_full_database_ends_the_run_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "SHORT", 0.0)
    url = f"sqlite:///{tmp_path}/study.db"
    with opened(url) as storage:
        study = optuna.create_study(study_name="full", storage=storage)
        study.sampler = RocketSampler(seed=0)
        study.optimize(processes.grid_loss, n_trials=3)
    with opened(url) as storage:
        engine = storage._backend.engine  # type: ignore[attr-defined]

        @sqlalchemy.event.listens_for(engine, "connect")
        def limit(connection: Any, record: Any) -> None:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={pages + 1}")

        engine.dispose()
        study = optuna.load_study(
            study_name="full", storage=storage, sampler=RocketSampler(seed=0)
        )
        error = fill(study)
        assert "full" in f"{error} {error.__cause__}"
        assert isinstance(error, (StorageInternalError, sqlalchemy.exc.OperationalError))
    with opened(url) as storage:  # there is room again
        study = optuna.load_study(
            study_name="full", storage=storage, sampler=RocketSampler(seed=0)
        )
        told = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
        assert len(told) >= 3 and all(trial.value is not None for trial in told)
        study.optimize(processes.grid_loss, n_trials=3)
        assert len(study.get_trials(states=(TrialState.COMPLETE,))) == len(told) + 3


FULL_JOURNAL = """
import resource, sys, optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_rocket import RocketSampler
optuna.logging.set_verbosity(optuna.logging.ERROR)
path, room = sys.argv[1], int(sys.argv[2])
storage = JournalStorage(JournalFileBackend(path))
study = optuna.create_study(
    storage=storage, study_name="full", load_if_exists=True, sampler=RocketSampler(seed=0)
)
if room:
    import os
    size = os.path.getsize(path) + room
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=8)
    print("done")
except Exception as error:  # Optuna raises another one on top of it
    while not isinstance(error, OSError):
        error = error.__context__
    print("OSError", error.errno)
"""


def run_journal(path: Path, room: int) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FULL_JOURNAL, str(path), str(room)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout + done.stderr


def test_a_full_disk_under_a_journal_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    assert "done" in run_journal(path, 0)
    assert "OSError 27" in run_journal(path, 1500)  # EFBIG
    # A record that was cut off must go before another one is appended to it.
    whole, _, half = path.read_bytes().rpartition(b"\n")
    if half:
        path.write_bytes(whole + b"\n")
    assert "done" in run_journal(path, 0)
    study = optuna.load_study(
        study_name="full", storage=JournalStorage(JournalFileBackend(str(path)))
    )
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) >= 16


# Trials that are run again


def failed(number_of_retry: int | None = None, **trial: Any) -> FrozenTrial:
    attributes = {} if number_of_retry is None else {"retry_history": [number_of_retry]}
    return optuna.create_trial(
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        system_attrs=attributes,
        **trial,
    )


def read(study: Study) -> list[int]:
    return [record.number for record in TrialReader().read(study, new_trial(study), fresh=True)]


@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.COMPLETE, TrialState.FAIL])
def test_the_death_of_a_worker_is_no_failure_of_its_trial(state: TrialState) -> None:
    study, reader = optuna.create_study(), TrialReader()
    study.add_trial(failed(state=TrialState.FAIL))
    add(study, 0.2, 1.0)
    asking = new_trial(study)
    assert [r.number for r in reader.read(study, asking, fresh=True)] == [0, 1]
    value = 1.0 if state == TrialState.COMPLETE else None
    study.add_trial(failed(0, state=state, value=value))
    expected = [1] if state == TrialState.WAITING else [1, 3]
    # A reader with a past says the same as a new one.
    assert [r.number for r in reader.read(study, asking, fresh=True)] == expected
    assert [r.number for r in TrialReader().read(study, asking, fresh=True)] == expected
    add(study, 0.3, 1.0)
    assert [r.number for r in reader.read(study, asking, fresh=True)] == [*expected, 4]


def test_so_is_it_where_the_next_worker_died_too() -> None:
    study = optuna.create_study()
    study.add_trial(failed(state=TrialState.FAIL))
    study.add_trial(failed(0, state=TrialState.RUNNING))
    study.add_trials([failed(state=TrialState.COMPLETE, value=1.0)] * 500)
    assert read(study)[:2] == [2, 3]


@pytest.mark.parametrize(
    "history", [None, 3, "0", {"0": 1}, [None], ["0"], [0.0], [[0]], [True], [99], [-1]]
)
def test_a_foreign_retry_history_drops_nothing(history: Any) -> None:
    study = optuna.create_study()
    study.add_trial(failed(state=TrialState.FAIL))
    study.add_trial(failed(state=TrialState.FAIL))
    study._storage.set_trial_system_attr(new_trial(study)._trial_id, "retry_history", history)
    assert read(study) == [0, 1, 2]


def test_a_trial_that_completed_is_evidence_whoever_ran_it_again() -> None:
    study = optuna.create_study()
    add(study, 0.2, 1.0)
    study.add_trial(failed(0, state=TrialState.COMPLETE, value=2.0))
    assert read(study) == [0, 1]


# Attributes of other versions, and of others


def test_attributes_of_a_newer_version_are_read_as_far_as_they_are_known() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    text = {"version": 9, "params": {"x": 0.5}, "kind": 1, "mean": 0.1, "std": 0.5, "new": [1]}
    add(study, 0.5, 1.0, system_attrs={ATTRIBUTE: json.dumps(text), "rocket:other": {"a": [1]}})
    record = TrialReader().read(study, new_trial(study))[0]
    assert record.suggestion.kind == 1 and record.suggestion.mean == 0.1
    with sampler_log() as messages:
        study.ask({"x": FloatDistribution(0, 1)})
    assert messages == []


def test_attributes_of_the_first_versions_are_read() -> None:
    """These did not say what the agent expected on the objective's scale."""
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) ** 2, n_trials=7)
    now = TrialReader().read(study, new_trial(study), fresh=True)
    for trial in study.get_trials(deepcopy=False):
        if ATTRIBUTE in trial.system_attrs:
            text = json.loads(trial.system_attrs[ATTRIBUTE])
            known = {name: text[name] for name in ("params", "kind", "mean", "std")}
            trial.system_attrs[ATTRIBUTE] = json.dumps(known)
    old = TrialReader().read(study, new_trial(study), fresh=True)
    assert any(record.suggestion.kind >= 0 for record in old)
    for one, other in zip(old[:7], now[:7], strict=True):
        assert one.params == other.params
        assert one.suggestion.kind == other.suggestion.kind
        assert str(one.suggestion.mean) == str(other.suggestion.mean)  # NaN where unknown
        assert math.isnan(one.suggestion.score) and math.isnan(one.suggestion.spread)
    with sampler_log() as messages:
        study.ask({"x": FloatDistribution(0, 1)})
    assert messages == []


FOREIGN_COSTS: list[Any] = [
    "text",
    7,
    [1, 2],
    {"steps": 5},
    {"steps": [10, 30, 90]},
    {"steps": ["a"], "seconds": [1.0]},
    {"steps": [1], "seconds": [None]},
    {"steps": [10**400], "seconds": [1.0]},
    {"steps": [10, 30], "seconds": [1.0]},
]


@pytest.mark.parametrize("costs", FOREIGN_COSTS, ids=str)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_foreign_costs_of_subsets_fail_no_trial(costs: object) -> None:
    evaluator = SubsetEvaluator(90, min_fraction=1 / 9, seed=0)
    study = optuna.create_study(sampler=RocketSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for subset in evaluator.subsets(trial):
            subset.report(x)
        return x

    add(study, 0.5, 1.0, user_attrs={COSTS: costs}, intermediate_values={90: 1.0})
    retried = failed(state=TrialState.WAITING, user_attrs={COSTS: costs})
    retried.intermediate_values = {evaluator.sizes[0]: 0.5}
    study.add_trial(retried)
    with package_log("evaluator") as messages:
        study.optimize(objective, n_trials=2)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert messages == []


def test_costs_of_very_many_instances_stay_within_every_storage() -> None:
    evaluator = SubsetEvaluator(6_000, by="instance", min_fraction=0.5, seed=0)
    study = optuna.create_study(sampler=RocketSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0, 1)
        subset = None
        for subset in evaluator.subsets(trial):
            subset.report(1.0)
        assert subset is not None
        return float(subset.value)

    study.optimize(objective, n_trials=1)
    assert study.trials[0].state == TrialState.COMPLETE
    assert len(json.dumps(study.trials[0].user_attrs)) < 65_535


# Clocks that jump


def test_the_clock_does_not_matter() -> None:
    """Trials that ended before they began, in the far future, or at no time at all."""

    def next_params(times: Sequence[tuple[datetime, datetime]]) -> dict[str, Any]:
        study = optuna.create_study(sampler=RocketSampler(seed=0))
        for k, (begun, ended) in enumerate(times):
            add(study, k / len(times), float(k))
            stored = study._storage.get_trial(k)
            stored.datetime_start, stored.datetime_complete = begun, ended
        with sampler_log() as messages:
            params = study.ask({"x": FloatDistribution(0, 1)}).params
        assert messages == []
        return params

    now, hour = datetime(2026, 1, 1), timedelta(hours=1)
    right = [(now + k * hour, now + (k + 1) * hour) for k in range(8)]
    backwards = [(now - k * hour, now - (k + 5) * hour) for k in range(8)]
    far = [(datetime.max, datetime.min)] * 8
    assert next_params(right) == next_params(backwards) == next_params(far)


def test_times_are_compared_with_and_without_a_zone() -> None:
    day = datetime(2026, 1, 1)
    there = timezone(timedelta(hours=1))
    local = day.astimezone()  # the same moment
    assert may_precede(day, local) and may_precede(local, day)
    assert may_precede(local.astimezone(there), day) and may_precede(day, local.astimezone(there))
    late = (local + timedelta(seconds=1)).astimezone(there)
    assert may_precede(day, late) and not may_precede(late, day)
    assert may_precede(None, day) and may_precede(late, None)
    end = datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))
    assert may_precede(day, end) and not may_precede(end, day)


def test_missing_and_backward_times_can_be_explained() -> None:
    pytest.importorskip("plotly", reason="plotly is not installed")
    import optuna_rocket
    from optuna_rocket import visualization

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1) ** 2, n_trials=8)
    extreme = [datetime.min, datetime.max]
    moments: list[datetime | None] = [None, datetime(2026, 1, 1), *extreme]
    moments += [moment.replace(tzinfo=timezone.utc) for moment in extreme]  # some have a zone
    rng = np.random.default_rng(0)
    for trial in study.get_trials(deepcopy=False):
        trial.datetime_start = moments[rng.integers(len(moments))]
        trial.datetime_complete = moments[rng.integers(len(moments))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        assert "trial 7" in str(optuna_rocket.explain(study, 7)).lower()
        assert visualization.plot_policy_timeline(study).data
