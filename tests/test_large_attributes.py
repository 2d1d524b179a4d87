"""Attributes of many megabytes, of the study and of its trials, in every storage."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
import pytest

from benchmarks.storages import KINDS
from benchmarks.storages import Unreachable
from benchmarks.storages import empty_storage
from benchmarks.storages import opened
from optuna_rocket import RocketSampler
from optuna_rocket.suggestions import ATTRIBUTE
from tests.support import sampler_log


SPACE: dict[str, Any] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
MEGABYTE = 1_000_000
# MySQL's columns hold 65,535 bytes, the server of the proxy takes messages of 4 MB.
LIMITS = {"mysql": 60_000, "grpc": 3_500_000}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def storage(kind: str, tmp_path: Path) -> Iterator[BaseStorage]:
    try:
        with empty_storage(kind, tmp_path) as url, opened(url) as storage:
            yield storage
    except Unreachable as reason:
        pytest.skip(str(reason))


def loss(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1)


def weigh_down(study: Study, size: int) -> None:
    """Attributes by the study, one of its trials that has ended, and one that runs."""
    text = os.urandom(size // 2).hex()  # cannot be compressed
    study.set_user_attr("notes", text)
    study._storage.set_study_system_attr(study._study_id, "other:notes", text)
    ended = study.ask(SPACE)
    running = study.ask(SPACE)
    for trial in (ended, running):
        trial.set_user_attr("notes", text)
        study._storage.set_trial_system_attr(trial._trial_id, "other:notes", text)
    study.tell(ended, 1.0)


def suggests_as_without(storage: BaseStorage, size: int) -> None:
    """With and without the attributes the sampler does the same, and says nothing."""
    params = []
    for weight in (0, size):
        study = optuna.create_study(
            study_name=f"weight {weight}", storage=storage, sampler=RocketSampler(seed=0)
        )
        study.optimize(loss, n_trials=6)
        weigh_down(study, weight)
        study = optuna.load_study(
            study_name=f"weight {weight}", storage=storage, sampler=RocketSampler(seed=0)
        )
        with sampler_log() as messages:
            trials = [study.ask(SPACE) for _ in range(2)]
        assert messages == []
        params.append([trial.params for trial in trials])
        stored = study._storage.get_trial(trials[-1]._trial_id)
        assert len(stored.system_attrs[ATTRIBUTE]) < 10_000
    assert params[0] == params[1]


def test_attributes_change_no_suggestion(kind: str, storage: BaseStorage) -> None:
    suggests_as_without(storage, min(5 * MEGABYTE, LIMITS.get(kind, 5 * MEGABYTE)))


@pytest.mark.slow
def test_attributes_of_100_megabytes_change_no_suggestion(kind: str, storage: BaseStorage) -> None:
    if kind in LIMITS:
        pytest.skip(f"takes {LIMITS[kind]:,} bytes at most")
    suggests_as_without(storage, 100 * MEGABYTE)


@pytest.mark.parametrize("kind", sorted(LIMITS))
def test_an_attribute_that_is_too_large_is_the_storage_s_error(
    kind: str, storage: BaseStorage
) -> None:
    study = optuna.create_study(storage=storage, sampler=RocketSampler(seed=0))

    def too_large(trial: optuna.Trial) -> float:
        trial.set_user_attr("notes", "." * 5 * MEGABYTE)
        return loss(trial)

    with sampler_log() as messages:
        with pytest.raises(Exception, match=r"exceeding max length|larger than max"):
            study.optimize(too_large, n_trials=1)
        study.optimize(loss, n_trials=2)
    assert messages == []
    assert [trial.value is None for trial in study.trials] == [True, False, False]
