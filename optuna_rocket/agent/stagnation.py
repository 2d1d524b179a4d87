"""Studies that are stuck: some trials look elsewhere.

A memory that was fitted to a poor region and to the plateau around it takes most parameters for
irrelevant, and then nothing that lies far from the trials promises anything: a study whose good
configurations are rare stays at the best of the bad ones (``benchmarks/decoys.py``). What the
memory says is no help there, so these trials are spread as those of the start are. Where branches
are told apart (``branches.py``) their turns do this.
"""

from __future__ import annotations

import math

from optuna_rocket.agent import branches
from optuna_rocket.agent import newcomers
from optuna_rocket.history import History
from optuna_rocket.space import Geometry


# One of three trials looks elsewhere, up to this one; from then on ever fewer do.
_OFTEN_UNTIL, _EVERY = 30, 3
# A study is stuck when it has not risen for so many trials, nor for this share of all.
PATIENCE = 7
_PATIENCE_SHARE = 0.25
# A rise is this share of the distance from the median score to the best: less may be noise.
_LEAST_RISE = 0.1
_TOO_FEW = 10  # trials


def takes_turn(history: History, geometry: Geometry) -> bool:
    """Whether the next trial of a single study looks elsewhere; batches of training never do."""
    n = history.n_trials
    is_turn = len(history.scores) == 1 and n >= _TOO_FEW and _n_turns(n + 1) > _n_turns(n)
    if not is_turn:
        return False
    count = stagnation(newcomers.marked(history, geometry))
    if count < max(PATIENCE, _PATIENCE_SHARE * n):
        return False
    return not bool(branches.differ(history, geometry))


def _n_turns(n: int) -> int:
    """How many of ``n`` trials of a study that is always stuck look elsewhere."""
    late = math.log(n / _OFTEN_UNTIL) if n > _OFTEN_UNTIL else 0.0
    return int((min(n, _OFTEN_UNTIL) + _OFTEN_UNTIL * late) / _EVERY)


def stagnation(history: History) -> int:
    """Number of comparable scores of a single study since the best one last rose clearly."""
    scores = history.scores[0, history.comparable[0]]
    if not len(scores):
        return 0
    best = scores.cummax(0).values
    level = best[-1] - _LEAST_RISE * (best[-1] - scores.median())
    return int((best >= level).sum()) - 1
