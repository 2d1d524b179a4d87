"""The policy for studies with several objectives or with constraints.

As in ``policy``: ``believe``, then ``decide``. Every objective and every constraint has a memory
of its own; they are fitted side by side, as a batch. One objective under constraints is the case
of ``policy`` where violating is one more way to fail. With several objectives the rule decides
alone: the network was trained on one objective and takes no part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
import math
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent import feasibility
from optuna_rocket.agent import hypervolume
from optuna_rocket.agent import improvement
from optuna_rocket.agent import memory
from optuna_rocket.agent import observation
from optuna_rocket.agent import policy
from optuna_rocket.agent import proposals
from optuna_rocket.agent import together
from optuna_rocket.agent import unvisited
from optuna_rocket.agent import visited
from optuna_rocket.agent.memory import MAX_CONTEXT
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Belief
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.agent.visited import Visited
from optuna_rocket.goals import Goals
from optuna_rocket.goals import beside
from optuna_rocket.goals import repeated
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import Geometry


# Further constraints are merged: a memory each would cost more than it tells.
MAX_CONSTRAINTS = 8
# That no candidate is sure to fail keeps logs of the chance to succeed finite.
_MOST_FAILURE = 1 - 1e-12
# A running trial that is feasible with this log chance counts as one that will be.
_PROBABLE = math.log(0.5)
# Rounds of refinement, by the scales of their moves; how many candidates are moved how often.
_REFINEMENTS = ((0.1, 0.03, 0.01, 0.003), (0.03, 0.01, 0.003, 0.001))
_N_REFINED = 8
_N_MOVES = 12


@dataclass(frozen=True)
class Beliefs:
    """A belief of the objectives, a batch of ``m``, and one of the constraints, None without."""

    objectives: Belief
    constraints: Belief | None


def initial_beliefs(goals: Goals, geometry: Geometry) -> Beliefs:
    """The beliefs before any trial."""
    n_constraints = min(len(goals.slacks), MAX_CONSTRAINTS)
    return Beliefs(
        policy.initial_belief(repeated(geometry, len(goals.scores))),
        policy.initial_belief(repeated(geometry, n_constraints)) if n_constraints else None,
    )


def believe(
    goals: Goals, finished: History, geometry: Geometry, start: Beliefs, network: RecurrentScorer
) -> Beliefs:
    """Bring the beliefs up to date with the finished trials, whose ``goals`` these are."""

    def updated(seen: Callable[[History, Goals], History], belief: Belief) -> Belief:
        def select(history: History, _: Geometry) -> History:
            part = goals.take(torch.arange(history.n_trials))
            index = context_index(part)
            return seen(history.take(index), part.take(index))

        wide = repeated(geometry, len(belief.recurrent_state))
        return policy.remember(finished, wide, belief, select)

    objectives, constraints = start.objectives, start.constraints
    if len(goals.scores) == 1:
        objectives = policy.believe(finished, geometry, objectives, network, _latest)
    else:
        objectives = updated(_of_objectives, objectives)
    if constraints is not None:
        constraints = updated(_of_constraints, constraints)
    return Beliefs(objectives, constraints)


def _latest(history: History, _: Geometry) -> History:
    """What a memory holds of the trials, all of them comparable: see ``newcomers.outdated``."""
    return history.take(memory.context_rows(history))


class Choice(NamedTuple):
    """A pool, its logits ``(1, c)``, and what the memories of the objectives say of it."""

    pool: Pool
    logits: Tensor
    reading: Reading


def decide(
    goals: Goals,
    history: History,
    geometry: Geometry,
    beliefs: Beliefs,
    network: RecurrentScorer,
    generator: torch.Generator,
    *,
    horizon: int | None = None,
    n_candidates: int = policy.N_CANDIDATES,
    fixed: Tensor | None = None,
    pool: Pool | None = None,
) -> Choice:
    """Logits over proposed configurations: see ``policy.decide``.

    ``history`` is a batch of one, as are the pool and the logits.
    """
    known = remember(history, goals, geometry, beliefs)
    starts = int(goals.scored.sum()) < improvement.RULE_FROM
    refines = pool is None and not starts and len(goals.scores) == 1
    tried = visited.by(history, geometry)
    if pool is None and fixed is None and not starts:
        pool = unvisited.propose(known.goals, known.history, geometry, history.units[0], tried)
    if pool is None:
        count = max(n_candidates, policy.START_CANDIDATES) if starts else n_candidates
        pool = _propose(known, geometry, count, generator, fixed)
        if starts:
            spread = improvement.start_rule(known.objectives, pool)[:1]
            pool = pool.take(spread.topk(min(n_candidates, spread.shape[1]), -1).indices)
    judged = _judge(known, pool, generator)
    if refines:
        judged = _refine(known, judged, tried, geometry, generator, fixed)
    pool, reading, objectives = judged.pool, judged.reading, known.objectives
    logits = improvement.shifted(judged.rule)
    if starts:
        logits = improvement.start_rule(objectives, pool)[:1]
    if len(goals.scores) == 1 and known.some_feasible:
        success = (1 - reading.failure) * judged.log_chance.exp()
        reading = replace(reading, failure=(1 - success).clamp_max(_MOST_FAILURE))
        study = observation.study_features(
            beside(history, goals.scores), geometry, objectives.weights, horizon
        )
        _, candidates = observation.observe(objectives, pool, reading)
        state = beliefs.objectives.recurrent_state
        logits = network(logits.float(), candidates, study, state)
    return Choice(pool, tried.forbid(logits, pool.units), reading)


class Known(NamedTuple):
    """What the memories know.

    Attributes:
        history: The trials that they hold.
        goals: What was wanted of these.
        objectives: The memories of the objectives, a batch of ``m``.
        constraints: Those of the constraints, None without.
        spread: Widens what the latter are unsure of.
        approaches: Whether the next trial is to violate less than all before.
    """

    history: History
    goals: Goals
    objectives: Conditioned
    constraints: Conditioned | None
    spread: float
    approaches: bool

    @property
    def some_feasible(self) -> bool:
        """Whether any trial is feasible."""
        return bool(self.goals.feasible.any())


def remember(history: History, goals: Goals, geometry: Geometry, beliefs: Beliefs) -> Known:
    """The memories that the beliefs are of, with all trials, pending ones included."""
    index = context_index(goals)
    context, seen = history.take(index), goals.take(index)

    def conditioned(wide: History, belief: Belief) -> Conditioned:
        return memory.condition(wide, repeated(geometry, len(wide.scores)), belief.weights)

    constraints = None
    if beliefs.constraints is not None:
        constraints = conditioned(_of_constraints(context, seen), beliefs.constraints)
    # Every other trial trusts the memory and stays within what it knows to be feasible, or comes
    # nearer to it; the ones between look for feasible regions elsewhere.
    some, trusts = bool(seen.feasible.any()), goals.n_trials % 2 == 1
    spread = feasibility.NARROW if trusts and some else feasibility.SPREAD
    objectives = conditioned(_of_objectives(context, seen), beliefs.objectives)
    approaches = trusts and not some and constraints is not None
    known = Known(context, seen, objectives, constraints, spread, approaches)
    if len(goals.scores) == 1 and known.some_feasible:
        known = known._replace(objectives=replace(objectives, incumbent=_best_feasible(known)))
    return known


def read(known: Known, pool: Pool) -> tuple[Reading, Tensor]:
    """What the memories say of the ``c`` candidates of a pool.

    Returns:
        The reading of the objectives ``(m, c)``, and the log chance ``(c,)`` to violate no
        constraint.
    """
    reading = together.read(known.objectives, pool)
    return reading, _log_chance(known, pool, _limits(known, pool))


class _Judged(NamedTuple):
    """A pool, what the memories say of it, and the rule's score of it ``(1, c)``."""

    pool: Pool
    reading: Reading
    log_chance: Tensor
    rule: Tensor

    def joined(self, other: _Judged) -> _Judged:
        return _Judged(
            self.pool.joined(other.pool),
            self.reading.joined(other.reading),
            torch.cat([self.log_chance, other.log_chance]),
            torch.cat([self.rule, other.rule], 1),
        )


