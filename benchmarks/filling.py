"""Many trials into an empty storage at once: one by one, a hundred thousand take a long time."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import datetime
import itertools
from typing import Any

import numpy as np
import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import sqlalchemy as sa


STUDY = "scale"
NAMES = tuple(f"x{i}" for i in range(5))
UNIT = optuna.distributions.FloatDistribution(0.0, 1.0)
_TEN_SECONDS = datetime.timedelta(seconds=10)
_CREATE_TRIAL = 4  # in a journal
_AT_ONCE = 10_000  # trials per transaction, or per writing to a file


def value_of(point: Sequence[float]) -> float:
    """The objective: smooth, lowest at .3 in every parameter."""
    return float(sum((coordinate - 0.3) ** 2 for coordinate in point))


def fill(storage: BaseStorage, n_stored: int, seed: int = 0) -> None:
    """Create the study and store random trials of a smooth function in it.

    What is stored is what ``storage.create_new_trial`` would store of the same trials.

    Args:
        storage: An empty storage.
        n_stored: The number of trials.
        seed: The seed of the trials.
    """
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], STUDY)
    templates = enumerate(_templates(n_stored, seed))
    backend = getattr(storage, "_backend", None)  # of a journal, or of a cached database
    while some := list(itertools.islice(templates, _AT_ONCE)):
        if isinstance(backend, RDBStorage):
            _insert(backend.engine, study_id, some)
        elif isinstance(backend, BaseJournalBackend):
            _append(backend, study_id, some)
        else:
            for _, template in some:
                storage.create_new_trial(study_id, template_trial=template)


def _templates(n: int, seed: int) -> Iterator[FrozenTrial]:
    start = datetime.datetime(2026, 1, 1)
    for point in np.random.default_rng(seed).random((n, len(NAMES))):
        trial = optuna.trial.create_trial(
            params=dict(zip(NAMES, map(float, point), strict=True)),
            distributions=dict.fromkeys(NAMES, UNIT),
            value=value_of(list(point)),
        )
        trial.datetime_start, trial.datetime_complete = start, start + _TEN_SECONDS
        assert trial.state == TrialState.COMPLETE
        yield trial


def _insert(engine: sa.Engine, study_id: int, some: Sequence[tuple[int, FrozenTrial]]) -> None:
    """Rows of a database, in one transaction."""
    metadata = sa.MetaData()
    metadata.reflect(engine, only=["trials", "trial_params", "trial_values"])
    trials, params, values = (
        metadata.tables[name] for name in ("trials", "trial_params", "trial_values")
    )
    with engine.begin() as connection:
        connection.execute(trials.insert(), [_trial_row(study_id, *each) for each in some])
        mine = (trials.c.study_id == study_id) & (trials.c.number >= some[0][0])
        found = connection.execute(sa.select(trials.c.number, trials.c.trial_id).where(mine))
        ids: dict[int, int] = {number: trial_id for number, trial_id in found}
        connection.execute(
            params.insert(), [row for n, trial in some for row in _param_rows(ids[n], trial)]
        )
        connection.execute(values.insert(), [_value_row(ids[n], trial) for n, trial in some])


def _trial_row(study_id: int, number: int, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": number,
        "study_id": study_id,
        "state": trial.state.name,
        "datetime_start": _utc(trial.datetime_start).replace(tzinfo=None),
        "datetime_complete": _utc(trial.datetime_complete).replace(tzinfo=None),
    }


def _param_rows(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for name, value in trial.params.items():
        yield {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }


def _value_row(trial_id: int, trial: FrozenTrial) -> dict[str, Any]:
    return {"trial_id": trial_id, "objective": 0, "value": trial.value, "value_type": "FINITE"}


def _append(
    journal: BaseJournalBackend, study_id: int, some: Sequence[tuple[int, FrozenTrial]]
) -> None:
    """Lines of a journal, in one writing."""
    journal.append_logs([_line(study_id, trial) for _, trial in some])


def _line(study_id: int, trial: FrozenTrial) -> dict[str, Any]:
    parameters = trial.distributions.items()
    return {
        "op_code": _CREATE_TRIAL,
        "worker_id": "filled",
        "study_id": study_id,
        "datetime_start": _utc(trial.datetime_start).isoformat(timespec="microseconds"),
        "state": trial.state,
        "value": trial.value,
        "values": None,
        "datetime_complete": _utc(trial.datetime_complete).isoformat(timespec="microseconds"),
        "distributions": {name: distribution_to_json(each) for name, each in parameters},
        "params": {n: each.to_internal_repr(trial.params[n]) for n, each in parameters},
        "user_attrs": {},
        "system_attrs": {},
        "intermediate_values": {},
    }


def _utc(moment: datetime.datetime | None) -> datetime.datetime:
    assert moment is not None
    return moment.astimezone(datetime.timezone.utc)
