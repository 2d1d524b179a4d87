"""Branches of conditional spaces: which one to try next, and proposals inside of it.

A *branch* is a set of conditional parameters that exist together. A rule over all candidates at
once treats branches badly: with its spread it either leaves a branch after a few bad trials or
scatters the trials over all of them and tunes none. Here a branch is chosen first, by what its
own trials leave to hope for, and then the configuration within, against the branch's own best.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from optuna_rocket.agent import proposals
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import Geometry


# How many standard deviations of a branch's trials its best one may yet improve, by count.
HOPE = 5.0
PRIOR_COUNT = 0.5
FIRST = 3
ALL = 48
_GAP_CAP = 4.0
ON = True
EVERY = 1
LOCAL = True


def keys(active: Tensor, geometry: Geometry) -> Tensor:
    """``(B, m)`` int64, equal for configurations of the same branch."""
    conditional = (geometry.parent >= 0)[:, None]
    return geometry.keys((active & conditional).double())


def choose(history: History, geometry: Geometry, pool: Pool) -> Tensor:
    """Key of the branch to try next, among those of the candidates of one study."""
    trials, candidates = keys(history.active, geometry)[0], keys(pool.active, geometry)[0]
    found, index = torch.cat([candidates.unique(), trials]).unique(return_inverse=True)
    index = index[-len(trials) :] if len(trials) else index[:0]
    gaps, scored = _gaps(history)
    k = len(found)
    count = torch.bincount(index, minlength=k).double()
    which = index[scored]
    n = torch.bincount(which, minlength=k).double()
    mean = torch.bincount(which, gaps, minlength=k) / n.clamp_min(1)
    squares = torch.bincount(which, (gaps - mean[which]).square(), minlength=k)
    pooled = squares.sum() / (n - 1).clamp_min(0).sum().clamp_min(1)
    spread = ((PRIOR_COUNT * pooled + squares) / (PRIOR_COUNT + (n - 1).clamp_min(0))).sqrt()
    least = torch.full((k,), torch.inf, dtype=gaps.dtype).scatter_reduce(0, which, gaps, "amin")
    middle = least[n > 0].median() if bool((n > 0).any()) else torch.zeros(())
    least = torch.where(n > 0, least, middle)
    hope = HOPE * spread / count.clamp_min(0.5).sqrt() - least
    there = torch.isin(found, candidates)
    due = count < min(FIRST, ALL // max(int(there.sum()), 1))
    hope = torch.where(due, 1e6 - count, hope)
    hope = hope.masked_fill(~there, -torch.inf)
    return found[hope.argmax()]


def _gaps(history: History) -> tuple[Tensor, Tensor]:
    """How far scored trials lie below the best, in units of the distance to the lower quartile."""
    scored = history.scored[0]
    half = history.scores[0][scored] / 2
    if len(half) == 0:
        return half, scored
    best, quarter = half.max(), half.quantile(0.25)
    unit = best - quarter if best > quarter else (best - half.min()).clamp_min(1e-300)
    return ((best - half) / unit).clamp(0, _GAP_CAP), scored


def propose(
    history: History,
    geometry: Geometry,
    pool: Pool,
    key: Tensor,
    n_candidates: int,
    generator: torch.Generator,
    fixed: Tensor | None,
) -> Pool:
    """Candidates inside of one branch: half around its own trials, half around all good ones."""
    parents = torch.zeros_like(geometry.present[0])
    parents[geometry.parent[0][geometry.parent[0] >= 0]] = True
    inside = keys(pool.active, geometry)[0] == key
    rows, there = pool.units[0, inside], (parents & pool.active[0])[inside]
    half = proposals.pool_size(n_candidates // 2)
    pick = torch.randint(0, len(rows), (2, half), generator=generator)
    held = rows[pick].masked_fill(~there[pick], torch.nan)
    if fixed is not None:
        held = torch.where(torch.isfinite(fixed), fixed, held)
    own = (keys(history.active, geometry)[0] == key).nonzero()[:, 0]
    first = proposals.propose(
        history.take(own), geometry, n_candidates // 2, generator, held[:1]
    )
    second = proposals.propose(history, geometry, n_candidates // 2, generator, held[1:])
    return Pool(
        torch.cat([first.units, second.units], 1),
        torch.cat([first.active, second.active], 1),
        torch.cat([first.kind, second.kind], 1),
    )
