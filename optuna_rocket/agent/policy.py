"""The policy: what the agent believes of a study, and which configuration it tries next.

A decision is a chain of pure functions: ``believe`` brings the belief up to date with the finished
trials, ``propose`` makes candidates, ``observe`` turns them into network inputs, the network gives
logits. Training replays the stored inputs; use takes the greatest logit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace
import math
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent import branches
from optuna_rocket.agent import experience
from optuna_rocket.agent import memory
from optuna_rocket.agent import proposals
from optuna_rocket.agent import stagnation
from optuna_rocket.agent.experience import Guide
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.memory import MemoryWeights
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.network import HIDDEN
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.features import row_distance
from optuna_rocket.features import tokens
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import Geometry


CANDIDATE_FEATURES = (
    "rule",
    "gain",
    "log_std",
    "mean_rank",
    "std_rank",
    "rule_rank",
    "failure",
    "nearest",
    "from_incumbent",
    "from_pending",
    "off_centre",
    "rare_choice",
    *PROPOSAL_KINDS,
)
STUDY_FEATURES = (
    "log_trials",
    "log_params",
    "categorical_share",
    "log_noise",
    "outputscale",
    "horizon_known",
    "horizon_share",
    "stagnation",
    "failed_share",
    "relevance_spread",
    "started",
)
# The rule: expected improvement under a widened spread. Chosen on synthetic tasks
# (``benchmarks/README.md``); the learned parts are measured against it.
SPREAD = 1.5
# Before this many scores the memory has little to say: the rule spreads the trials instead.
RULE_FROM = 5
N_CANDIDATES = 256
# The start asks the memory nothing, so that more candidates cost little.
START_CANDIDATES = 1024
_RULE_FLOOR = -20.0
_START_SHARPNESS = 20.0
_FAR = 3.0
# With experience every third trial is a control, made as if there were none: it tests what
# experience says, and keeps open what experience would hide.
_CONTROL_EVERY, _CONTROL_AT = 3, 1
# Where the first two trials have shown that experience is wrong, the start goes on as it would
# have begun: with the centre of the space, unless a trial lies so near to it.
_LATE_CENTRE_AT, _NEAR_CENTRE = 2, 0.25
_FEW, _FEW_WEIGHT = 4, 0.5  # numbers, see `_start_penalty`
_START_CENTRE = 1.0  # what being far from the centre weighs against being far from the trials
_BRANCH_DOUBT = 4.0
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


class Inputs(NamedTuple):
    """What the network sees in one decision: see ``RecurrentScorer.forward``."""

    rule: Tensor
    candidates: Tensor
    study: Tensor


class Decision(NamedTuple):
    """A pool with the logits ``(B, m)`` that the policy gives to it, and what it knew."""

    pool: Pool
    logits: Tensor
    inputs: Inputs
    reading: Reading


def initial_belief(geometry: Geometry) -> Belief:
    """The belief before any trial."""
    state = torch.zeros(len(geometry.present), HIDDEN, dtype=torch.float32)
    return Belief(memory.prior_weights(geometry), state, 0, 0)


def believe(
    finished: History,
    geometry: Geometry,
    belief: Belief,
    network: RecurrentScorer,
    select: Callable[[History], History] = memory.context,
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
    select: Callable[[History], History] = memory.context,
) -> Belief:
    """``believe`` without the recurrent state; ``select`` picks what the memory holds."""
    sizes = memory.link_sizes(finished.n_trials)
    weights, first = belief.weights, belief.n_links
    # A restart makes all that came before it irrelevant.
    restarts = [k for k in range(first, len(sizes)) if memory.starts_chain(k)]
    for link in range(restarts[-1] if restarts else first, len(sizes)):
        restart = memory.starts_chain(link)
        weights = memory.prior_weights(geometry) if restart else weights
        context = select(finished.first(sizes[link]))
        weights = memory.fit(context, geometry, weights, _RESTART_STEPS if restart else _FIT_STEPS)
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
    repeats: bool = False,
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
        repeats: Whether a configuration may be suggested again before all were tried
            (``benchmarks/README.md`` says why not).
        guide: Experience from elsewhere.
        incumbent: ``(B,)`` level to beat in transformed scores, that of the best trial for None.
    """
    context = memory.context(history)
    elsewhere = stagnation.takes_turn(history, geometry)
    heard = heeded(guide, history, geometry)
    remembered = memory.condition(context, geometry, belief.weights, heard)
    if incumbent is not None:
        remembered = replace(remembered, incumbent=incumbent)
    guided, experienced = remembered.expected is not None, guide is not None
    # The first trial is experience's own: what is not believed must not shorten the start.
    starts = not guided and history.n_trials < RULE_FROM + experienced
    study = study_features(history, geometry, belief.weights, horizon)
    if pool is None and guided:
        pool = experience.propose(remembered, n_candidates, generator, fixed)
    elif pool is None:
        spreads = starts or elsewhere
        count = max(n_candidates, START_CANDIDATES) if spreads else n_candidates
        pool = proposals.propose(context, geometry, count, generator, fixed)
        if spreads:
            pool = pool.take(
                start_rule(remembered, pool, experienced).topk(n_candidates, -1).indices
            )
        elif focus := branches.focus(history, remembered, pool, n_candidates, generator, fixed):
            pool, remembered = focus.pool, replace(remembered, incumbent=focus.incumbent)
    reading = memory.read(remembered, pool.units, pool.active)
    inputs = Inputs(*observe(remembered, pool, reading), study)
    logits = network(*inputs, belief.recurrent_state)
    if guided and int(remembered.scored.sum()) < RULE_FROM:
        logits = inputs.rule  # the network has seen no start like this one
    elif elsewhere or (starts and experienced):
        logits = start_rule(remembered, pool, experienced).float()
    if not repeats:
        logits = forbid(logits, geometry.keys(pool.units), geometry.keys(history.units))
    return Decision(pool, logits, inputs, reading)


