"""Earlier studies that are odd, broken, large or no studies at all."""

from __future__ import annotations

from collections.abc import Callable
import copy
import math
from pathlib import Path
import pickle
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketSampler
from optuna_rocket import explain
from optuna_rocket import influence
from optuna_rocket.source_studies import MAX_SOURCES
from optuna_rocket.source_studies import MAX_TRIALS
from optuna_rocket.source_studies import read_source
from optuna_rocket.source_studies import read_sources
from tests.related_studies import SPACE
from tests.related_studies import filled
from tests.related_studies import loss
from tests.related_studies import target
from tests.related_studies import with_sources
from tests.support import all_params
from tests.support import package_log


def test_sources_are_only_read(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    storage = RDBStorage(f"sqlite:///{file}")
    filled(10, storage=storage, name="old")
    storage.engine.dispose()
    before = file.read_bytes()
    target(with_sources((f"sqlite:///{file}", "old")), 8)
    assert file.read_bytes() == before


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    with package_log("source_studies") as log:
        target(with_sources((f"sqlite:///{file}", "old")), 3)
    assert not file.exists()
    assert "'old'" in "".join(log) and "there is no file" in "".join(log)


def test_a_damaged_database_is_called_one(tmp_path: Path) -> None:
    file = tmp_path / "text.db"
    file.write_text("no database, but long enough to be read as one " * 50)
    with package_log("source_studies") as log:
        target(with_sources((f"sqlite:///{file}", "old")), 3)
    assert "file is not a database" in "".join(log)


def test_none_is_no_source() -> None:
    given = target(RocketSampler(seed=0, source_studies=None), 4)
    assert all_params(given) == all_params(target(RocketSampler(seed=0), 4))


def empty() -> Study:
    return optuna.create_study()


def constant() -> Study:
    return filled(value=lambda _: 1.0)


def all_failed() -> Study:
    study = optuna.create_study()
    for _ in range(5):
        study.tell(study.ask(SPACE), state=TrialState.FAIL)
    return study


def several_objectives() -> Study:
    study = optuna.create_study(directions=["minimize", "minimize"])
    for _ in range(5):
        study.tell(study.ask(SPACE), [1.0, 2.0])
    return study


def closed() -> Study:
    study = filled(5, storage=RDBStorage("sqlite://"), name="closed")
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]
    return study


class Broken(Study):
    """A study whose storage is corrupt in the worst way."""

    def __init__(self) -> None:
        pass

    @property
    def directions(self) -> list[optuna.study.StudyDirection]:
        raise RuntimeError("disk on fire")


@pytest.mark.parametrize("make", [empty, constant, all_failed, several_objectives, closed, Broken])
def test_useless_studies_cost_a_warning(make: Callable[[], Study]) -> None:
    plain = all_params(target(RocketSampler(seed=0), 6))
    with package_log("source_studies") as log:
        study = target(with_sources(make()), 6)
    assert len(log) == 1 and "Nothing is learned" in log[0]
    assert all_params(study) == plain


def test_poison_is_no_error() -> None:
    source = filled(10)
    values = [math.inf, -math.inf, 1e308, -1e308]
    for value in values:
        trial = source.ask(SPACE)
        source.tell(trial, value)
    for attribute in ("text", [1.0], [None, -1.0]):
        source.add_trial(
            optuna.create_trial(
                params={"x": 5.0, "rate": 1e300},
                distributions={
                    "x": FloatDistribution(-1e308, 1e308),
                    "rate": FloatDistribution(1e-300, 1e300, log=True),
                },
                value=0.0,
                system_attrs={"constraints": attribute},
            )
        )
    source.add_trial(
        optuna.create_trial(
            params={"kind": 1.0, "x": "text"},
            distributions={
                "kind": FloatDistribution(0, 1),
                "x": CategoricalDistribution(["text", None]),
            },
            value=0.5,
        )
    )
    with package_log("source_studies") as log:
        study = target(with_sources(source, filled(seed=1)), 8)
    assert not log
    assert len(study.trials) == 8


def test_the_study_itself_as_source() -> None:
    study = optuna.create_study()
    study.sampler = with_sources(study)
    with package_log("source_studies") as log:
        for _ in range(3):
            trial = study.ask(SPACE)
            study.tell(trial, loss(trial.params))
    assert len(log) == 1  # it was empty when it was read
    study.sampler = with_sources(study)
    for _ in range(3):
        trial = study.ask(SPACE)
        study.tell(trial, loss(trial.params))
    assert len(study.trials) == 6


def test_the_sampler_still_copies() -> None:
    sampler = with_sources(filled(10, storage=RDBStorage("sqlite://"), name="old"))
    twins = [pickle.loads(pickle.dumps(sampler)), copy.deepcopy(sampler), sampler]
    studies = [all_params(target(twin, 6)) for twin in twins]
    assert studies[0] == studies[1] == studies[2]
    pickled = pickle.dumps(sampler)
    assert b"sqlalchemy" not in pickled and b"optuna.storages" not in pickled
    assert b"optuna.trial" not in pickled


def test_what_is_kept_is_bounded() -> None:
    source = optuna.create_study()
    source.add_trials(
        optuna.create_trial(
            params={"x": k / 5000},
            distributions={"x": FloatDistribution(0, 1)},
            value=abs(k / 5000 - 0.3),
        )
        for k in range(5000)
    )
    kept = read_source(source)
    assert kept.values.shape == (MAX_TRIALS, 1) and kept.n_trials == 5000
    assert kept.values[kept.scores.argmax(), 0] == pytest.approx(0.3)
    assert kept.values.min() < 0.01 and kept.values.max() > 0.99


def test_too_many_sources_are_cut() -> None:
    studies = [filled(4)] * (MAX_SOURCES + 1)
    with package_log("source_studies") as log:
        assert len(read_sources(studies)) == MAX_SOURCES
    assert f"the last {MAX_SOURCES}" in "".join(log)


@pytest.mark.parametrize("given", ["name", 3, [3], [("sqlite://", 3)], [("a", "b", "c")], {}])
def test_what_is_no_source_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="source_studies"):
        RocketSampler(source_studies=given)


def test_a_study_is_no_source_of_itself(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    filled(8, storage=RDBStorage(url), name="resumed")
    filled(8, storage=RDBStorage(url), name="earlier", seed=1)

    def resumed(*names: str) -> Study:
        sampler = with_sources(*((url, name) for name in names))
        study = optuna.load_study(study_name="resumed", storage=url, sampler=sampler)
        trial = study.ask(SPACE)
        study.tell(trial, loss(trial.params))
        return study

    with package_log("experience") as log:
        assert list(influence(resumed("resumed", "earlier"))) == ["earlier"]
        study = resumed("resumed")
        assert influence(study) == {} and explain(study, 5).sources == {}
    assert len(log) == 2 and "'resumed' is left out" in log[0]
    with package_log("experience") as log:
        target(with_sources((url, "resumed"), (url, "earlier")), 6)
        resumed("earlier")
    assert not log
