"""Branches of conditional spaces: which one to try next, and proposals inside of it.

A *branch* is a set of conditional parameters that exist together. A rule over all candidates at
once compares untuned trials of one branch with tuned ones of another: a branch that holds the best
configuration, but is bad without tuning, gets the trials that spread it and never those that tune
it. So every other trial chooses a branch first, by what its own trials leave to hope for, and then
the configuration inside of it, measured against the branch's own best trial. The trials between
follow the rule over everything (``benchmarks/README.md`` compares).

That is for spaces whose branches have little in common. Where most parameters exist in all of
them, as in a network with a few switches, what was learned in one holds in the others.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent import memory
from optuna_rocket.agent import proposals
from optuna_rocket.agent import visited
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.history import History
from optuna_rocket.scores import score_gaps
from optuna_rocket.space import Geometry


EVERY = 2  # trials, of which one is focused on a branch
# Branches are told apart where they have less than half of their parameters in common. Trees of
# models have .2 to .35 in common, networks with switches .75 to .95.
_LEAST_SHARE = 0.5
# How far below its best trial a branch's best value is hoped to be: so many standard deviations of
# the branch's scores, over the root of its number of trials.
_HOPE = 5.0
_PRIOR_COUNT = 0.5  # trials that the common standard deviation of all branches counts for
# Every branch gets this many trials before any is compared, fewer where there are many branches.
_FIRST = 3
_FIRST_OF_ALL = 48
# Scores that lie further below the best than this are equally bad: see ``scores.score_gaps``.
_WORST_GAP = 4.0


class Focus(NamedTuple):
    """Candidates inside of one branch, and the level to beat there, ``(1,)``."""

    pool: Pool
    incumbent: Tensor


def focus(
    history: History,
    remembered: Conditioned,
    pool: Pool,
    n_candidates: int,
    generator: torch.Generator,
    fixed: Tensor | None,
) -> Focus:
    """Candidates inside of the branch to try now, where it is the turn to choose one.

    A branch of which everything was tried has nothing to hope for.

    Args:
        history: All trials of one study.
        remembered: The memory.
        pool: Candidates; one of their branches is chosen.
        n_candidates: How many to propose inside of it, about.
        generator: The source of randomness.
        fixed: ``(1, d)`` imposed unit values, NaN where free.
    """
    tried = visited.by(history, remembered.geometry)
    pool = pool.take(tried.untried(pool.units)[None])
    key = choose(history, remembered.geometry, pool)
    found = inside(key, remembered, pool, n_candidates, generator, fixed)
    if not bool(tried.has(found.pool.units).all()):
        return found
    # What little is left of a small branch, its own candidates may have missed.
    own = branch_keys(pool.active, remembered.geometry)[0] == key
    return found._replace(pool=pool.take(own.nonzero()[:, 0][None]))


def takes_turn(history: History, geometry: Geometry) -> bool:
    """Whether the next trial chooses a branch first."""
    is_one_study = len(geometry.parent) == 1  # training's batches choose without branches
    is_turn = is_one_study and history.n_trials % EVERY == 0
    return is_turn and bool(differ(history, geometry))


def differ(history: History, geometry: Geometry) -> Tensor:
    """Whether the trials of each study ``(B,)`` have few of their parameters in common.

    They have none but common ones where no condition is known.
    """
    if not geometry.has_conditions:
        return torch.zeros(len(geometry.present), dtype=torch.bool)
    common = (history.active | ~geometry.present[:, None]).all(1) & geometry.present
    mean = history.active.double().sum(-1).mean(-1)  # NaN, and so False, without trials
    return common.sum(-1) < (1 - _LEAST_SHARE) * mean


def inside(
    key: Tensor,
    remembered: Conditioned,
    pool: Pool,
    n_candidates: int,
    generator: torch.Generator,
    fixed: Tensor | None,
) -> Focus:
    """Candidates inside of the branch ``key``, of which ``pool`` holds some: see ``focus``."""
    geometry, context = remembered.geometry, remembered.history
    own = (branch_keys(context.active, geometry)[0] == key) & context.comparable[0]
    incumbent = remembered.level[:, 0]  # what is expected of what nobody knows
    if bool(own.any()):
        at = memory.read(remembered, context.units[:, own], context.active[:, own])
        incumbent = at.mean.amax(-1)
    proposed = _propose(context, geometry, pool, key, n_candidates // 2, generator, fixed)
    return Focus(proposed, incumbent)


def branch_keys(active: Tensor, geometry: Geometry) -> Tensor:
    """``(B, m)`` int64, equal for configurations of the same branch."""
    conditional = (geometry.parent >= 0)[:, None]
    return geometry.keys((active & conditional).double())


class Standing(NamedTuple):
    """``k`` branches, those of the candidates and those of the trials.

    Attributes:
        keys: ``(k,)`` as ``branch_keys``.
        n_trials: ``(k,)`` trials of each, in any state.
        hope: ``(k,)`` what its best value may be, as the negative of its gap.
        at_hand: ``(k,)`` bool: candidates have it.
        due: ``(k,)`` bool: it has too few trials to be compared.
    """

    keys: Tensor
    n_trials: Tensor
    hope: Tensor
    at_hand: Tensor
    due: Tensor


def standing(history: History, geometry: Geometry, pool: Pool) -> Standing:
    """How the branches of the candidates and of the trials of one study compare."""
    trials = branch_keys(history.active, geometry)[0]
    candidates = branch_keys(pool.active, geometry)[0].unique()
    found, index = torch.cat([candidates, trials]).unique(return_inverse=True)
    index = index[len(candidates) :]
    count = torch.bincount(index, minlength=len(found)).double()
    scored = history.scored[0]
    gaps = score_gaps(history.scores, history.scored)[0, scored].clamp(0, _WORST_GAP)
    hope = _hope(gaps, scored, index, count)
    due = count < min(_FIRST, _FIRST_OF_ALL // len(candidates))
    return Standing(found, count, hope, torch.isin(found, candidates), due)


def choose(history: History, geometry: Geometry, pool: Pool) -> Tensor:
    """Key of the branch to try next, among those of the candidates of one study."""
    known = standing(history, geometry, pool)
    rarest = known.n_trials.masked_fill(~(known.due & known.at_hand), torch.inf)
    if bool(torch.isfinite(rarest).any()):
        return torch.as_tensor(known.keys[rarest.argmin()])
    return torch.as_tensor(known.keys[known.hope.masked_fill(~known.at_hand, -torch.inf).argmax()])


def _hope(gaps: Tensor, scored: Tensor, index: Tensor, count: Tensor) -> Tensor:
    """What the best value of each branch ``(k,)`` may be, as the negative of its gap.

    A branch whose scores differ much can be tuned much, and few trials tell little.

    Args:
        gaps: Of the scored trials.
        scored: ``(n,)`` bool.
        index: ``(n,)`` branch of each trial.
        count: ``(k,)`` trials of each branch, in any state.
    """
    k, which = len(count), index[scored]
    n = torch.bincount(which, minlength=k).double()
    mean = torch.bincount(which, gaps, minlength=k) / n.clamp_min(1)
    squares = torch.bincount(which, (gaps - mean[which]).square(), minlength=k)
    freedom = (n - 1).clamp_min(0)
    common = squares.sum() / freedom.sum().clamp_min(1)
    spread = ((_PRIOR_COUNT * common + squares) / (_PRIOR_COUNT + freedom)).sqrt()
    least = torch.full_like(n, torch.inf).scatter_reduce(0, which, gaps, "amin")
    typical = least[n > 0].median() if len(which) else torch.zeros_like(common)
    least = torch.where(n > 0, least, typical)
    return _HOPE * spread / count.clamp_min(0.5).sqrt() - least


def _propose(
    context: History,
    geometry: Geometry,
    pool: Pool,
    key: Tensor,
    n_half: int,
    generator: torch.Generator,
    fixed: Tensor | None,
) -> Pool:
    """Candidates inside of a branch: half around its own trials, half around all good ones.

    The parameters that switch others have the values of candidates of that branch.
    """
    inside = branch_keys(pool.active, geometry)[0] == key
    is_parent = torch.zeros_like(geometry.present[0])
    is_parent[geometry.parent[0][geometry.parent[0] >= 0]] = True
    switches = pool.units[0, inside].masked_fill(~(pool.active[0, inside] & is_parent), torch.nan)
    shape = (2, proposals.pool_size(n_half))
    held = switches[torch.randint(0, len(switches), shape, generator=generator)]
    if fixed is not None:
        held = torch.where(torch.isfinite(fixed), fixed, held)
    own = context.take((branch_keys(context.active, geometry)[0] == key).nonzero()[:, 0])
    inner, other = (
        proposals.propose(trials, geometry, n_half, generator, rows[None])
        for trials, rows in zip((own, context), held, strict=True)
    )
    return inner.joined(other)
