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
from torch import Tensor

from optuna_rocket.agent import proposals
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.agent.visited import Visited
from optuna_rocket.goals import Goals
from optuna_rocket.history import History
from optuna_rocket.space import Geometry


# Chosen on ``benchmarks/front_twins.py``, as it is for one trial in three.
_LEAST_COVERAGE = 0.5
_EVERY = 3
# A stretch is worth a trial where its middle is farther from all trials than this.
_LEAST_DISTANCE = 0.02
_N_PLACES = 101


def propose(
    goals: Goals, context: History, geometry: Geometry, units: Tensor, tried: Visited
) -> Pool | None:
    """The trial of best standing with one number moved; None where none is due.

    Args:
        goals: Of the trials that the memories hold, running ones included.
        context: These trials, a batch of one.
        geometry: The space.
        units: ``(n, d)`` unit values of all trials of the study.
        tried: What these have tried.
    """
    due = len(goals.scores) > 1 and len(units) % _EVERY == 0
    if not due or not bool(goals.feasible.any()) or goals.box.coverage >= _LEAST_COVERAGE:
        return None
    best = int(goals.standing.argmax())
    parent = Pool(*(x[:, [best]] for x in (context.units, context.active, context.kind)))
    fine = (geometry.n_cells == 0) | (geometry.n_cells * _LEAST_DISTANCE >= 1)
    moves = (geometry.free & ~geometry.is_categorical & fine & parent.active[:, 0])[0]
    places = _places(geometry)
    distance = _to_nearest(places, units)
    farthest, at = distance.masked_fill(~moves, 0.0).max(0)
    column = int(farthest.argmax())
    if farthest[column] <= _LEAST_DISTANCE:
        return None
    moved = parent.units.clone()
    moved[..., column] = places[at[column], column]
    kind = torch.full_like(parent.kind, proposals.KIND["mutation"])
    pool = proposals.finish(moved, kind, geometry)
    return None if bool(tried.has(pool.units).all()) else pool


def _places(geometry: Geometry) -> Tensor:
    """Where to look for stretches, ``(p, d)``; of log-scaled integers only values that exist.

    Their small values lie far apart: the place between two of them is far from every trial for
    ever, and a trial that goes there lands on one of the two.
    """
    places = torch.linspace(0, 1, _N_PLACES, dtype=torch.float64)[:, None]
    places = places.expand(-1, geometry.present.shape[1])
    if geometry.log_bounds is None:
        return places
    low, high = geometry.log_bounds[0]
    return torch.where(high > low, geometry.snap(places[None])[0], places)


def _to_nearest(places: Tensor, units: Tensor) -> Tensor:
    """How far ``places`` ``(p, d)`` are from the nearest value of each parameter, ``(p, d)``.

    In the order of the values, as ``p * n * d`` distances are too many for a long study.
    """
    ordered = units.T.sort().values.contiguous()  # (d, n)
    here = places.T.contiguous()
    above = torch.searchsorted(ordered, here)
    last = ordered.shape[1] - 1
    up = (ordered.gather(1, above.clamp_max(last)) - here).abs()
    down = (here - ordered.gather(1, (above - 1).clamp_min(0))).abs()
    return torch.minimum(up, down).T
