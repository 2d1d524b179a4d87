"""Trials that ended before they came to all of their parameters: what the others would have been.

An objective may look at its first parameters and raise or prune at once. The row of such a trial
lacks the rest, which in the kernel is a distance from everything that ran: the memory would learn
nothing of where it failed, and the study would go on to fail there. What the trial would have been
given is known, as suggestions are stored whole.

A parameter can be missing for another reason: a trial that ran and failed has all that its branch
asks for, and was planned when less was known of the conditions. So nothing is filled in where a
condition says that the parameter does not exist, nor in a column that complete trials came to lack
and no condition explains, but for the trials before it went for good.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.rows import Rows
from optuna_rocket.space import Geometry


def filled(past: History, rows: Rows, geometry: Geometry) -> History:
    """The history of some rows with what was ``planned``; itself where there is nothing to fill.

    Args:
        past: The trials as they were. What is found of the conditions is found in these: planned
            children would contradict it.
        rows: The same trials.
        geometry: The space with its conditions.
    """
    planned = torch.from_numpy(rows.planned)[None]
    meant = ~planned.isnan()
    if not bool(meant.any()):
        return past
    complete = (past.outcomes == Outcome.COMPLETE)[..., None]
    unexplained = geometry.unexplained(past.units, past.active)
    gaps = unexplained & complete & past.appeared & ~past.blank[..., None]
    before = gaps.cumsum(1) == 0
    gone = ~(past.active & ~before).any(1, keepdim=True)  # until the first gap it was asked for
    meant &= ~gaps.any(1, keepdim=True) | (before & gone)
    units = torch.where(meant, planned, past.units)
    meant &= geometry.activity(units)
    if not bool(meant.any()):
        return past
    active = past.active | meant
    return replace(past, units=geometry.fill_inactive(units, active), active=active, planned=meant)
