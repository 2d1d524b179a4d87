"""Databases on a full disk, and a Redis whose memory is full: see ``full_servers``."""

from __future__ import annotations

from collections.abc import Iterator
import time

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from benchmarks.storages import opened
from optuna_rocket import RocketSampler
from tests import example_workers
from tests import full_servers
from tests.full_servers import Server
from tests.support import sampler_log


pytest.importorskip("sqlalchemy", reason="sqlalchemy is not installed")

# What the storage's own error says.
SAYS = {
    "redis": ("command not allowed when used memory > 'maxmemory'",),
    "postgresql": ("No space left on device",),
    "postgresql log": (  # the server ends itself, and cannot start
        "server closed the connection unexpectedly",
        "terminating connection",
        "in recovery mode",
        "Connection refused",
    ),
    "mysql": ("is full",),
}


@pytest.fixture(
    params=[
        "redis",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in full_servers.KINDS[1:]),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(kind: str) -> Iterator[Server]:
    with full_servers.running(kind) as server:
        yield server


@pytest.fixture(autouse=True)
def no_worker_outlives_its_test() -> Iterator[None]:
    yield
    example_workers.kill_all()


def loss(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    return x + (trial.suggest_categorical("kind", ["a", "b"]) == "a")


def loss_of(trial: FrozenTrial) -> float:
    return float(trial.params["x"] + (trial.params["kind"] == "a"))


def test_a_full_server_ends_the_run_and_loses_nothing(kind: str, server: Server) -> None:
    told: dict[int, float | None] = {}

    def note(study: optuna.Study, trial: FrozenTrial) -> None:
        told[trial.number] = trial.value

    with opened(server.url) as storage:
        study = optuna.create_study(
            study_name="full", storage=storage, sampler=RocketSampler(seed=0)
        )
        study.optimize(loss, n_trials=3, callbacks=[note])
        server.fill()
        with sampler_log() as messages, pytest.raises(Exception) as caught:
            study.optimize(loss, n_trials=3000, callbacks=[note])
    assert messages == [], "the sampler is not at fault and does not say so"
    assert any(words in chain(caught.value) for words in SAYS[kind])
    server.make_room()
    server.wait()
    with opened(server.url) as storage:
        study = optuna.load_study(
            study_name="full", storage=storage, sampler=RocketSampler(seed=0)
        )
        n = len(study.trials)
        study.optimize(loss, n_trials=3)
        complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
        assert told.items() <= {trial.number: trial.value for trial in complete}.items()
        assert all(trial.value == loss_of(trial) for trial in complete)
        # The error met one trial; its result may have been stored before the answer was lost.
        assert len(told) + 3 <= len(complete) <= len(told) + 4
        assert [trial.number for trial in study.trials] == list(range(n + 3))
        assert n <= len(told) + 1


def chain(error: BaseException | None) -> str:
    """What an error says, and those that it hides."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_workers_wait_for_room(kind: str, server: Server) -> None:
    with opened(server.url) as storage:
        study = optuna.create_study(study_name="cluster", storage=storage)
        workers = [example_workers.start(server.url, n_trials=60) for _ in range(2)]
        example_workers.wait_for_trials(study, 3, TrialState.COMPLETE)
        server.fill()
        if kind == "postgresql log":
            wait_for_the_end_of(server)
        else:
            for worker in workers:
                assert worker.stdout is not None
                assert "waiting for the storage" in worker.stdout.readline()
    server.make_room()
    server.wait()
    example_workers.end(workers)
    with opened(server.url) as storage:
        study = optuna.load_study(study_name="cluster", storage=storage)
        complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
        assert len(complete) >= 60
        assert len({tuple(trial.params.items()) for trial in complete}) == len(complete)


def wait_for_the_end_of(server: Server) -> None:
    """A server that has ended itself is waited for without a word."""
    until = time.monotonic() + 120
    while server.is_running():
        assert time.monotonic() < until, "the server goes on"
        time.sleep(0.1)
