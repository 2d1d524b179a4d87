"""Parameters that join a running study: whose scores say what can be reached.

A parameter that the objective held at some value and now asks for is missing in all trials before
it came, and no condition explains that. What they reached with that value, which nobody knows, may
be out of reach for long. As the level to beat it leaves nothing to hope for but what lies far
away; as the best score it makes all newer ones look equally bad; and as parents such trials have a
random value where a good one was. So as long as they are ahead, newer trials set the level and the
scale, and the memory reads the older ones as much better than that.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from optuna_rocket.history import History
from optuna_rocket.space import Geometry


# Fewer newer scores that differ set no scale, and may be those of a rare branch that nothing
# explains yet.
_ENOUGH = 4


def marked(history: History, geometry: Geometry) -> History:
    """The history with its ``outdated`` trials known."""
    old = outdated(history, geometry)
    return history if old is None else replace(history, outdated=old)


def outdated(history: History, geometry: Geometry) -> Tensor | None:
    """Trials ``(B, n)`` whose scores say nothing of what can be reached; None for none.

    A parameter has joined where no trial since its first one lacks it without a reason, and no
    parameter of the older trials has gone. A trial without any parameter (the score of today's
    product, noted by hand) is outdated too. Several objectives and constraints have a scale of
    their own, where nothing is.
    """
    if not (geometry.has_gaps and history.n_trials) or history.least_unit is not None:
        return None
    active, scored, blank = history.active, history.scored, history.blank
    unexplained, came = geometry.unexplained(history.units, active), history.appeared
    told = (scored & ~blank)[..., None]  # a trial that fails may not have got as far
    gone = (unexplained & came & told).any(1, keepdim=True)
    joined = (active & told).sum(1, keepdim=True) >= _ENOUGH
    old = (unexplained & ~came & joined & ~gone).any(-1)
    # One parameter in another's place was not held: what was reached with the other was tuned.
    still = (active & told & ~old[..., None]).any(1, keepdim=True)
    old = old & ~(active & ~still).any(-1) | blank
    level = history.scores.masked_fill(~(scored & old), -torch.inf).amax(-1, keepdim=True)
    newer = history.scores.masked_fill(~scored | old, -torch.inf)
    is_behind = newer.amax(-1, keepdim=True) < level
    old &= is_behind & (_n_different(newer) >= _ENOUGH)
    return old if bool(old.any()) else None


def _n_different(scores: Tensor) -> Tensor:
    """How many different finite scores ``(B, 1)`` there are among ``(B, n)``."""
    ascending = scores.sort(-1).values
    rises = torch.isfinite(ascending)
    rises[:, 1:] &= ascending.diff(dim=-1) != 0
    return rises.sum(-1, keepdim=True)
