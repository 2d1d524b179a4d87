"""The policy: what the agent believes of a study, and which configuration it tries next.

A decision is a chain of pure functions: ``believe`` brings the belief up to date with the finished
trials, ``propose`` makes candidates, ``observe`` turns them into network inputs, the network gives
logits. Training replays the stored inputs; use takes the greatest logit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent import branches
from optuna_rocket.agent import experience
from optuna_rocket.agent import fitting
from optuna_rocket.agent import improvement
from optuna_rocket.agent import memory
from optuna_rocket.agent import observation
from optuna_rocket.agent import proposals
from optuna_rocket.agent import stagnation
from optuna_rocket.agent import visited
from optuna_rocket.agent.experience import Guide
from optuna_rocket.agent.gram import MemoryWeights
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.memory import Expectation
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.network import HIDDEN
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.features import tokens
from optuna_rocket.history import History
from optuna_rocket.scores import Scale
from optuna_rocket.space import Geometry


N_CANDIDATES = 256
# The start asks the memory nothing, so that more candidates cost little.
START_CANDIDATES = 1024
# With experience every third trial is a control, made as if there were none: it tests what
# experience says, and keeps open what experience would hide.
_CONTROL_EVERY, _CONTROL_AT = 3, 1
_FIT_STEPS = 6
_RESTART_STEPS = 14


@dataclass(frozen=True)
class Belief:
    """What the agent carries from trial to trial; a cache that the trials can rebuild.

    Attributes:
        weights: Memory weights of the latest link.
        recurrent_state: ``(B, h)``.
        n_read: Number of finished trials that the recurrent state has read.
        n_links: Number of links of the chain of memory fits.
    """

    weights: MemoryWeights
    recurrent_state: Tensor
    n_read: int
    n_links: int


class Turn(Enum):
    """What a trial's turn is: which candidates there are, and who decides among them."""

    GUIDED = "experience joins in"
    START = "the first trials are spread"
    ELSEWHERE = "a study that is stuck looks far from its trials"
    BRANCH = "a branch of a conditional space is chosen first"
    RULE = "the rule over everything, with what was learned"


class Inputs(NamedTuple):
    """What the network sees in one decision: see ``RecurrentScorer.forward``."""

    rule: Tensor
    candidates: Tensor
    study: Tensor


class Decision(NamedTuple):
    """A pool with the logits ``(B, m)`` that the policy gives to it, and what it knew.

    ``expected`` is what it expected by experience, None without; ``scale`` is that of the scores.
    """

    pool: Pool
    logits: Tensor
    inputs: Inputs
    reading: Reading
    scale: Scale
    expected: Expectation | None = None


def initial_belief(geometry: Geometry) -> Belief:
    """The belief before any trial."""
    state = torch.zeros(len(geometry.present), HIDDEN, dtype=torch.float32)
    return Belief(fitting.prior_weights(geometry), state, 0, 0)


def believe(
    finished: History,
    geometry: Geometry,
    belief: Belief,
    network: RecurrentScorer,
    select: Callable[[History, Geometry], History] = memory.context,
) -> Belief:
    """Bring ``belief`` up to date with the finished trials, in order of their number.

    The recurrent state reads the trials as they were known when each had finished; the memory
    holds what ``select`` makes of them.
    """
    fresh = tokens(finished, geometry, belief.n_read)
    state = network.encode(fresh, belief.recurrent_state)
    return replace(remember(finished, geometry, belief, select), recurrent_state=state)


def remember(
    finished: History,
    geometry: Geometry,
    belief: Belief,
    select: Callable[[History, Geometry], History] = memory.context,
) -> Belief:
    """``believe`` without the recurrent state; ``select`` picks what the memory holds."""
    sizes = fitting.link_sizes(finished.n_trials)
    weights, first = belief.weights, belief.n_links
    # A restart makes all that came before it irrelevant.
    restarts = [k for k in range(first, len(sizes)) if fitting.starts_chain(k)]
    for link in range(restarts[-1] if restarts else first, len(sizes)):
        restart = fitting.starts_chain(link)
        weights = fitting.prior_weights(geometry) if restart else weights
        context = select(finished.first(sizes[link]), geometry)
        weights = fitting.fit(
            context, geometry, weights, _RESTART_STEPS if restart else _FIT_STEPS
        )
    return Belief(weights, belief.recurrent_state, finished.n_trials, len(sizes))