def heeded(guide: Guide | None, history: History, geometry: Geometry) -> Guide | None:
    """The guide, but for the trials that are its controls and those that look elsewhere."""
    is_control = history.n_trials % _CONTROL_EVERY == _CONTROL_AT
    return None if is_control or stagnation.takes_turn(history, geometry) else guide


def observe(remembered: Conditioned, pool: Pool, reading: Reading) -> tuple[Tensor, Tensor]:
    """The rule's score and the features of candidates, all of order one."""
    context, geometry = remembered.history, remembered.geometry
    rule = improvement_rule(remembered, pool, reading)
    columns = [
        rule / 5,
        (reading.mean - remembered.incumbent[:, None]).clamp(-4, 4),
        reading.std.log().clamp(-6, 2) / 2,
        _rank(reading.mean),
        _rank(reading.std),
        _rank(rule),
        reading.failure,
        reading.nearest,
        _from_incumbent(context, geometry, pool),
        _from_pending(context, geometry, pool),
        _off_centre(geometry, pool.units),
        _rare_choice(context, geometry, pool),
    ]
    kinds = (pool.kind[..., None] == torch.arange(len(PROPOSAL_KINDS))).float()
    return rule.float(), torch.cat([torch.stack(columns, -1).float(), kinds], -1)


def improvement_rule(remembered: Conditioned, pool: Pool, reading: Reading) -> Tensor:
    """Log expected improvement, spread widened by ``SPREAD``, times the chance to succeed.

    Shifted so that the best candidate has 0 (``(B, m)``, at least -20). Before ``RULE_FROM``
    scores it is the start: random candidates far from the trials so far and near the centre of the
    space, because people choose ranges around what they expect to be good.
    """
    gain = reading.mean - remembered.incumbent[:, None]
    spread = reading.std * SPREAD * branch_doubt(remembered, pool)
    score = log_improvement(gain, spread) + torch.log1p(-reading.failure)
    score = shifted(score)
    starting = _is_start(remembered)
    if not bool(starting.any()) or remembered.expected is not None:
        return score
    return torch.where(starting, start_rule(remembered, pool), score)


def shifted(score: Tensor) -> Tensor:
    """Log scores ``(B, m)`` with 0 for the best and a floor for the worst."""
    return (score - score.amax(-1, keepdim=True)).clamp_min(_RULE_FLOOR)


