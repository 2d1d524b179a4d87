"""The policy for studies with several objectives or with constraints.

As in ``policy``: ``believe``, then ``decide``. Every objective and every constraint has a memory
of its own; they are fitted side by side, as a batch. One objective under constraints is the case
of ``policy`` where violating is one more way to fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
import math

import torch
from torch import Tensor

from optuna_rocket.agent import feasibility
from optuna_rocket.agent import hypervolume
from optuna_rocket.agent import memory
from optuna_rocket.agent import policy
from optuna_rocket.agent import proposals
from optuna_rocket.agent.memory import MAX_CONTEXT
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Belief
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.policy import Inputs
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.goals import Goals
from optuna_rocket.goals import beside
from optuna_rocket.goals import repeated
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import Geometry


# Further constraints are merged: a memory each would cost more than it tells.
MAX_CONSTRAINTS = 8
_PROBABLE = math.log(0.5)
LEARNED = True


@dataclass(frozen=True)
class Beliefs:
    """A belief of the objectives, a batch of ``m``, and one of the constraints, None without."""

    objectives: Belief
    constraints: Belief | None


def initial_beliefs(geometry: Geometry, goals: Goals) -> Beliefs:
    """The beliefs before any trial."""
    n_constraints = min(len(goals.slacks), MAX_CONSTRAINTS)
    return Beliefs(
        policy.initial_belief(repeated(geometry, len(goals.scores))),
        policy.initial_belief(repeated(geometry, n_constraints)) if n_constraints else None,
    )


def believe(
    finished: History, goals: Goals, geometry: Geometry, start: Beliefs, network: RecurrentScorer
) -> Beliefs:
    """Bring the beliefs up to date with the finished trials, whose ``goals`` these are."""

    def updated(values: Callable[[Goals], Tensor], belief: Belief) -> Belief:
        def select(history: History) -> History:
            part = goals.take(torch.arange(history.n_trials))
            index = context_index(part)
            return beside(history.take(index), values(part.take(index)))

        wide = repeated(geometry, len(belief.recurrent_state))
        return policy.believe(beside(finished, values(goals)), wide, belief, network, select)

    constraints = start.constraints
    return Beliefs(
        updated(lambda part: part.scores, start.objectives),
        constraints and updated(_slacks, constraints),
    )


def decide(
    history: History,
    goals: Goals,
    geometry: Geometry,
    beliefs: Beliefs,
    network: RecurrentScorer,
    generator: torch.Generator,
    *,
    horizon: int | None = None,
    n_candidates: int = policy.N_CANDIDATES,
    fixed: Tensor | None = None,
    pool: Pool | None = None,
) -> Decision:
    """Logits over proposed configurations: see ``policy.decide``.

    ``history`` is a batch of one, and so is the decision, but for its ``inputs`` and ``reading``,
    which are a batch of the objectives.
    """
    index = context_index(goals)
    context, seen = history.take(index), goals.take(index)
    objectives = _conditioned(context, seen.scores, geometry, beliefs.objectives)
    constraints = beliefs.constraints and _conditioned(
        context, _slacks(seen), geometry, beliefs.constraints
    )
    starts = int(goals.scored.sum()) < policy.RULE_FROM
    if pool is None:
        count = max(n_candidates, policy.START_CANDIDATES) if starts else n_candidates
        pool = _propose(context, seen, geometry, count, generator, fixed)
        if starts:
            spread = policy.start_rule(objectives, pool)[:1]
            pool = pool.take(spread.topk(min(n_candidates, spread.shape[1]), -1).indices)
    reading = _read(objectives, pool)
    chance = _log_chance(constraints, pool)
    remembered, gain = objectives, torch.zeros_like(chance)
    if not starts and bool(seen.feasible.any()):
        remembered, gain = _gain(objectives, constraints, seen, pool, reading, generator)
    rule = gain + chance + torch.log1p(-reading.failure[0])
    rule = policy.start_rule(objectives, pool)[:1] if starts else policy.shifted(rule[None])
    m = len(goals.scores)
    wide = Pool(*(x.expand(m, *x.shape[1:]) for x in (pool.units, pool.active, pool.kind)))
    risky = replace(reading, failure=1 - (1 - reading.failure) * chance.exp())
    study = policy.study_features(
        beside(history, goals.scores), objectives.geometry, beliefs.objectives.weights, horizon
    )
    _, candidates = policy.observe(remembered, wide, risky)
    inputs = Inputs(rule.float().expand(m, -1), candidates, study)
    logits = rule
    if m == 1 or LEARNED:
        preference = torch.rand(m, generator=generator).clamp_min(1e-6).log().neg()
        preference = preference / preference.sum()
        logits = preference[None] @ network(*inputs, beliefs.objectives.recurrent_state)
    if not starts and not bool(seen.feasible.any()):
        logits = rule
    logits = policy.forbid(logits, geometry.keys(pool.units), geometry.keys(history.units))
    return Decision(pool, logits, inputs, reading)


def context_index(goals: Goals) -> Tensor:
    """At most ``MAX_CONTEXT`` trials: the latest, and the others of best standing, in order."""
    n, latest = goals.n_trials, MAX_CONTEXT // 2
    if n <= MAX_CONTEXT:
        return torch.arange(n)
    standing = goals.take(torch.arange(n - latest)).standing
    best = standing.argsort(descending=True, stable=True)[: MAX_CONTEXT - latest]
    return torch.cat([best.sort().values, torch.arange(n - latest, n)])


def _gain(
    objectives: Conditioned,
    constraints: Conditioned | None,
    seen: Goals,
    pool: Pool,
    reading: Reading,
    generator: torch.Generator,
) -> tuple[Conditioned, Tensor]:
    """Log expected gain ``(c,)`` over the feasible trials, and the memory with that incumbent."""
    spread = reading.std * policy.SPREAD * policy.branch_doubt(objectives, pool)
    trials = Pool(*(x[:1] for x in (objectives.history.units, objectives.history.active)), pool.kind)
    fitted = _read(objectives, trials).mean
    if len(fitted) == 1:
        best = fitted.masked_fill(~seen.feasible, -torch.inf).amax(-1)
        gain = policy.log_improvement(reading.mean - best[:, None], spread)[0]
        return replace(objectives, incumbent=best), gain
    # A running trial holds its place by what is expected of it.
    pending = objectives.history.outcomes[0] == Outcome.PENDING
    if bool(pending.any()):
        pending = pending & (_log_chance(constraints, trials) > _PROBABLE)
    front = fitted[:, seen.feasible | pending]
    scores = objectives.history.scores
    at = hypervolume.nodes(scores, objectives.scored, front, generator)
    return objectives, hypervolume.log_gain(at, reading.mean, spread)


def _propose(
    context: History,
    seen: Goals,
    geometry: Geometry,
    n_candidates: int,
    generator: torch.Generator,
    fixed: Tensor | None,
) -> Pool:
    """One pool of proposals around the trials of best standing and those best at one objective."""
    merits = [seen.standing]
    if len(seen.scores) > 1:
        merits += [seen.ordered(scores) for scores in seen.scores]
    known = torch.stack(merits)
    views = beside(context, known.masked_fill(~seen.scored, torch.nan))
    wide = repeated(geometry, len(merits))
    made = proposals.propose(views, wide, n_candidates // len(merits), generator, fixed)
    return Pool(
        made.units.flatten(0, 1)[None], made.active.flatten(0, 1)[None], made.kind.flatten()[None]
    )


def _conditioned(
    context: History, values: Tensor, geometry: Geometry, belief: Belief
) -> Conditioned:
    wide = repeated(geometry, len(values))
    return memory.condition(beside(context, values), wide, belief.weights)


def _read(remembered: Conditioned, pool: Pool) -> Reading:
    shape = (len(remembered.incumbent), -1, -1)
    return memory.read(remembered, pool.units.expand(shape), pool.active.expand(shape))


def _log_chance(constraints: Conditioned | None, pool: Pool) -> Tensor:
    """Log chance ``(c,)`` of candidates to be feasible; 0 without constraints."""
    if constraints is None:
        return torch.zeros(pool.units.shape[1], dtype=torch.float64)
    return feasibility.log_chance(constraints, _read(constraints, pool))


def _slacks(goals: Goals) -> Tensor:
    """Balanced slacks ``(c, n)`` of the constraints, those beyond the last merged into it."""
    slacks = feasibility.balanced(goals.slacks)
    if len(slacks) <= MAX_CONSTRAINTS:
        return slacks
    own, others = slacks[: MAX_CONSTRAINTS - 1], slacks[MAX_CONSTRAINTS - 1 :]
    least = others.nan_to_num(torch.inf).amin(0)
    return torch.cat([own, least.masked_fill(torch.isinf(least), torch.nan)[None]])
