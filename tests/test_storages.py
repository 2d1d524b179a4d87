"""Several processes on every storage; those behind servers only where the servers are there."""

from __future__ import annotations

from collections.abc import Iterator
import json
import os
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import TrialState
import pytest

from benchmarks.storages import KINDS
from benchmarks.storages import Unreachable
from benchmarks.storages import empty_storage
from benchmarks.storages import opened
from optuna_rocket import RocketSampler
from optuna_rocket import suggestions
from optuna_rocket import trials
from optuna_rocket.suggestions import ATTRIBUTE
from optuna_rocket.suggestions import Suggestion
from tests import processes
from tests.support import Crash
from tests.support import all_params
from tests.support import new_trial
from tests.support import rough
from tests.support import rough_study
from tests.support import sampler_log


# MySQL's TEXT column is the tightest of all.
MAX_BYTES = 65_535


@pytest.fixture(scope="module", params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty storage of every kind."""
    try:
        with empty_storage(request.param, tmp_path_factory.mktemp("storage")) as place:
            yield place
    except Unreachable as reason:
        # A server that the environment names has to be there: CI must not skip it in silence.
        if f"OPTUNA_ROCKET_{request.param.upper()}" in os.environ:
            raise
        pytest.skip(str(reason))


@pytest.fixture
def storage(url: str) -> Iterator[BaseStorage]:
    with opened(url) as storage:
        yield storage


def configurations(study: Study) -> list[tuple[Any, ...]]:
    return [tuple(sorted(trial.params.items())) for trial in study.trials]


def assert_nothing_is_lost_or_repeated(study: Study, n_trials: int) -> None:
    assert [trial.number for trial in study.trials] == list(range(n_trials))
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert len(set(configurations(study))) == n_trials


def test_workers_neither_lose_nor_repeat_a_trial(url: str, storage: BaseStorage) -> None:
    study = optuna.create_study(study_name="shared", storage=storage)
    assert processes.start(processes.take_part, 3, url, "shared", 5).join() == [0, 0, 0]
    assert_nothing_is_lost_or_repeated(study, 15)
    assert sum(ATTRIBUTE in trial.system_attrs for trial in study.trials) >= 12


@pytest.mark.slow
def test_eight_workers_exhaust_most_of_a_space_without_repetition(
    url: str, storage: BaseStorage
) -> None:
    study = optuna.create_study(study_name="eight", storage=storage)
    assert processes.start(processes.take_part, 8, url, "eight", 10).join() == [0] * 8
    assert_nothing_is_lost_or_repeated(study, 80)


def test_a_study_copied_to_another_storage_goes_on_alike(url: str, storage: BaseStorage) -> None:
    here = rough_study(None, seed=7)
    here.optimize(rough, n_trials=14, catch=(Crash,))
    optuna.copy_study(
        from_study_name="rough",
        from_storage=here._storage,
        to_storage=storage,
        to_study_name="copied",
    )
    there = optuna.load_study(
        study_name="copied", storage=storage, sampler=RocketSampler(seed=7), pruner=here.pruner
    )
    assert all_params(there) == all_params(here)
    for study in (here, there):
        study.optimize(rough, n_trials=3, catch=(Crash,))
    assert all_params(there) == all_params(here)


NAMES = {
    "many": [f"parameter_{k:05}" for k in range(2_000)],
    "quoted": [f'"{k}"' + '"\\' * 10 for k in range(1_000)],
    "accented": [f"{k}-" + "é" * 20 for k in range(450)],
    "japanese": [f"{k}-" + "学習率" * 5 for k in range(500)],
}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("n", [200, 400, 800, None])
def test_stored_suggestions_fit_the_tightest_column(kind: str, n: int | None) -> None:
    text = suggestions.encode(Suggestion(dict.fromkeys(NAMES[kind][:n], 1 / 3), 1, 0.5, 0.25))
    # Databases hold the attribute as JSON: a text within a text.
    assert len(json.dumps(text).encode()) <= MAX_BYTES
    assert suggestions.read({ATTRIBUTE: text}).kind == 1


@pytest.mark.parametrize("kind", NAMES)
def test_the_largest_suggestions_are_stored_and_read_back(kind: str, storage: BaseStorage) -> None:
    names = NAMES[kind]
    largest = max(
        (n for n in range(0, len(names), 50) if _fits(names[:n])), default=0
    )  # with parameters; beyond it they are left out
    assert largest > 0
    study = optuna.create_study(storage=storage)
    for n in (largest, len(names)):
        trial = new_trial(study)
        suggestion = Suggestion(dict.fromkeys(names[:n], 1 / 3), 1, 0.5, 0.25)
        trials.write_suggestion(study, trial, suggestion)
        read = trials.stored_suggestion(study._storage.get_trial(trial._trial_id))
        assert read is not None and read.kind == 1
        assert read.params == (suggestion.params if _fits(names[:n]) else {})


def _fits(names: list[str]) -> bool:
    text = suggestions.encode(Suggestion(dict.fromkeys(names, 1 / 3), 1, 0.5, 0.25))
    return len(json.loads(text)["params"]) == len(names)


def test_a_worker_logs_nothing_unusual(storage: BaseStorage) -> None:
    study = optuna.create_study(storage=storage, sampler=RocketSampler(seed=0))
    with sampler_log() as messages:
        study.optimize(processes.grid_loss, n_trials=4)
    assert messages == []
