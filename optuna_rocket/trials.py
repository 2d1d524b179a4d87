"""From stored Optuna trials to the agent's ``History``: the only reader of a study's storage.

All private names of Optuna that this package uses are in this file. What the agent writes is one
small JSON attribute per trial, ``rocket:suggestion``: the suggested parameters (so that other
workers see a running trial whole), the kind of the winning proposal, and what the memory expected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
import json
import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import torch

from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import MAX_PARENT_CELLS
from optuna_rocket.space import Space


FloatArray = np.ndarray[Any, np.dtype[np.float64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ATTRIBUTE = "rocket:suggestion"
# The smallest limit among the storages is MySQL's TEXT column: 65,535 bytes.
_MAX_ATTRIBUTE = 60_000
# A trial still running this many trials later belongs to a worker that died.
_MAX_PENDING_AGE = 200
_N_RUNG_PEERS = 64
_N_CONDITION_ROWS = 500
_ROW_ARRAYS = ("units", "active", "outcomes", "scores", "fidelity", "predicted", "kind")
_OUTCOMES = {
    TrialState.RUNNING: Outcome.PENDING,
    TrialState.COMPLETE: Outcome.COMPLETE,
    TrialState.PRUNED: Outcome.PRUNED,
    TrialState.FAIL: Outcome.FAILED,
}


@dataclass(frozen=True)
class Suggestion:
    """What the agent said when it suggested a trial.

    Attributes:
        params: Parameter name to Optuna's internal representation.
        kind: Index into ``features.PROPOSAL_KINDS``, -1 where unknown.
        mean: Expected transformed score, NaN where unknown.
        std: Its standard deviation, NaN where unknown.
    """

    params: dict[str, float]
    kind: int = -1
    mean: float = math.nan
    std: float = math.nan


@dataclass(frozen=True)
class Record:
    """One stored trial in the terms of this package; ``score`` is greater when better."""

    trial: FrozenTrial
    number: int
    outcome: Outcome
    params: Mapping[str, float]
    score: float
    fidelity: float
    suggestion: Suggestion


class TrialReader:
    """Reads studies; keeps the records of finished trials, which never change.

    The kept records only save time: a new reader gives the same.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._records: dict[int, Record] = {}
        # The leading trials that have all finished, so that nothing about them can change.
        self._settled: list[Record] = []
        self._settled_rungs = _Rungs()
        self._latest: tuple[Sequence[FrozenTrial], int, list[Record]] = ([], -1, [])

    def read(self, study: Study, trial: FrozenTrial, *, fresh: bool = False) -> list[Record]:
        """All trials but ``trial`` itself that are finished or running, by number.

        Under ``HyperbandPruner`` these are the trials of all brackets: the agent knows how much
        of a full evaluation each result stands for. With ``fresh`` the storage is asked again, to
        see what other threads have suggested since this trial's first read.
        """
        stored = study._get_trials(deepcopy=False, use_cache=not fresh)
        # Optuna hands out one cached list during one trial of one thread.
        if stored is self._latest[0] and trial.number == self._latest[1]:
            return self._latest[2]
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        self._settle(stored, sign)
        records, rungs = list(self._settled), self._settled_rungs.copy()
        for other in stored[len(records) :]:
            if other.number == trial.number or other.state not in _OUTCOMES:
                continue
            dead = trial.number - other.number > _MAX_PENDING_AGE
            if other.state == TrialState.RUNNING and dead:
                continue
            records.append(self._record(other, sign, rungs))
            rungs.add(records[-1])
        self._latest = (stored, trial.number, records)
        return records

    def _settle(self, stored: Sequence[FrozenTrial], sign: float) -> None:
        """Bring the settled trials up to date; start again where they are another study's."""
        n = len(self._settled)
        known = n <= len(stored) and (n == 0 or self._settled[-1].trial is stored[n - 1])
        if not known or (n and self._settled[0].trial is not stored[0]):
            self._forget()
        for other in stored[len(self._settled) :]:
            if not other.state.is_finished():
                break
            self._settled.append(self._record(other, sign, self._settled_rungs))
            self._settled_rungs.add(self._settled[-1])

    def _record(self, trial: FrozenTrial, sign: float, rungs: _Rungs) -> Record:
        kept = self._records.get(trial.number)
        if kept is not None and kept.trial is trial:
            return kept
        record = _record(trial, sign, rungs)
        # What a pruned trial is worth depends on earlier ones, which may be running still.
        if trial.state in (TrialState.COMPLETE, TrialState.FAIL):
            self._records[trial.number] = record
        return record


def union_distributions(records: Sequence[Record]) -> dict[str, BaseDistribution]:
    """The latest distribution of every parameter that any trial has had."""
    distributions: dict[str, BaseDistribution] = {}
    for record in records:
        distributions.update(record.trial.distributions)
    return distributions


def internal_params(
    params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
) -> dict[str, float]:
    """Optuna's internal representation of the values that fit their distribution's kind."""
    internal: dict[str, float] = {}
    for name, value in params.items():
        if name not in distributions:
            continue
        try:
            representation = float(distributions[name].to_internal_repr(value))
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isfinite(representation):
            internal[name] = representation
    return internal