def _judge(known: Known, pool: Pool, generator: torch.Generator) -> _Judged:
    """Log chance to be of use, times the gain; without feasible trials the search is for one."""
    reading, limits = together.read(known.objectives, pool), _limits(known, pool)
    log_chance, success = _log_chance(known, pool, limits), torch.log1p(-reading.failure[0])
    rule = log_chance + success
    if known.some_feasible:
        rule = rule + _log_gain(known, pool, reading, generator)
    elif known.approaches and known.constraints is not None and limits is not None:
        rule = feasibility.log_approach(known.constraints, limits, known.spread) + success
    return _Judged(pool, reading, log_chance, rule[None])


def _refine(
    known: Known,
    judged: _Judged,
    tried: Visited,
    geometry: Geometry,
    generator: torch.Generator,
    fixed: Tensor | None,
) -> _Judged:
    """More candidates around the best ones.

    Under a constraint the best configurations lie in a thin wedge at the edge of the feasible
    region, which few of the first pool hit.
    """
    for scales in _REFINEMENTS:
        allowed = tried.forbid(judged.rule, judged.pool.units)
        best = allowed.topk(min(_N_REFINED, allowed.shape[1]), -1).indices
        parents = judged.pool.take(best.repeat_interleave(_N_MOVES, -1))
        pool = proposals.around(parents, geometry, scales, generator, fixed)
        judged = judged.joined(_judge(known, pool, generator))
    return judged


