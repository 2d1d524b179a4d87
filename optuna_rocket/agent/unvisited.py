"""Trials where no trial has been, while several objectives do not seem to conflict.

A front that has collapsed to nearly a point has either found what is best at everything, or a
place where nearly all configurations are equally good at some objectives because the part of a
parameter's range that matters to them is small. The memories, which have seen nothing of that
part, call the parameter irrelevant, and no gain is expected anywhere along it. So now and then
the parameter with the longest stretch that no trial has been near goes to its middle, or to the
bound where it ends.
"""

from __future__ import annotations

import torch

from optuna_rocket.agent import proposals
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.goals import Goals
from optuna_rocket.history import History
from optuna_rocket.space import Geometry


# Chosen on ``benchmarks/front_twins.py``, as it is for one trial in three.
_LEAST_COVERAGE = 0.5
_EVERY = 3
# A stretch is worth a trial where its middle is farther from all trials than this.
_LEAST_DISTANCE = 0.02
_N_PLACES = 101


def propose(goals: Goals, history: History, geometry: Geometry) -> Pool | None:
    """The trial of best standing with one number moved; None where none is due.

    Args:
        goals: Of all trials, running ones included.
        history: These trials, a batch of one.
        geometry: The space.
    """
    due = len(goals.scores) > 1 and history.n_trials % _EVERY == 0
    if not due or not bool(goals.feasible.any()) or goals.box.coverage >= _LEAST_COVERAGE:
        return None
    best = int(goals.standing.argmax())
    parent = Pool(*(x[:, [best]] for x in (history.units, history.active, history.kind)))
    fine = (geometry.n_cells == 0) | (geometry.n_cells * _LEAST_DISTANCE >= 1)
    moves = (geometry.present & ~geometry.is_categorical & fine & parent.active[:, 0])[0]
    places = torch.linspace(0, 1, _N_PLACES, dtype=torch.float64)
    distance = (places[:, None, None] - history.units[0]).abs().amin(1)  # (p, d)
    farthest, at = distance.masked_fill(~moves, 0.0).max(0)
    column = int(farthest.argmax())
    if farthest[column] <= _LEAST_DISTANCE:
        return None
    units = parent.units.clone()
    units[..., column] = places[at[column]]
    kind = torch.full_like(parent.kind, proposals.KIND["mutation"])
    return proposals.finish(units, kind, geometry)
