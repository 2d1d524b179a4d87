"""Records as arrays over one search space, and those as the agent's ``History``."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import attrgetter
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial
import torch

from optuna_rocket.fidelity.approximation import Reports
from optuna_rocket.goals import Goals
from optuna_rocket.history import History
from optuna_rocket.records import Record
from optuna_rocket.space import Space


FloatArray = np.ndarray[Any, np.dtype[np.float64]]
# Sums of squares of so large numbers are finite.
_LARGEST_SLACK = 1e150
_ROW_ARRAYS = (
    "units",
    "active",
    "planned",
    "stopped",
    "outcomes",
    "scores",
    "constraints",
    "fidelity",
    "predicted",
    "kind",
)


@dataclass(frozen=True)
class Rows:
    """Records encoded over a space, as arrays of ``n`` rows: see ``History``.

    ``scores`` is ``(n, m)`` here, one column per objective, and ``constraints`` ``(n, c)`` holds
    the values of ``constraint_names``, NaN where a trial has none. ``planned`` ``(n, d)`` are the
    units that a trial would have been given where it may have stopped before it asked, NaN
    elsewhere; ``stopped`` ``(n,)`` tells which trials these are (``Record.may_have_stopped``).
    """

    space: Space
    records: Sequence[Record]
    constraint_names: tuple[str, ...]
    units: FloatArray
    active: np.ndarray[Any, np.dtype[np.bool_]]
    planned: FloatArray
    stopped: np.ndarray[Any, np.dtype[np.bool_]]
    outcomes: np.ndarray[Any, np.dtype[np.int64]]
    scores: FloatArray
    constraints: FloatArray
    fidelity: FloatArray
    predicted: FloatArray
    kind: np.ndarray[Any, np.dtype[np.int64]]


def encode_rows(records: Sequence[Record], space: Space, known: Rows | None = None) -> Rows:
    """Encode records, copying the leading rows that ``known`` has already."""
    n, d = len(records), len(space)
    n_objectives = len(records[0].scores) if records else 1
    first = 0
    if known is not None and known.space.distributions == space.distributions:
        first = _common_prefix(records, known.records)
    # Of all, at the speed of C: a failed trial that is run again has left, with what it alone had.
    held = filter(None, map(attrgetter("constraints"), records))
    constraint_names = tuple(sorted(set[str]().union(*held)))
    if known is not None and known.constraint_names != constraint_names:
        first = 0
    rows = Rows(
        space=space,
        records=records,
        constraint_names=constraint_names,
        units=np.zeros((n, d)),
        active=np.zeros((n, d), dtype=np.bool_),
        planned=np.full((n, d), np.nan),
        stopped=np.zeros(n, dtype=np.bool_),
        outcomes=np.zeros(n, dtype=np.int64),
        scores=np.zeros((n, n_objectives)),
        constraints=np.full((n, len(constraint_names)), np.nan),
        fidelity=np.zeros(n),
        predicted=np.zeros((n, 2)),
        kind=np.zeros(n, dtype=np.int64),
    )
    for name in _ROW_ARRAYS if first and known is not None else ():
        getattr(rows, name)[:first] = getattr(known, name)[:first]
    for i in range(first, n):
        _encode_row(rows, i, records[i])
    return rows


def _common_prefix(a: Sequence[Record], b: Sequence[Record]) -> int:
    """Number of leading records that are the same ones.

    Found from the end, where alone they differ from one suggestion to the next.
    """
    n = min(len(a), len(b))
    while n and a[n - 1] is not b[n - 1]:
        n -= 1
    if a[:n] == b[:n]:  # at the speed of C where they are identical
        return n
    return sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], zip(a, b, strict=False)))


def _encode_row(rows: Rows, i: int, record: Record) -> None:
    space, suggestion = rows.space, record.suggestion
    rows.outcomes[i], rows.scores[i] = record.outcome, record.scores
    rows.fidelity[i], rows.kind[i] = record.fidelity, suggestion.kind
    rows.predicted[i] = suggestion.mean, suggestion.std
    for j, name in enumerate(rows.constraint_names):
        rows.constraints[i, j] = record.constraints.get(name, np.nan)
    for j, (name, distribution) in enumerate(space.distributions.items()):
        value = record.params.get(name)
        if value is not None and _same_kind(record.trial, name, distribution):
            rows.units[i, j], rows.active[i, j] = space.encode(j, value), True
    rows.stopped[i] = record.may_have_stopped
    for j, value in _planned(record, space) if rows.stopped[i] else ():
        rows.planned[i, j] = space.encode(j, value)


def _planned(record: Record, space: Space) -> Iterator[tuple[int, float]]:
    """Columns that a trial did not ask for, and what it would have been given there."""
    for j, (name, distribution) in enumerate(space.distributions.items()):
        value = record.suggestion.params.get(name)
        if value is None or name in record.trial.distributions:
            continue
        if isinstance(distribution, CategoricalDistribution):
            if value not in range(len(distribution.choices)):
                continue  # the choices are others today, or a foreign hand has written it
        yield j, value


def history(rows: Rows) -> History:
    """The rows as the agent's history (a batch of one), with the scores of the first objective."""
    active = torch.from_numpy(rows.active)[None]
    geometry = rows.space.plain_geometry
    return History(
        units=geometry.fill_inactive(torch.from_numpy(rows.units)[None], active),
        active=active,
        outcomes=torch.from_numpy(rows.outcomes)[None],
        scores=torch.from_numpy(finite_scores(rows.scores[:, 0]))[None],
        fidelity=torch.from_numpy(rows.fidelity)[None],
        predicted=torch.from_numpy(rows.predicted)[None],
        kind=torch.from_numpy(rows.kind)[None],
        errors=torch.zeros(1, len(rows.records), dtype=torch.float64),
    )


