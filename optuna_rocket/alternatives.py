"""A configuration among the candidates that the policy might have had beside it.

The candidates of a suggestion are not stored, nor is their seed. They are proposed afresh, from
the same trials and in the same way, and the policy is asked again. In a conditional space every
other trial chooses a branch first (``agent/branches.py``): then the configuration is ranked inside
of its branch, and the branch among the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any

import torch
from torch import Tensor

from optuna_rocket import suggester
from optuna_rocket.agent import branches
from optuna_rocket.agent import policy
from optuna_rocket.agent import proposals
from optuna_rocket.agent import visited
from optuna_rocket.agent.branches import Focus
from optuna_rocket.agent.policy import Turn
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.view import View


@dataclass(frozen=True)
class BranchChoice:
    """The branch of a conditional space that a trial was in when its turn was to choose one.

    Attributes:
        params: Names of the conditional parameters that exist in it, sorted.
        n_trials: Trials of the branch then, in any state.
        best: Number of the best of them, None without one that has a score.
        is_due: Whether it was to be tried whatever it promised, for want of trials to compare.
        rank: Its place by what its best value was hoped to be, 1 the most promising.
        n_branches: Number of branches that were compared, due ones included.
        is_first_choice: Whether it would be chosen again, from candidates proposed afresh.
    """

    params: tuple[str, ...]
    n_trials: int
    best: int | None
    is_due: bool
    rank: int
    n_branches: int
    is_first_choice: bool


@dataclass(frozen=True)
class Standing:
    """How the policy sees a configuration among others: see ``reasons.Explanation``."""

    share: float = math.nan
    rank: int = 0
    n_candidates: int = 0
    entropy: float = math.nan
    branch: BranchChoice | None = None


def compare(
    view: View, units: Tensor, active: Tensor, kind: int, enqueued: Mapping[str, float], seed: int
) -> Standing:
    """The policy's view of a configuration among candidates that are proposed afresh.

    Args:
        view: What was known.
        units: The configuration, ``(1, 1, d)``.
        active: Which of its parameters exist, ``(1, 1, d)``.
        kind: Kind of the proposal that it was.
        enqueued: Values that were imposed from outside, in internal representation.
        seed: Of the other candidates.
    """
    past, geometry, goals = view.history, view.geometry, view.goals
    generator = torch.Generator(device="cpu").manual_seed(seed)
    fixed = suggester.fixed_units(view.space, enqueued)
    own = Pool(units, active, torch.tensor([[kind]]))
    fresh = suggester.whole_pool(view.space, geometry, fixed, past, generator)
    decide = suggester.decider(goals, view.guide)
    known = (past, geometry, view.beliefs, view.suggester.network, generator)
    horizon = view.suggester.n_trials
    branch, options = None, dict[str, Any]()
    if fresh is None and view.turn is Turn.BRANCH:
        branch, focus = _branch(view, own, fixed, generator)
        fresh, options = focus.pool, {"incumbent": focus.incumbent}
    else:
        fresh = decide(*known, horizon=horizon, fixed=fixed, pool=fresh).pool
    others = geometry.keys(fresh.units) != geometry.keys(units)
    pool = fresh.take(others[0].nonzero()[:, 0][None]).joined(own)
    logits = decide(*known, horizon=horizon, pool=pool, **options).logits[0]
    probabilities = logits.softmax(-1)
    return Standing(
        share=float(probabilities[-1]),
        rank=int((logits > logits[-1]).sum()) + 1,
        n_candidates=len(logits),
        entropy=float(torch.special.entr(probabilities).sum()),
        branch=branch,
    )


def _branch(
    view: View, own: Pool, fixed: Tensor | None, generator: torch.Generator
) -> tuple[BranchChoice, Focus]:
    """The branch of a configuration, and candidates inside of it."""
    past, geometry, remembered = view.history, view.geometry, view.remembered
    n = policy.N_CANDIDATES
    made = proposals.propose(remembered.history, geometry, n, generator, fixed)
    untried = visited.by(past, geometry).untried(made.units)
    pool = made.take(untried[None]).joined(own)
    key = branches.branch_keys(own.active, geometry)[0, 0]
    known = branches.standing(past, geometry, pool)
    at = int((known.keys == key).nonzero()[0, 0])
    mine = branches.branch_keys(past.active, geometry)[0] == key
    scores = past.scores[0].masked_fill(~(mine & past.scored[0]), -torch.inf)
    has_best = bool(torch.isfinite(scores).any())
    conditional = (geometry.parent[0] >= 0) & own.active[0, 0]
    choice = BranchChoice(
        params=tuple(sorted(view.space.names[j] for j in conditional.nonzero()[:, 0].tolist())),
        n_trials=int(known.n_trials[at]),
        best=view.records[int(scores.argmax())].number if has_best else None,
        is_due=bool(known.due[at]),
        rank=int((known.hope > known.hope[at]).sum()) + 1,
        n_branches=len(known.keys),
        is_first_choice=bool(branches.choose(past, geometry, pool) == key),
    )
    return choice, branches.inside(key, remembered, pool, n, generator, fixed)