def branch_doubt(remembered: Conditioned, pool: Pool) -> Tensor:
    """Factor ``(B, m)`` of the spread where few trials had the same parameters.

    A kernel fitted to a few bad trials of a branch of a conditional space takes all of it for bad.
    """
    context = remembered.history
    apart = branches.differ(context, remembered.geometry)
    if not bool(apart.any()):
        return torch.ones_like(pool.kind, dtype=torch.float64)
    mine, theirs = pool.active.double(), context.active.double()
    d = mine.shape[-1]
    same = mine @ theirs.mT + (1 - mine) @ (1 - theirs).mT > d - 0.5  # (B, m, n)
    return 1 + apart[:, None] * _BRANCH_DOUBT / (1 + same.sum(-1)).sqrt()


def _is_start(remembered: Conditioned) -> Tensor:
    """``(B, 1)`` bool: too few scores for the memory, the rule decides alone."""
    return remembered.scored.sum(-1, keepdim=True) < RULE_FROM


def start_rule(remembered: Conditioned, pool: Pool, experienced: bool = False) -> Tensor:
    """Spread the first trials: see ``improvement_rule``; a guide makes it ``experienced``."""
    context, geometry = remembered.history, remembered.geometry
    late = experienced and context.n_trials == _LATE_CENTRE_AT and _lacks_centre(context, geometry)
    if context.n_trials == 0 or late:
        score = -_off_centre(geometry, pool.units)
    else:
        distance = row_distance(pool.units[:, :, None], context.units[:, None], geometry)
        score = distance.amin(-1) - _START_CENTRE * _start_penalty(geometry, pool)
        score = score - _FAR * (pool.kind != proposals.KIND["random"])
    return (_START_SHARPNESS * (score - score.amax(-1, keepdim=True))).clamp_min(_RULE_FLOOR)


def _start_penalty(geometry: Geometry, pool: Pool) -> Tensor:
    """What being off the centre weighs in the start, ``(B, m)``.

    One of ``k`` numbers that moves by ``x`` gains a distance of ``x / sqrt(k)`` and loses
    ``2 x / k``: up to four of them would never leave the centre. There the square of the offset
    counts, which is best a quarter of the range away.
    """
    offsets, count = _offsets(geometry, pool.units)
    squared = _FEW_WEIGHT * offsets.square().sum(-1) / count.clamp_min(1)
    return torch.where(count <= _FEW, squared, offsets.sum(-1) / count.clamp_min(1))


def _lacks_centre(context: History, geometry: Geometry) -> bool:
    return bool((_off_centre(geometry, context.units) > _NEAR_CENTRE).all())


def log_improvement(gain: Tensor, std: Tensor) -> Tensor:
    """Log expected improvement without underflow (Ament et al. 2023, eq. 9).

    ``log(σ (φ(u) + u Φ(u)))`` with ``u = gain / σ``.
    """
    u = (gain / std).clamp(-1e3, 30)  # erfcx overflows beyond
    log_density = -0.5 * u.square() - 0.5 * math.log(2 * math.pi)
    mills = math.sqrt(math.pi / 2) * torch.special.erfcx(u / -math.sqrt(2))
    return std.log() + log_density + torch.log1p((u * mills).clamp_min(-1 + 1e-12))


def forbid(logits: Tensor, keys: Tensor, tried: Tensor) -> Tensor:
    """Minus infinity for configurations that some trial has, unless nothing else is left."""
    repeated = is_in(keys, tried)
    repeated = repeated & ~repeated.all(-1, keepdim=True)
    return logits.masked_fill(repeated, -torch.inf)


def is_in(keys: Tensor, tried: Tensor) -> Tensor:
    """Which of ``keys`` ``(B, m)`` are among ``tried`` ``(B, n)`` of the same study."""
    if tried.shape[1] == 0:
        return torch.zeros_like(keys, dtype=torch.bool)
    ordered = tried.sort(-1).values
    index = torch.searchsorted(ordered, keys).clamp_max(tried.shape[1] - 1)
    return ordered.gather(1, index) == keys


