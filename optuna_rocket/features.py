"""Tokens of a history for the recurrence: scale-free, and causal.

Nothing here depends on the scale, the offset or the direction of the objective: scores are
already turned so that greater is better, and only ranks, ratios and flags leave this file. The
token of a trial depends on earlier trials alone, so that a recurrent state can be continued trial
by trial.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.scores import masked_std
from optuna_rocket.space import Geometry


# Kinds of proposals, in the order of their one-hot code (``agent/proposals.py`` makes them).
PROPOSAL_KINDS = ("random", "mutation", "crossover", "density", "local")
# A trial is ranked among this many trials before it: bounds the cost of a token.
TOKEN_WINDOW = 64
_ENDS = (Outcome.COMPLETE, Outcome.PRUNED, Outcome.FAILED)
N_TOKEN_FEATURES = 15 + len(PROPOSAL_KINDS)
_CHUNK = 512


def tokens(history: History, geometry: Geometry, start: int = 0) -> Tensor:
    """Tokens ``(B, n - start, N_TOKEN_FEATURES)`` of the trials from ``start`` on.

    All trials of ``history`` must be finished (none pending).
    """
    n = history.n_trials
    scores = history.scores.masked_fill(~history.scored, -torch.inf)
    best, best_index = scores.cummax(-1) if n else (scores, history.outcomes)
    chunks = [
        _token_chunk(history, geometry, scores, best, best_index, i, min(i + _CHUNK, n))
        for i in range(start, n, _CHUNK)
    ]
    empty = torch.zeros(scores.shape[0], 0, N_TOKEN_FEATURES, dtype=torch.float32)
    return torch.cat(chunks, 1) if chunks else empty


def _token_chunk(
    history: History,
    geometry: Geometry,
    scores: Tensor,
    best: Tensor,
    best_index: Tensor,
    start: int,
    stop: int,
) -> Tensor:
    rows, here = torch.arange(start, stop), slice(start, stop)
    window = rows[:, None] - 1 - torch.arange(TOKEN_WINDOW)
    valid = window >= 0
    window = window.clamp_min(0)
    before = (rows - 1).clamp_min(0)

    score = scores[:, here]  # (B, k)
    has_score = torch.isfinite(score)
    earlier = scores[:, window]  # (B, k, W)
    comparable = torch.isfinite(earlier) & valid
    count = comparable.sum(-1)
    below = ((earlier < score[..., None]) & comparable).sum(-1)
    equal = ((earlier == score[..., None]) & comparable).sum(-1)
    # Not by the default type, which is the user's.
    quantile = (below.float() + 0.5 * equal.float() + 0.5) / (count + 1)
    rank = torch.special.ndtri(quantile)

    incumbent = torch.where(rows > 0, best[:, before], -torch.inf)
    has_incumbent = torch.isfinite(incumbent)
    spread = masked_std(earlier, comparable)
    usable = has_score & has_incumbent & (spread > 0) & torch.isfinite(spread)
    gain = torch.where(usable, (score - incumbent) / spread.clamp_min(1e-300), 0.0)
    gain = gain.nan_to_num(0.0).clamp(-10, 10)
    improved = has_score & (score > incumbent)

    units = history.units[:, here]
    leader = _gather_rows(history.units, best_index[:, before])
    to_incumbent = row_distance(units, leader, geometry)
    neighbours = row_distance(units[:, :, None], history.units[:, window], geometry)
    nearest = neighbours.masked_fill(~valid, torch.inf).amin(-1)
    nearest = torch.where(torch.isfinite(nearest), nearest, 0.0)

    mean, std = history.predicted[:, here].unbind(-1)
    known = torch.isfinite(mean) & torch.isfinite(std)
    mean, std = mean.nan_to_num(0.0).clamp(-4, 4), std.nan_to_num(0.0).clamp(0, 4)
    surprise = torch.where(known & has_score, (rank - mean) / (std + 0.3), 0.0).clamp(-3, 3)
    columns = [
        torch.where(has_score, rank, 0.0) / 2,
        improved.double(),
        torch.log1p(gain.clamp_min(0)),
        torch.log1p((-gain).clamp_min(0)),
        known.double(),
        mean / 2,
        std,
        surprise / 2,
        torch.where(has_incumbent, to_incumbent, 0.0),
        nearest,
        history.fidelity[:, here],
        torch.log1p(rows.double()).expand_as(rank) / 5,
    ]
    outcomes = history.outcomes[:, here, None] == torch.tensor(_ENDS)
    kinds = history.kind[:, here, None] == torch.arange(len(PROPOSAL_KINDS))
    return torch.cat([outcomes.float(), torch.stack(columns, -1).float(), kinds.float()], -1)


def row_distance(a: Tensor, b: Tensor, geometry: Geometry) -> Tensor:
    """Root mean square distance over parameters of matching rows ``(B, ..., d)`` of units."""
    lead = (len(geometry.present),) + (1,) * (a.dim() - 2) + (-1,)
    squared = (a - b).square()
    if len(geometry.categorical_columns):
        squared = torch.where(geometry.is_categorical.view(lead), (a != b).double(), squared)
    squared = squared * geometry.present.view(lead)
    n_params = geometry.n_params.view(lead[:-1]).clamp_min(1)
    return (squared.sum(-1) / n_params).sqrt()


def _gather_rows(units: Tensor, index: Tensor) -> Tensor:
    return units.gather(1, index[..., None].expand(*index.shape, units.shape[-1]))