def context_index(goals: Goals) -> Tensor:
    """At most ``MAX_CONTEXT`` trials: the latest, and the others of best standing, in order."""
    n, latest = goals.n_trials, MAX_CONTEXT // 2
    if n <= MAX_CONTEXT:
        return torch.arange(n)
    standing = goals.take(torch.arange(n - latest)).standing
    best = standing.argsort(descending=True, stable=True)[: MAX_CONTEXT - latest]
    return torch.cat([best.sort().values, torch.arange(n - latest, n)])


def _log_gain(known: Known, pool: Pool, reading: Reading, generator: torch.Generator) -> Tensor:
    """Log expected gain ``(c,)`` over the feasible trials: improvement, or hypervolume."""
    objectives = known.objectives
    spread = reading.std * improvement.SPREAD * improvement.branch_doubt(objectives, pool)
    if len(spread) == 1:
        return improvement.log_improvement(reading.mean - objectives.incumbent[:, None], spread)[0]
    front = objectives.fitted[:, known.goals.feasible]
    # A running trial holds its place by what is expected of it.
    running = (known.history.outcomes[0] == Outcome.PENDING).nonzero()[:, 0]
    if len(running):
        pending = _tried(known).take(running[None])
        probable = _log_chance(known, pending, _limits(known, pending)) > _PROBABLE
        expected = together.means(objectives, pending)[:, probable]
        front = torch.cat([front, expected], -1)
    scores, scored = objectives.history.scores, objectives.scored
    nodes = hypervolume.nodes(scores, scored, front, known.goals.box, generator)
    return hypervolume.log_gain(nodes, reading.mean, spread)


def _of_objectives(history: History, goals: Goals) -> History:
    """The trials as the memories of the objectives see them; one alone as without constraints."""
    return beside(history, goals.scores, goals.box.unit if len(goals.scores) > 1 else None)


def _of_constraints(history: History, goals: Goals) -> History:
    """The trials as the memories of the constraints see them, whose level is at a distance."""
    slacks = feasibility.merged(goals.slacks, MAX_CONSTRAINTS)
    return beside(history, slacks, torch.zeros(len(slacks), 1, dtype=slacks.dtype))


def _best_feasible(known: Known) -> Tensor:
    """Greatest expected transformed score ``(m,)`` among the feasible trials."""
    fitted = known.objectives.fitted
    return fitted.masked_fill(~known.goals.feasible, -torch.inf).amax(-1)


def _tried(known: Known) -> Pool:
    """The trials as if they were candidates."""
    history = known.history
    return Pool(history.units, history.active, history.kind)


def _propose(
    known: Known,
    geometry: Geometry,
    n_candidates: int,
    generator: torch.Generator,
    fixed: Tensor | None,
) -> Pool:
    """One pool of proposals around the trials of best standing and those best at one objective."""
    goals = known.goals
    merits = goals.standing[None]
    if len(goals.scores) > 1:
        merits = torch.cat([merits, goals.ordered(goals.scores)])
    views = beside(known.history, merits.masked_fill(~goals.scored, torch.nan))
    wide = repeated(geometry, len(merits))
    made = proposals.propose(views, wide, n_candidates // len(merits), generator, fixed)
    return Pool(*(x.flatten(0, 1)[None] for x in (made.units, made.active, made.kind)))


def _limits(known: Known, pool: Pool) -> Reading | None:
    """What the memories of the constraints say of candidates, None without constraints."""
    return None if known.constraints is None else together.read(known.constraints, pool)


def _log_chance(known: Known, pool: Pool, limits: Reading | None) -> Tensor:
    """Log chance ``(c,)`` of candidates to be feasible; 0 without constraints."""
    if known.constraints is None or limits is None:
        return torch.zeros(pool.units.shape[1], dtype=torch.float64)
    return feasibility.log_chance(known.constraints, limits, known.spread)