def study_features(
    history: History, geometry: Geometry, weights: MemoryWeights, horizon: int | None
) -> Tensor:
    """``STUDY_FEATURES`` of each study of the batch."""
    batch, n = history.outcomes.shape
    scored = history.scored
    scores = history.scores.masked_fill(~scored, -torch.inf)
    best_at = scores.argmax(-1) if n else torch.zeros(batch, dtype=torch.long)
    stagnation = torch.where(scored.any(-1), n - 1 - best_at, n).double()
    finished = (history.outcomes != Outcome.PENDING).sum(-1).clamp_min(1)
    share = min(n / horizon, 1.0) if horizon else 0.0
    n_params = geometry.n_params.clamp_min(1).double()
    relevance = weights.relevance.masked_fill(~geometry.present, -torch.inf)
    mean_relevance = torch.where(geometry.present, weights.relevance, 0.0).sum(-1) / n_params
    columns = [
        torch.full((batch,), math.log1p(n) / 5, dtype=torch.float64),
        n_params.log() / 3,
        (geometry.is_categorical & geometry.present).sum(-1) / n_params,
        weights.noise / 4,
        weights.outputscale,
        torch.full((batch,), float(horizon is not None), dtype=torch.float64),
        torch.full((batch,), share, dtype=torch.float64),
        torch.log1p(stagnation) / 3,
        (history.outcomes == Outcome.FAILED).sum(-1) / finished,
        (relevance.amax(-1) - mean_relevance) / 4,
        scored.sum(-1) >= RULE_FROM,
    ]
    return torch.stack([column.float() for column in columns], -1)


def _from_incumbent(context: History, geometry: Geometry, pool: Pool) -> Tensor:
    if not bool(context.scored.any()):
        return torch.zeros(pool.kind.shape, dtype=torch.float64)
    scores = context.scores.masked_fill(~context.scored, -torch.inf)
    best = scores.argmax(-1)[:, None, None].expand(-1, 1, pool.units.shape[-1])
    return row_distance(pool.units, context.units.gather(1, best), geometry)


def _from_pending(context: History, geometry: Geometry, pool: Pool) -> Tensor:
    pending = context.outcomes == Outcome.PENDING
    if not bool(pending.any()):
        return torch.ones(pool.kind.shape, dtype=torch.float64)
    which = pending.any(0).nonzero()[:, 0]
    rows = context.units[:, which]
    distance = row_distance(pool.units[:, :, None], rows[:, None], geometry)
    distance = distance.masked_fill(~pending[:, which][:, None], 1.0)
    return distance.amin(-1).clamp_max(1)


def _off_centre(geometry: Geometry, units: Tensor) -> Tensor:
    offsets, count = _offsets(geometry, units)
    return offsets.sum(-1) / count.clamp_min(1)


def _offsets(geometry: Geometry, units: Tensor) -> tuple[Tensor, Tensor]:
    """How far numbers are off the centre ``(B, m, d)``, 1 at most, and how many ``(B, 1)``."""
    numeric = (geometry.present & ~geometry.is_categorical)[:, None]
    return torch.where(numeric, (units - 0.5).abs() * 2, 0.0), numeric.sum(-1)


def _rare_choice(context: History, geometry: Geometry, pool: Pool) -> Tensor:
    """How rarely the rarest choice of a candidate was tried: 1 never, then 1/2, 1/3, ..."""
    columns = geometry.categorical_columns
    if len(columns) == 0:
        return torch.zeros(pool.kind.shape, dtype=torch.float64)
    mine, theirs = pool.units[..., columns], context.units[..., columns]
    count = (mine[:, :, None] == theirs[:, None]).sum(2)  # (B, m, k)
    chosen = pool.active[..., columns] & geometry.is_categorical[:, None, columns]
    return torch.where(chosen, 1 / (1 + count.double()), 0.0).amax(-1)


def _rank(values: Tensor) -> Tensor:
    """Centred rank within the pool, from -1 (least) to 1 (greatest)."""
    m = values.shape[1]
    order = values.argsort(-1)
    ranks = torch.empty_like(values)
    grid = torch.linspace(-1, 1, m, dtype=values.dtype).expand_as(values)
    return ranks.scatter(1, order, grid)


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
