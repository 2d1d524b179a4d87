"""Earlier studies, read: of each a table of numbers is kept.

Sources are only read, once. One that cannot be read, or from which nothing can be learned, costs a
warning.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_rocket import trials
from optuna_rocket.history import Outcome
from optuna_rocket.records import Record
from optuna_rocket.records import latest_distributions
from optuna_rocket.rows import FloatArray
from optuna_rocket.rows import finite_scores
from optuna_rocket.space import modelled


Given = Study | tuple[str | BaseStorage, str]

_logger = optuna.logging.get_logger(f"optuna.{__name__}")
# Of each source: its best trials up to a third of this, and others spread over its life.
MAX_TRIALS = 64
MAX_SOURCES = 200
_MIN_TRIALS = 3


class Mark(NamedTuple):
    """What tells a trial from those of other studies, through whatever storage it is read."""

    number: int
    started: datetime | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Source:
    """What is kept of an earlier study.

    Attributes:
        name: The study's name.
        n_trials: Number of its trials with a score.
        distributions: Parameter name to its latest distribution.
        values: ``(n, d)`` parameters in Optuna's internal representation, NaN where missing.
        scores: ``(n,)``, greater is better, finite.
        fidelity: ``(n,)`` share of a full evaluation.
        marks: ``n`` marks of the trials, by number.
    """

    name: str
    n_trials: int
    distributions: Mapping[str, BaseDistribution]
    values: FloatArray
    scores: FloatArray
    fidelity: FloatArray
    marks: tuple[Mark, ...]

    def is_of(self, records: Sequence[Record]) -> bool:
        """Whether it is the study of the records, by number, or of the first ones of them.

        Its trials are those of the same numbers, as far as the records go.
        """
        last = records[-1].number if records else -1
        if not self.marks or self.marks[0].number > last:
            return False
        for mark in takewhile(lambda mark: mark.number <= last, self.marks):
            at = bisect_left(records, mark.number, key=lambda record: record.number)
            if _mark(records[at].trial) != mark:
                return False
        return True


def check(source_studies: object) -> tuple[Given, ...]:
    """Check what was given as ``source_studies``.

    Raises:
        ValueError: If it is not a sequence of studies or of (storage, study name) pairs.
    """
    advice = "Give a list of studies, or of (storage, study name) pairs."
    if source_studies is None:
        return ()
    if isinstance(source_studies, (str, Mapping)) or not isinstance(source_studies, Iterable):
        raise ValueError(f"source_studies={source_studies!r} is not a sequence. {advice}")
    given = tuple(source_studies)
    for i, one in enumerate(given):
        is_pair = isinstance(one, (tuple, list)) and len(one) == 2
        if isinstance(one, Study):
            continue
        if (
            not is_pair
            or not isinstance(one[0], (str, BaseStorage))
            or not isinstance(one[1], str)
        ):
            raise ValueError(f"source_studies[{i}]={one!r} is no study. {advice}")
    return given


def read_sources(given: Sequence[Given]) -> tuple[Source, ...]:
    """Read the earlier studies; those that cannot be used are logged and left out."""
    if len(given) > MAX_SOURCES:
        _logger.warning(
            f"Of {len(given)} source studies the last {MAX_SOURCES} are read. Give the others "
            "first, or leave them out."
        )
    storages: dict[str, BaseStorage] = {}
    sources = []
    for one in given[-MAX_SOURCES:]:
        try:
            study = one if isinstance(one, Study) else _opened(one[0], one[1], storages)
            sources.append(read_source(study))
        except Exception as error:
            _logger.warning(f"Nothing is learned from the source {_name(one)}: {reason(error)}.")
    return tuple(sources)


def _opened(storage: str | BaseStorage, name: str, storages: dict[str, BaseStorage]) -> Study:
    """A study of a storage, which is not created where it does not exist."""
    if isinstance(storage, str):
        if storage not in storages:
            storages[storage] = open_storage(storage)
        storage = storages[storage]
    return optuna.load_study(study_name=name, storage=storage)


def open_storage(url: str) -> RDBStorage:
    """A database that exists; tables and versions are neither made nor brought up to date.

    Raises:
        FileNotFoundError: If it is a file that does not exist; other errors are the database's.
    """
    path = url.partition("sqlite:///")[2].partition("?")[0]
    if path and not Path(path).exists():
        raise FileNotFoundError(f"there is no file {path}")
    return RDBStorage(url, skip_table_creation=True, skip_compatibility_check=True)


def _name(given: Given) -> str:
    try:
        return repr(given.study_name if isinstance(given, Study) else given[1])
    except Exception:
        return "(its name cannot be read)"


def reason(error: Exception) -> str:
    """An error in one line."""
    while isinstance(error, StorageInternalError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # Optuna's own words name another reason, whatever went wrong
    lines = str(error).splitlines() or ["no reason given"]
    return f"{lines[0]} ({type(error).__name__})"


def read_source(study: Study) -> Source:
    """The trials of a study that are worth keeping.

    Raises:
        ValueError: If there is nothing to learn from; other errors are the storage's.
    """
    found = usable(study, _MIN_TRIALS, MAX_TRIALS)
    names = sorted(found.distributions)
    return Source(
        str(study.study_name),
        found.n_trials,
        {name: found.distributions[name] for name in names},
        np.array([[x.params.get(name, math.nan) for name in names] for x in found.records]),
        found.scores,
        np.array([record.fidelity for record in found.records]),
        tuple(_mark(record.trial) for record in found.records),
    )


def _mark(trial: FrozenTrial) -> Mark:
    return Mark(trial.number, trial.datetime_start, tuple(trial.values or ()))


class Usable(NamedTuple):
    """What there is to learn from in an earlier study.

    Attributes:
        records: Its trials with a score that are worth keeping, by number.
        scores: ``(n,)`` their scores, finite.
        distributions: Of the parameters that vary, the latest ones.
        n_trials: Number of its trials with a score, kept or not.
    """

    records: list[Record]
    scores: FloatArray
    distributions: dict[str, BaseDistribution]
    n_trials: int


def usable(study: Study, least: int, most: int) -> Usable:
    """What there is to learn from in a study.

    Args:
        study: An earlier study.
        least: With fewer trials that have a score there is nothing to learn.
        most: At most so many are kept.

    Raises:
        ValueError: If there is nothing to learn from; other errors are the storage's.
    """
    if len(study.directions) > 1:
        raise ValueError(f"it has {len(study.directions)} objectives")
    stored = study.get_trials(deepcopy=False)
    records = [x for x in trials.records_of(study, stored, len(stored)) if _is_usable(x)]
    if len(records) < least:
        raise ValueError(f"it has {len(records)} trials with a score, fewer than {least}")
    scores = finite_scores(np.array([record.score for record in records], dtype=np.float64))
    if not scores.max() > scores.min():
        raise ValueError("all its trials have the same score")
    index = _representative(scores, most)
    kept = [records[i] for i in index]
    distributions = modelled(latest_distributions(record.trial for record in kept))
    if not distributions:
        raise ValueError("it has no parameter that varies")
    return Usable(kept, scores[index], distributions, len(scores))


def _is_usable(record: Record) -> bool:
    """Whether a trial ended with a score and is feasible."""
    ended = record.outcome in (Outcome.COMPLETE, Outcome.PRUNED)
    feasible = all(value <= 0 for value in record.constraints.values())
    return ended and feasible and not math.isnan(record.score)


def _representative(scores: FloatArray, most: int) -> list[int]:
    """Indices, in order, of at most so many: a third the best, the others spread over the life."""
    n = len(scores)
    if n <= most:
        return list(range(n))
    best = np.argsort(-scores, kind="stable")[: most // 3]
    others = np.setdiff1d(np.arange(n), best)
    spread = np.linspace(0, len(others) - 1, most - len(best)).round().astype(int)
    return sorted(int(i) for i in np.concatenate([best, others[spread]]))