def decide(
    history: History,
    geometry: Geometry,
    belief: Belief,
    network: RecurrentScorer,
    generator: torch.Generator,
    *,
    horizon: int | None = None,
    n_candidates: int = N_CANDIDATES,
    fixed: Tensor | None = None,
    pool: Pool | None = None,
    guide: Guide | None = None,
    incumbent: Tensor | None = None,
) -> Decision:
    """Logits over proposed configurations.

    Args:
        history: All trials that matter, pending ones included.
        geometry: The space.
        belief: From ``believe`` on the finished trials.
        network: The learned part.
        generator: The only source of randomness.
        horizon: Number of trials that the study will have, where known.
        n_candidates: Size of the first pool.
        fixed: ``(B, d)`` unit values imposed from outside, NaN where free.
        pool: Candidates to choose from instead of proposed ones (all that a small space has).
        guide: Experience from elsewhere.
        incumbent: ``(B,)`` level to beat in transformed scores, that of the best trial for None.
    """
    context, experienced = memory.context(history, geometry), guide is not None
    heard = heeded(guide, history, geometry)
    remembered = memory.condition(context, geometry, belief.weights, heard)
    if incumbent is not None:
        remembered = replace(remembered, incumbent=incumbent)
    now = turn(history, remembered, experienced)
    study = observation.study_features(history, geometry, belief.weights, horizon)
    if pool is None:
        pool, remembered = _candidates(
            now, history, remembered, experienced, n_candidates, generator, fixed
        )
    reading = memory.read(remembered, pool.units, pool.active)
    inputs = Inputs(*observation.observe(remembered, pool, reading), study)
    logits = network(*inputs, belief.recurrent_state)
    if now is Turn.GUIDED and int(remembered.scored.sum()) < improvement.RULE_FROM:
        logits = inputs.rule  # the network has seen no start like this one
    elif now is Turn.ELSEWHERE or (now is Turn.START and experienced):
        logits = improvement.start_rule(remembered, pool, experienced).float()
    logits = visited.by(history, geometry).forbid(logits, pool.units)
    return Decision(pool, logits, inputs, reading, remembered.scale, remembered.expected)


def turn(history: History, remembered: Conditioned, experienced: bool) -> Turn:
    """What the turn of the next trial is.

    Args:
        history: All trials.
        remembered: The memory of them, with the guide that is heeded.
        experienced: Whether there is a guide, heeded or not.
    """
    if remembered.expected is not None:
        return Turn.GUIDED
    # The first trial is experience's own: what is not believed must not shorten the start.
    if history.n_trials < improvement.RULE_FROM + experienced:
        return Turn.START
    if stagnation.takes_turn(history, remembered.geometry):
        return Turn.ELSEWHERE
    return Turn.BRANCH if branches.takes_turn(history, remembered.geometry) else Turn.RULE


def _candidates(
    now: Turn,
    history: History,
    remembered: Conditioned,
    experienced: bool,
    n_candidates: int,
    generator: torch.Generator,
    fixed: Tensor | None,
) -> tuple[Pool, Conditioned]:
    """Proposals for a turn, and the memory with the level that they have to beat."""
    context, geometry = remembered.history, remembered.geometry
    if now is Turn.GUIDED:
        return experience.propose(remembered, n_candidates, generator, fixed), remembered
    spreads = now in (Turn.START, Turn.ELSEWHERE)
    count = max(n_candidates, START_CANDIDATES) if spreads else n_candidates
    pool = proposals.propose(context, geometry, count, generator, fixed)
    if now is Turn.BRANCH:
        focus = branches.focus(history, remembered, pool, n_candidates, generator, fixed)
        return focus.pool, replace(remembered, incumbent=focus.incumbent)
    if spreads:
        spread = improvement.start_rule(remembered, pool, experienced)
        pool = pool.take(spread.topk(n_candidates, -1).indices)
    return pool, remembered


def heeded(guide: Guide | None, history: History, geometry: Geometry) -> Guide | None:
    """The guide, but for the trials that are its controls and those that look elsewhere."""
    if guide is None:
        return None
    is_control = history.n_trials % _CONTROL_EVERY == _CONTROL_AT
    return None if is_control or stagnation.takes_turn(history, geometry) else guide


def act(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Index ``(B,)`` of the chosen candidate: sampled with a generator, greedy without."""
    if generator is None:
        # Rounding makes the choice the same on machines whose last digits differ.
        return (logits * 1e4).round().argmax(-1)
    probabilities = logits.softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def rewound(belief: Belief) -> Belief:
    """The same memory with an empty recurrent state: the ablation of the recurrence."""
    return replace(belief, recurrent_state=torch.zeros_like(belief.recurrent_state))
