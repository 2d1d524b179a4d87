"""What the network sees of a decision: features of the candidates and of the study."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from optuna_rocket.agent import improvement
from optuna_rocket.agent.gram import MemoryWeights
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.features import row_distance
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


def observe(remembered: Conditioned, pool: Pool, reading: Reading) -> tuple[Tensor, Tensor]:
    """The rule's score and the features of candidates, all of order one."""
    context, geometry = remembered.history, remembered.geometry
    rule = improvement.improvement_rule(remembered, pool, reading)
    columns = [
        rule / 5,
        (reading.mean - remembered.incumbent[:, None]).clamp(-4, 4),
        reading.std.log().clamp(-6, 2) / 2,
        *_ranks(torch.stack([reading.mean, reading.std, rule])),
        reading.failure,
        reading.nearest,
        _from_incumbent(context, geometry, pool),
        _from_pending(context, geometry, pool),
        improvement.off_centre(geometry, pool.units),
        _rare_choice(context, geometry, pool),
    ]
    kinds = (pool.kind[..., None] == torch.arange(len(PROPOSAL_KINDS))).float()
    return rule.float(), torch.cat([torch.stack(columns, -1).float(), kinds], -1)


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
    known = [math.log1p(n) / 5, float(horizon is not None), min(n / (horizon or math.inf), 1.0)]
    log_trials, horizon_known, horizon_share = scores.new_tensor(known)[:, None].expand(-1, batch)
    n_params = geometry.n_params.clamp_min(1).double()
    relevance = weights.relevance.masked_fill(~geometry.present, -torch.inf)
    mean_relevance = torch.where(geometry.present, weights.relevance, 0.0).sum(-1) / n_params
    columns = [
        log_trials,
        n_params.log() / 3,
        (geometry.is_categorical & geometry.present).sum(-1) / n_params,
        weights.noise / 4,
        weights.outputscale,
        horizon_known,
        horizon_share,
        torch.log1p(stagnation) / 3,
        (history.outcomes == Outcome.FAILED).sum(-1).float() / finished,
        (relevance.amax(-1) - mean_relevance) / 4,
        scored.sum(-1) >= improvement.RULE_FROM,
    ]
    return torch.stack([column.float() for column in columns], -1)


def _from_incumbent(context: History, geometry: Geometry, pool: Pool) -> Tensor:
    if not bool(context.scored.any()):
        return torch.zeros(pool.kind.shape, dtype=torch.float64)
    scores = context.scores.masked_fill(~context.comparable, -torch.inf)
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


def _rare_choice(context: History, geometry: Geometry, pool: Pool) -> Tensor:
    """How rarely the rarest choice of a candidate was tried: 1 never, then 1/2, 1/3, ..."""
    columns = geometry.categorical_columns
    if len(columns) == 0:
        return torch.zeros(pool.kind.shape, dtype=torch.float64)
    mine, theirs = pool.units[..., columns], context.units[..., columns]
    count = (mine[:, :, None] == theirs[:, None]).sum(2)  # (B, m, k)
    chosen = pool.active[..., columns] & geometry.is_categorical[:, None, columns]
    return torch.where(chosen, 1 / (1 + count.double()), 0.0).amax(-1)


def _ranks(values: Tensor) -> Tensor:
    """Centred ranks ``(..., m)`` within the pool, from -1 (least) to 1 (greatest)."""
    order = values.argsort(-1)
    grid = torch.linspace(-1, 1, values.shape[-1], dtype=values.dtype).expand_as(values)
    return torch.empty_like(values).scatter(-1, order, grid)
