"""Parameters that an edited objective asks for no more: most often, it holds them somewhere good.

In the kernel a trial that lacks a parameter is far from all that have it, and a proposal that
moves what nobody asks for repeats its parent. So later trials are read as if they held what has
gone at its value in the best trial that had it, and so are candidates. Where it is held elsewhere,
earlier trials mislead, and a new study may be better (``benchmarks/README.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from optuna_rocket.history import History
from optuna_rocket.history import Outcome


# A parameter has gone where so many trials in a row had it and so many lack it since.
_N_HAD, _N_LACK = 5, 3


def columns(past: History) -> list[int]:
    """Columns of the parameters that have gone.

    Every complete trial had it from its first one on, and the latest lack it. Were that a
    condition which nothing explains, trials with and without it would come by turns.
    """
    if bool(past.active.all()):
        return []
    active = past.active[0, _told(past)]
    had = active.sum(0)
    before = (active.cumsum(0) == 0).sum(0)
    since = (active.flip(0).cumsum(0) == 0).sum(0)
    in_a_row = before + had + since == len(active)
    found = in_a_row & (had >= _N_HAD) & (since >= _N_LACK)
    return [int(column) for column in found.nonzero()[:, 0]]


def held(past: History, gone: Sequence[int], merit: Tensor) -> Tensor | None:
    """Units ``(1, d)`` at which what has gone is held, NaN elsewhere; None for nothing.

    Args:
        past: The trials.
        gone: From ``columns``.
        merit: ``(n,)`` how good the trials are.
    """
    if not gone:
        return None
    units = torch.full((1, past.units.shape[-1]), torch.nan, dtype=torch.float64)
    merit = merit.masked_fill(~_told(past), -torch.inf)
    for column in gone:
        best = merit.masked_fill(~past.active[0, :, column], -torch.inf).argmax()
        units[0, column] = past.units[0, best, column]
    return units


def filled(past: History, at: Tensor | None) -> History:
    """The history in which trials since then hold what has gone ``at`` its units.

    They did not ask for it, which ``planned`` says.
    """
    if at is None:
        return past
    had = past.active & _told(past)[None, :, None]
    since = had.flip(1).cumsum(1).flip(1) == 0
    holds = torch.isfinite(at)[:, None] & since & ~past.blank[..., None] & ~past.active
    units = torch.where(holds, at[:, None], past.units)
    planned = holds if past.planned is None else past.planned | holds
    return replace(past, units=units, active=past.active | holds, planned=planned)


def _told(past: History) -> Tensor:
    """Trials ``(n,)`` that tell what the objective asks for."""
    return (past.outcomes[0] == Outcome.COMPLETE) & ~past.blank[0]