def imposed_params(
    trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]
) -> dict[str, float]:
    """What is already decided of a trial: values set, enqueued, or suggested before."""
    attrs = trial.system_attrs
    planned = _parse(attrs.get(ATTRIBUTE)).params
    planned = {name: value for name, value in planned.items() if name in distributions}
    enqueued = attrs.get("fixed_params")
    enqueued = enqueued if isinstance(enqueued, Mapping) else {}
    return planned | internal_params({**enqueued, **trial.params}, distributions)


def write_suggestion(study: Study, trial: FrozenTrial, suggestion: Suggestion) -> None:
    """Store what the agent said about a running trial."""
    content = {
        "params": suggestion.params,
        "kind": suggestion.kind,
        "mean": round(suggestion.mean, 6),
        "std": round(suggestion.std, 6),
    }
    text = json.dumps(content)
    if len(text) > _MAX_ATTRIBUTE:
        text = json.dumps({**content, "params": {}})
    study._storage.set_trial_system_attr(trial._trial_id, ATTRIBUTE, text)


@dataclass(frozen=True)
class Rows:
    """Records encoded over a space, as arrays of ``n`` rows: see ``History``."""

    space: Space
    records: Sequence[Record]
    units: FloatArray
    active: np.ndarray[Any, np.dtype[np.bool_]]
    outcomes: np.ndarray[Any, np.dtype[np.int64]]
    scores: FloatArray
    fidelity: FloatArray
    predicted: FloatArray
    kind: np.ndarray[Any, np.dtype[np.int64]]


def encode_rows(records: Sequence[Record], space: Space, known: Rows | None = None) -> Rows:
    """Encode records, copying the leading rows that ``known`` has already."""
    n, d = len(records), len(space)
    rows = Rows(
        space=space,
        records=records,
        units=np.zeros((n, d)),
        active=np.zeros((n, d), dtype=np.bool_),
        outcomes=np.zeros(n, dtype=np.int64),
        scores=np.zeros(n),
        fidelity=np.zeros(n),
        predicted=np.zeros((n, 2)),
        kind=np.zeros(n, dtype=np.int64),
    )
    first = 0
    if known is not None and known.space.distributions == space.distributions:
        pairs = zip(records, known.records, strict=False)
        first = sum(1 for _ in takewhile(lambda pair: pair[0] is pair[1], pairs))
        for name in _ROW_ARRAYS:
            getattr(rows, name)[:first] = getattr(known, name)[:first]
    for i in range(first, n):
        _encode_row(rows, i, records[i])
    return rows


def _encode_row(rows: Rows, i: int, record: Record) -> None:
    space, suggestion = rows.space, record.suggestion
    rows.outcomes[i], rows.scores[i] = record.outcome, record.score
    rows.fidelity[i], rows.kind[i] = record.fidelity, suggestion.kind
    rows.predicted[i] = suggestion.mean, suggestion.std
    for j, (name, distribution) in enumerate(space.distributions.items()):
        value = record.params.get(name)
        if value is not None and _same_kind(record.trial, name, distribution):
            rows.units[i, j], rows.active[i, j] = space.encode(j, value), True


def history(rows: Rows) -> History:
    """The rows as the agent's history (a batch of one)."""
    active = torch.from_numpy(rows.active)[None]
    geometry = rows.space.geometry({}, has_gaps=False)
    return History(
        units=geometry.fill_inactive(torch.from_numpy(rows.units)[None], active),
        active=active,
        outcomes=torch.from_numpy(rows.outcomes)[None],
        scores=torch.from_numpy(_finite_scores(rows.scores))[None],
        fidelity=torch.from_numpy(rows.fidelity)[None],
        predicted=torch.from_numpy(rows.predicted)[None],
        kind=torch.from_numpy(rows.kind)[None],
    )


def conditions(past: History, space: Space) -> dict[int, tuple[int, list[bool]]]:
    """Which parameter switches which one on, as far as the trials show it.

    A parameter is conditional on another one of few values if, over all trials that ran to their
    end, the value alone tells whether it was there. See ``Space.geometry`` for the result's form.
    """
    if bool(past.active.all()):
        return {}
    rows = torch.arange(max(0, past.n_trials - _N_CONDITION_ROWS), past.n_trials)
    rows = rows[past.outcomes[0, rows] != Outcome.PENDING]
    ended = (past.outcomes[0, rows] != Outcome.FAILED).numpy()
    active, units = past.active[0, rows].numpy(), past.units[0, rows].numpy()
    geometry = space.geometry({}, has_gaps=False)
    n_cells = geometry.n_cells[0].numpy().astype(int)
    scale = np.where(geometry.is_categorical[0].numpy(), 1, n_cells)
    parents = [p for p in range(len(space)) if 1 < n_cells[p] <= MAX_PARENT_CELLS]
    found: dict[int, tuple[int, list[bool]]] = {}
    for child in range(len(space)):
        if active[:, child].all():
            continue
        for parent in sorted(parents, key=lambda p: (n_cells[p], p)):
            if parent == child or (active[:, child] & ~active[:, parent]).any():
                continue
            with_parent = active[:, parent]
            cells = np.clip(units[with_parent, parent] * scale[parent], 0, n_cells[parent] - 1)
            allowed = _explains(
                active[with_parent, child],
                ended[with_parent],
                cells.astype(int),
                int(n_cells[parent]),
            )
            if allowed is not None:
                found[child] = (parent, allowed)
                break
    return found


