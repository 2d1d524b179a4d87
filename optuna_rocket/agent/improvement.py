"""The rule that the policy starts from: improvement, and before that the spread of the start."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from optuna_rocket.agent import branches
from optuna_rocket.agent import proposals
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.features import row_distance
from optuna_rocket.history import History
from optuna_rocket.space import Geometry


# The rule: expected improvement under a widened spread. Chosen on synthetic tasks
# (``benchmarks/README.md``); the learned parts are measured against it.
SPREAD = 1.5
# Before this many scores the memory has little to say: the rule spreads the trials instead.
RULE_FROM = 5
_RULE_FLOOR = -20.0
_START_SHARPNESS = 20.0
_FAR = 3.0
# Where the first two trials have shown that experience is wrong, the start goes on as it would
# have begun: with the centre of the space, unless a trial lies so near to it.
_LATE_CENTRE_AT, _NEAR_CENTRE = 2, 0.25
_FEW, _FEW_WEIGHT = 4, 0.5  # numbers, see `_start_penalty`
_START_CENTRE = 1.0  # what being far from the centre weighs against being far from the trials
_BRANCH_DOUBT = 4.0


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
    """Spread the first trials: see ``improvement_rule``; a guide makes it ``experienced``.

    Where most trials fail, or many workers begin at once, the start lasts for more than its usual
    trials. The centre then counts ever less: what is good near it would have been found.
    """
    context, geometry = remembered.history, remembered.geometry
    late = experienced and context.n_trials == _LATE_CENTRE_AT and _lacks_centre(context, geometry)
    if context.n_trials == 0 or late:
        score = -off_centre(geometry, pool.units)
    else:
        distance = row_distance(pool.units[:, :, None], context.units[:, None], geometry)
        overdue = (RULE_FROM / max(context.n_trials, RULE_FROM)) ** 2
        centre = torch.where(_is_start(remembered), _START_CENTRE * overdue, _START_CENTRE)
        score = distance.amin(-1) - centre * _start_penalty(geometry, pool)
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
    return bool((off_centre(geometry, context.units) > _NEAR_CENTRE).all())


def log_improvement(gain: Tensor, std: Tensor) -> Tensor:
    """Log expected improvement without underflow (Ament et al. 2023, eq. 9).

    ``log(σ (φ(u) + u Φ(u)))`` with ``u = gain / σ``.
    """
    u = (gain / std).clamp(-1e3, 30)  # erfcx overflows beyond
    log_density = -0.5 * u.square() - 0.5 * math.log(2 * math.pi)
    mills = math.sqrt(math.pi / 2) * torch.special.erfcx(u / -math.sqrt(2))
    return std.log() + log_density + torch.log1p((u * mills).clamp_min(-1 + 1e-12))


def off_centre(geometry: Geometry, units: Tensor) -> Tensor:
    """Mean offset of the numbers from the centre ``(B, m)``, 1 at the ends of all ranges."""
    offsets, count = _offsets(geometry, units)
    return offsets.sum(-1) / count.clamp_min(1)


def _offsets(geometry: Geometry, units: Tensor) -> tuple[Tensor, Tensor]:
    """How far numbers are off the centre ``(B, m, d)``, 1 at most, and how many ``(B, 1)``."""
    numeric = (geometry.present & ~geometry.is_categorical)[:, None]
    return torch.where(numeric, (units - 0.5).abs() * 2, 0.0), numeric.sum(-1)
