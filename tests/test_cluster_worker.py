"""The example's worker, in this process: its trial is failed by others, its storage goes away."""

from __future__ import annotations

from collections.abc import Callable
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState
import pytest
import sqlalchemy

from benchmarks.storages import opened
from tests.support import ROOT


pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

N_TRIALS = 3
Disturb = Callable[[optuna.Trial], None]


class Clock:
    """What the example sees of ``time``: nobody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example as a module."""
    path = ROOT / "examples" / "05_cluster.py"
    spec = util.spec_from_file_location("cluster_example", path)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "time", Clock())
    return module


@pytest.fixture(params=["sqlite", "journal"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    place = f"sqlite:///{tmp_path}/study.db" if request.param == "sqlite" else f"{tmp_path}/s.log"
    with opened(place) as storage:
        sampler = optuna.samplers.RandomSampler(seed=0)
        yield optuna.create_study(study_name="cluster", storage=storage, sampler=sampler)


def work(
    example: ModuleType,
    study: optuna.Study,
    monkeypatch: pytest.MonkeyPatch,
    *,
    before: Disturb | None = None,
    after: Disturb | None = None,
) -> None:
    """Run a worker; something happens in trial 1 before or after it asks for its parameters."""

    def objective(trial: optuna.Trial) -> float:
        if before is not None and trial.number == 1:
            before(trial)
        x = trial.suggest_float("x", 0, 1)
        if after is not None and trial.number == 1:
            after(trial)
        return x

    monkeypatch.setattr(example, "objective", objective)
    example.Worker(study, N_TRIALS, example.LostTrials(None, 60)).run()


def failed_by_another(study: optuna.Study) -> Disturb:
    """What another worker does with a trial without a heartbeat."""

    def fail(trial: optuna.Trial) -> None:
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        RetryHeartbeatStaleTrialCallback(max_retry=3)(
            study, study._storage.get_trial(trial._trial_id)
        )

    return fail


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_whose_trial_was_failed_goes_on(
    example: ModuleType,
    study: optuna.Study,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    when: str,
) -> None:
    disturb: dict[str, Any] = {when: failed_by_another(study)}
    work(example, study, monkeypatch, **disturb)
    states = [trial.state for trial in study.trials]
    assert states == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,  # the lost one, once more
        TrialState.COMPLETE,
    ]
    assert study.trials[2].system_attrs["retry_history"] == [1]
    assert "trial 1 was failed; another worker may run it again" in capsys.readouterr().out


def breaks_once(
    method: Callable[..., Any], happens: Callable[..., bool], error: Exception
) -> Callable[..., Any]:
    """A storage's method that raises once, when it is called as ``happens`` says."""
    errors = [error]

    def call(*arguments: Any, **options: Any) -> Any:
        if errors and happens(*arguments, **options):
            raise errors.pop()
        return method(*arguments, **options)

    return call


def is_complete(trial_id: int, state: TrialState, values: Any = None) -> bool:
    return state == TrialState.COMPLETE


def test_a_result_in_hand_outlives_an_outage(
    example: ModuleType,
    study: optuna.Study,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell = study._storage.set_trial_state_values
    broken = breaks_once(tell, is_complete, ConnectionError("away"))
    monkeypatch.setattr(study._storage, "set_trial_state_values", broken)
    work(example, study, monkeypatch)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * N_TRIALS
    assert "waiting for the storage" in capsys.readouterr().out


def test_patience_begins_with_the_outage(
    example: ModuleType, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work_long(trial: optuna.Trial) -> None:
        example.time.now += 10 * example.PATIENCE
        tell = study._storage.set_trial_state_values
        broken = breaks_once(tell, is_complete, ConnectionError("away"))
        monkeypatch.setattr(study._storage, "set_trial_state_values", broken)

    work(example, study, monkeypatch, after=work_long)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * N_TRIALS


def test_an_outage_that_lasts_ends_the_worker(
    example: ModuleType, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(study._storage, "create_new_trial", away)
    with pytest.raises(ConnectionError):
        work(example, study, monkeypatch)
    assert example.PATIENCE < example.time.now <= example.PATIENCE + example.MAX_PAUSE


def test_an_error_of_the_objective_is_no_outage(
    example: ModuleType, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(trial: optuna.Trial) -> None:
        raise ValueError("out of memory")

    with pytest.raises(ValueError, match="out of memory"):
        work(example, study, monkeypatch, after=crash)
    assert study.trials[1].state == TrialState.FAIL
    assert study.trials[1].user_attrs == {"error": "ValueError('out of memory')"}


def test_a_trial_that_the_storage_failed_is_queued_again(
    example: ModuleType, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        example.time.now += 30
        if trial.number == 1:
            raise ConnectionError("no room")
        return x

    monkeypatch.setattr(example, "objective", objective)
    example.Worker(study, 10, example.LostTrials(None, 60)).run()
    retried = [t for t in study.trials if "retry_history" in t.system_attrs]
    assert [t.system_attrs["retry_history"] for t in retried] == [[1]]
    assert retried[0].params == study.trials[1].params
    assert retried[0].state == TrialState.COMPLETE


# Trials of which Optuna loses sight


def failed(study: optuna.Study, **attributes: Any) -> None:
    study.add_trial(optuna.create_trial(state=TrialState.FAIL, **attributes))


def retries(study: optuna.Study) -> list[list[int]]:
    return [t.system_attrs.get("retry_history", []) for t in study.get_trials(deepcopy=False)]


def look(example: ModuleType, study: optuna.Study, lost: Any, seconds: float) -> None:
    example.time.now += seconds
    lost(study, study.trials[0])


def test_a_failed_trial_that_nobody_queued_is_queued_once(
    example: ModuleType, study: optuna.Study
) -> None:
    lost, other = example.LostTrials(None, 60), example.LostTrials(None, 60)
    failed(study)
    failed(study, user_attrs={"error": "ValueError()"})  # the objective's fault
    failed(study)
    failed(study, system_attrs={"retry_history": [2]})  # another run of 2, and the last that is
    failed(study, system_attrs={"retry_history": [7, 8, 9]})
    look(example, study, lost, 0)
    look(example, study, other, 0)
    look(example, study, lost, 59)
    assert len(study.trials) == 5, "whoever failed it may be about to queue it"
    for _ in range(10):
        look(example, study, lost, 30)
        look(example, study, other, 30)
    assert retries(study)[5:] == [[0], [2, 3]]
    assert {trial.state for trial in study.trials[5:]} == {TrialState.WAITING}


def test_a_running_trial_without_a_heartbeat_becomes_stale(
    example: ModuleType, tmp_path: Path
) -> None:
    storage = example.open_storage(f"sqlite:///{tmp_path}/study.db", heartbeat=1)
    study = optuna.create_study(study_name="cluster", storage=storage)
    study._storage.create_new_trial(study._study_id)  # by a worker that is killed
    lost, other = example.LostTrials(storage, 60), example.LostTrials(storage, 60)
    for _ in range(10):
        look(example, study, lost, 30)
        look(example, study, other, 30)
    with storage.engine.begin() as connection:
        beat = "UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-1 hour')"
        assert connection.execute(sqlalchemy.text(beat)).rowcount == 1
    for _ in range(10):  # it is not kept alive
        look(example, study, lost, 30)
    optuna.storages.fail_stale_trials(study)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert retries(study) == [[], [0]]
    storage.remove_session()
    storage.engine.dispose()