def reports(records: Sequence[Record]) -> list[Reports]:
    """What complete and pruned trials have reported, as scores; nothing of the others."""
    return [
        (record.curve.steps, record.curve.scores) if record.curve is not None else ((), ())
        for record in records
    ]


def goals(rows: Rows) -> Goals | None:
    """What the study wants where that is more than the score of one objective."""
    n_objectives = rows.scores.shape[1]
    if n_objectives == 1 and not rows.constraint_names:
        return None
    scores = [finite_scores(rows.scores[:, j]) for j in range(n_objectives)]
    slacks = [_finite_slacks(-column) for column in rows.constraints.T]
    n = len(rows.records)
    return Goals(
        torch.from_numpy(np.array(scores).reshape(n_objectives, n)),
        torch.from_numpy(np.array(slacks).reshape(len(slacks), n)),
    )


def _same_kind(trial: FrozenTrial, name: str, distribution: BaseDistribution) -> bool:
    """Whether a trial's value can be read in today's distribution of that name."""
    known = trial.distributions.get(name)
    if known is None or known is distribution or known == distribution:
        return True
    if type(known) is not type(distribution):
        return False
    return getattr(known, "choices", None) == getattr(distribution, "choices", None)


def _finite_slacks(slacks: FloatArray) -> FloatArray:
    """Infinite slacks keep their side: they are as far from 0 as the farthest finite one, or 1."""
    sizes = np.abs(slacks[np.isfinite(slacks) & (slacks != 0)])
    most = min(float(sizes.max()), _LARGEST_SLACK) if len(sizes) else 1.0
    return np.clip(slacks, -most, most)


def finite_scores(scores: FloatArray) -> FloatArray:
    """Infinite scores become the worst or best finite one (0 where there is none)."""
    finite = scores[np.isfinite(scores)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    scores = np.where(scores == -np.inf, low, scores)
    return np.where(scores == np.inf, high, scores).astype(np.float64)