def _explains(child: BoolArray, ended: BoolArray, cells: Any, k: int) -> list[bool] | None:
    """Cells of the parent under which the child is active, None if they do not decide it.

    A trial that failed may have stopped before it came to the child: its absence counts only where
    nothing speaks against it. (A parameter wrongly taken for absent is asked for on its own.)
    Cells that no trial has had count as active: a value for the child is then at hand.
    """
    on = np.bincount(cells, weights=child, minlength=k) > 0
    if (on[cells] & ended & ~child).any():
        return None
    seen = np.bincount(cells, minlength=k) > 0
    if on[seen].all():
        return None  # it says nothing about when the child is absent
    return [bool(x) for x in on | ~seen]


class _Rungs:
    """The latest complete trials, for judging pruned ones."""

    def __init__(self) -> None:
        self._complete: deque[Record] = deque(maxlen=_N_RUNG_PEERS)
        self._longest = 0

    def copy(self) -> _Rungs:
        """The same, to be continued on its own."""
        twin = _Rungs()
        twin._complete, twin._longest = self._complete.copy(), self._longest
        return twin

    def add(self, record: Record) -> None:
        """Take note of a trial, in order of number."""
        if record.outcome == Outcome.COMPLETE and math.isfinite(record.score):
            self._complete.append(record)
            if record.trial.intermediate_values:
                self._longest = max(self._longest, record.trial.last_step or 0)

    def judge(self, trial: FrozenTrial, sign: float) -> tuple[float, float]:
        """Score that a full evaluation of a pruned trial might have had, and its fidelity.

        The rank of its last report among earlier complete trials at the same step is carried over
        to their final scores. Without such trials the report stands for itself; without a report,
        the lower quartile of the scores does (somebody judged it not worth going on).
        """
        step = trial.last_step
        value = sign * trial.intermediate_values[step] if step is not None else math.nan
        if step is None or math.isnan(value):
            finals = [record.score for record in self._complete]
            return (float(np.quantile(finals, 0.25)) if finals else math.nan), 0.2
        longest = max(self._longest, step)
        fidelity = min(max(step / longest, 0.05), 0.95) if longest > 0 else 0.5
        pairs = [
            (sign * reports[step], record.score)
            for record in self._complete
            if step in (reports := record.trial.intermediate_values)
            and math.isfinite(reports[step])
        ]
        if len(pairs) < 2:
            return value, fidelity
        rungs = np.array([rung for rung, _ in pairs])
        worse = float((rungs < value).mean() + 0.5 * (rungs == value).mean())
        return float(np.quantile([final for _, final in pairs], worse)), fidelity


def _record(trial: FrozenTrial, sign: float, rungs: _Rungs) -> Record:
    suggestion = _parse(trial.system_attrs.get(ATTRIBUTE))
    params = internal_params(trial.params, trial.distributions)
    score, fidelity = math.nan, 1.0
    if trial.state == TrialState.COMPLETE and trial.values is not None:
        score = sign * trial.values[0]
    elif trial.state == TrialState.PRUNED:
        score, fidelity = rungs.judge(trial, sign)
    elif trial.state == TrialState.RUNNING:
        params = suggestion.params | params
    return Record(trial, trial.number, _OUTCOMES[trial.state], params, score, fidelity, suggestion)


def _parse(text: object) -> Suggestion:
    """A stored suggestion, blank where it is absent or not as this version writes it."""
    blank = Suggestion({})
    if not isinstance(text, str) or len(text) > _MAX_ATTRIBUTE:
        return blank
    try:
        content = json.loads(text)
        params = {str(name): float(value) for name, value in content["params"].items()}
        suggestion = Suggestion(
            params, int(content["kind"]), float(content["mean"]), float(content["std"])
        )
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
        return blank
    sane = abs(suggestion.kind) < 100 and all(math.isfinite(value) for value in params.values())
    return suggestion if sane else blank


def _same_kind(trial: FrozenTrial, name: str, distribution: BaseDistribution) -> bool:
    """Whether a trial's value can be read in today's distribution of that name."""
    known = trial.distributions.get(name)
    if known is None or known == distribution:
        return True
    if type(known) is not type(distribution):
        return False
    return getattr(known, "choices", None) == getattr(distribution, "choices", None)


def _finite_scores(scores: FloatArray) -> FloatArray:
    """Infinite scores become the worst or best finite one (0 where there is none)."""
    finite = scores[np.isfinite(scores)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    scores = np.where(scores == -np.inf, low, scores)
    return np.where(scores == np.inf, high, scores).astype(np.float64)
