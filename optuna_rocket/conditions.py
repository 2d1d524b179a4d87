"""Which parameters exist under which values of others, as far as the trials show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import MAX_PARENT_CELLS
from optuna_rocket.space import Space


BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
_N_CONDITION_ROWS = 500


def find(past: History, space: Space, stopped: BoolArray) -> dict[int, tuple[int, list[bool]]]:
    """Which parameter switches which one on, as far as the trials show it.

    A parameter is conditional on another one of few values if, over all trials that ran to their
    end, the value alone tells whether it was there. See ``Space.geometry`` for the result's form.

    Args:
        past: The trials.
        space: Their space.
        stopped: ``(n,)`` which of them may have stopped before all of their parameters.
    """
    if bool(past.active.all()):
        return {}
    rows = torch.arange(max(0, past.n_trials - _N_CONDITION_ROWS), past.n_trials)
    rows = rows[past.outcomes[0, rows] != Outcome.PENDING]
    ended = ~stopped[rows.numpy()]
    active = past.active[0, rows].numpy()
    geometry = space.plain_geometry
    n_cells = geometry.parent_cells[0].numpy().astype(int)
    cell_at = geometry.cells_of(past.units[:, rows])[0].numpy()
    parents = [p for p in range(len(space)) if 1 < n_cells[p] <= MAX_PARENT_CELLS]
    found: dict[int, tuple[int, list[bool]]] = {}
    for child in range(len(space)):
        if active[:, child].all():
            continue
        for parent in sorted(parents, key=lambda p: (n_cells[p], p)):
            if parent == child or (active[:, child] & ~active[:, parent]).any():
                continue
            with_parent = active[:, parent]
            cells = np.clip(cell_at[with_parent, parent], 0, n_cells[parent] - 1)
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

    A trial may have stopped before it came to the child: its absence counts only where nothing
    speaks against it. (A parameter wrongly taken for absent is asked for on its own.)
    Cells that no trial has had count as active: a value for the child is then at hand.
    """
    on = np.bincount(cells, weights=child, minlength=k) > 0
    if (on[cells] & ended & ~child).any():
        return None
    seen = np.bincount(cells, minlength=k) > 0
    if on[seen].all():
        return None  # it says nothing about when the child is absent
    return [bool(x) for x in on | ~seen]
