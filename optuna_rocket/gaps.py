"""What trials lack, and why: the history in which that is told, and the space as it shows there.

A condition says that the parameter does not exist (``conditions``); the trial ended before it
came to it (``early_ends``); an edited objective asks for it no more (``departures``). Each looks
at what those before it leave unexplained. What joined later stays a gap (``agent/newcomers.py``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from optuna_rocket import conditions
from optuna_rocket import departures
from optuna_rocket import early_ends
from optuna_rocket import rows as encoding
from optuna_rocket.goals import Goals
from optuna_rocket.history import History
from optuna_rocket.rows import Rows
from optuna_rocket.space import Geometry


def explained(rows: Rows, asked: Collection[str] = ()) -> tuple[History, Geometry, Goals | None]:
    """The trials with what they would have had, their space, and what is wanted of them.

    Args:
        rows: The trials.
        asked: Names of parameters that exist whatever earlier trials made believe.
    """
    space, past, goals = rows.space, encoding.history(rows), encoding.goals(rows)
    found = {
        child: condition
        for child, condition in conditions.find(past, space, rows.stopped).items()
        if space.names[child] not in asked
    }
    # Whether there are gaps is told when they have been filled.
    geometry = space.geometry(found, has_gaps=False) if found else space.plain_geometry
    past = early_ends.filled(past, rows, geometry)
    gone = [
        column
        for column in departures.columns(past)
        if column not in found and space.names[column] not in asked
    ]
    held = departures.held(past, gone, past.scores[0] if goals is None else goals.standing)
    past = departures.filled(past, held)
    has_gaps = not bool(past.active.all())
    if has_gaps or held is not None:
        geometry = replace(geometry, has_gaps=has_gaps, held=held)
    return past, geometry, goals
