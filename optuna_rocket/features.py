"""Scale-free views of a history: transformed scores for the memory, tokens for the recurrence.

Nothing here depends on the scale, the offset or the direction of the objective: scores are
already turned so that greater is better, and only ranks, ratios of gaps and flags leave this file.
Tokens are causal: the token of a trial depends on earlier trials alone, so that a recurrent state
can be continued trial by trial.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import Geometry


# Kinds of proposals, in the order of their one-hot code (``agent/proposals.py`` makes them).
PROPOSAL_KINDS = ("random", "mutation", "crossover", "density", "local")
# A gap is how far a score lies below the best, in units of the distance from that to the lower
# quartile. Gaps beyond these count as equal: much better than the best one, and much worse.
FURTHEST_GAPS = (-0.25, 3.0)
_WORST_GAP = FURTHEST_GAPS[1]
# What is added to a gap before its logarithm is taken: gaps much smaller than this are alike.
_LOG_OFFSET = 0.3
# See ``_offset``: the better one in 2, 4, 8 and 16 scores, more than four of them, are much nearer
# to the best than the lower quartile where they are nearer by this factor. Above it (.005, .02) a
# search that converges looks like decades (``benchmarks/README.md``).
_BETTER_PARTS, _LEAST_CROWD, _CROWDED = (2, 4, 8, 16), 4, 0.001
_LEAST_STD = 1e-9  # scores that differ less than so are all equal
# A trial is ranked among this many trials before it: bounds the cost of a token.
TOKEN_WINDOW = 64
N_TOKEN_FEATURES = 15 + len(PROPOSAL_KINDS)
_CHUNK = 512


def transform_scores(
    scores: Tensor,
    scored: Tensor,
    least_unit: Tensor | None = None,
    comparable: Tensor | None = None,
) -> Tensor:
    """Scores on a common scale: winsorised log gap to the best, standardised.

    ``t = -log(c + min(g, 3))`` with gaps ``g`` from ``score_gaps`` and ``c`` = 0.3: heavy bad
    tails are cut, the region near the best is stretched a little, and more where scores span
    decades (``_offset``). ``benchmarks/README.md`` has the comparison with ranks and z-scores.

    Args:
        scores: ``(B, n)``, anything where ``scored`` is False.
        scored: ``(B, n)`` bool.
        least_unit: ``History.least_unit``, which takes the place of the distance to the lower
            quartile where that is less; likewise in the functions below.
        comparable: ``History.comparable``, the trials that set the scale; all scored ones for
            None. The functions below are given these.

    Returns:
        ``(B, n)`` with mean 0 and standard deviation 1 over the comparable trials; 0 where there
        is no score, and everywhere when all comparable scores are equal.
    """
    if scores.shape[1] == 0:
        return torch.zeros_like(scores)
    by = scored if comparable is None else comparable
    return torch.where(scored, continue_transform(scores, by, scores, least_unit), 0.0)


def score_gaps(scores: Tensor, scored: Tensor) -> Tensor:
    """How far scores ``(B, n)`` lie below the best of their study, uncut.

    The unit is the distance from the best to the lower quartile, or to the worst where that is 0.
    """
    if scores.shape[1] == 0:
        return torch.zeros_like(scores)
    best, unit = _yardstick(scores, scored)
    return (best - scores / 2) / unit


def continue_transform(
    scores: Tensor, scored: Tensor, further: Tensor, least_unit: Tensor | None = None
) -> Tensor:
    """Further scores ``(B, k)`` on the scale that ``transform_scores`` gives to ``scores``.

    They may be better than all of those. All are 0 where all of those are equal.
    """
    scale = _scale(scores, scored, least_unit)
    return _at_gaps(scale, (scale.best - further / 2) / scale.unit)


def invert_transform(
    scores: Tensor, scored: Tensor, transformed: Tensor, least_unit: Tensor | None = None
) -> Tensor:
    """Scores ``(B, k)`` that ``transform_scores`` of ``scores`` would turn into ``transformed``.

    Cut where scores count as equally bad, and where all scores are equal: that score. There must
    be at least one.
    """
    scale = _scale(scores, scored, least_unit)
    return 2 * (scale.best - _gaps(scale, transformed).clamp_max(_WORST_GAP) * scale.unit)


def furthest_scores(scores: Tensor, scored: Tensor, least_unit: Tensor | None = None) -> Tensor:
    """The worst and the best score ``(B, 2)`` that are told from those beyond them.

    ``invert_transform`` gives the worst one, to the last digit, for all that is cut there.
    """
    scale = _scale(scores, scored, least_unit)
    return 2 * (scale.best - scale.best.new_tensor([FURTHEST_GAPS[::-1]]) * scale.unit)


def expected_score(history: History, mean: float, std: float) -> tuple[float, float]:
    """An expected transformed score of one study and its deviation, on the objective's scale.

    The deviation is half of what lies between one below and one above. NaN before any score.
    """
    if not bool(history.scored.any()):
        return math.nan, math.nan
    around = history.scores.new_tensor([[mean - std, mean, mean + std]])
    low, score, high = invert_transform(history.scores, history.comparable, around)[0].tolist()
    return score, high / 2 - low / 2


def transform_errors(scores: Tensor, scored: Tensor, errors: Tensor) -> Tensor:
    """Standard errors ``(B, n)`` of scores as errors of what ``transform_scores`` makes of them.

    To first order, by the slope of the transform at each score.
    """
    scale = _scale(scores, scored)
    gaps = ((scale.best - scores / 2) / scale.unit).clamp(0, _WORST_GAP)
    slope = 0.5 / (scale.unit * (scale.offset + gaps) * scale.std.clamp_min(_LEAST_STD))
    return torch.where(scored & (scale.std > _LEAST_STD), errors * slope, 0.0)


def transform_gaps(
    scores: Tensor, scored: Tensor, gaps: Tensor, least_unit: Tensor | None = None
) -> Tensor:
    """What ``continue_transform`` gives to scores ``(B, k)`` that lie ``gaps`` below the best."""
    return _at_gaps(_scale(scores, scored, least_unit), gaps)


def gaps_of(
    scores: Tensor, scored: Tensor, transformed: Tensor, least_unit: Tensor | None = None
) -> Tensor:
    """Gaps ``(B, k)`` that ``transform_gaps`` turns into ``transformed``, cut."""
    scale = _scale(scores, scored, least_unit)
    gaps = torch.where(scale.std > _LEAST_STD, _gaps(scale, transformed), 0.0)
    return gaps.clamp(*FURTHEST_GAPS)


def half_unit(scores: Tensor, scored: Tensor, least_unit: Tensor | None = None) -> Tensor:
    """Half of the score difference ``(B, 1)`` that is a gap of 1."""
    return _yardstick(scores, scored, least_unit)[1]


class _Scale(NamedTuple):
    """What ``transform_scores`` takes from some scores, each ``(B, 1)``."""

    best: Tensor
    unit: Tensor
    offset: Tensor
    mean: Tensor
    std: Tensor


def _scale(scores: Tensor, scored: Tensor, least_unit: Tensor | None = None) -> _Scale:
    best, unit = _yardstick(scores, scored, least_unit)
    gaps = (best - scores / 2) / unit
    offset = _offset(gaps, scored) if least_unit is None else torch.full_like(best, _LOG_OFFSET)
    return _Scale(best, unit, offset, *_moments(_log_gap(gaps, offset), scored))


def _at_gaps(scale: _Scale, gaps: Tensor) -> Tensor:
    most_above = FURTHEST_GAPS[0] / _LOG_OFFSET * scale.offset
    new = -torch.log(scale.offset + gaps.maximum(most_above).clamp_max(_WORST_GAP))
    known = (new - scale.mean) / scale.std.clamp_min(_LEAST_STD)
    return torch.where(scale.std > _LEAST_STD, known, 0.0)


def _gaps(scale: _Scale, transformed: Tensor) -> Tensor:
    return torch.exp(-(transformed * scale.std + scale.mean)) - scale.offset


def _log_gap(gaps: Tensor, offset: Tensor) -> Tensor:
    return -torch.log(offset + gaps.clamp(0, _WORST_GAP))


def _offset(gaps: Tensor, scored: Tensor) -> Tensor:
    """What is added to gaps ``(B, n)`` before the logarithm: those much smaller are alike.

    Scores can span decades (losses without a logarithm). Where the better half has gaps so small
    that it would all be alike, its greatest one takes the place of the unit; and so on with the
    better quarter, eighth and sixteenth. Not where there is a ``least_unit``: what several
    objectives and constraints want lies at a certain distance.
    """
    ascending = gaps.masked_fill(~scored, torch.inf).sort(-1).values
    last = (scored.sum(-1, keepdim=True) - 1).clamp_min(0)
    near = torch.ones_like(ascending[:, :1])
    for part in _BETTER_PARTS:
        nearer = ascending.gather(1, (last // part).maximum(last.clamp_max(_LEAST_CROWD)))
        near = torch.where((nearer > 0) & (nearer < _CROWDED * near), nearer, near)
    return _LOG_OFFSET * near


def _yardstick(
    scores: Tensor, scored: Tensor, least_unit: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Half of the best score and half of its distance to the lower quartile, each ``(B, 1)``.

    Halving first keeps the differences of huge scores finite.
    """
    half = torch.where(scored, scores, 0.0) / 2
    best = half.masked_fill(~scored, -torch.inf).amax(-1, keepdim=True)
    worst = half.masked_fill(~scored, torch.inf).amin(-1, keepdim=True)
    ascending = half.masked_fill(~scored, torch.inf).sort(-1).values
    quarter = (scored.sum(-1, keepdim=True) - 1).clamp_min(0) // 4
    unit = best - ascending.gather(1, quarter)
    unit = torch.where(unit > 0, unit, best - worst)
    unit = torch.where((unit > 0) & torch.isfinite(unit), unit, 1.0)
    return best, unit if least_unit is None else unit.maximum(least_unit[:, :1])


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
    rows = torch.arange(start, stop)
    window = rows[:, None] - 1 - torch.arange(TOKEN_WINDOW)
    valid = window >= 0
    window = window.clamp_min(0)
    before = (rows - 1).clamp_min(0)

    score = scores[:, rows]  # (B, k)
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
    spread = _masked_std(earlier, comparable)
    usable = has_score & has_incumbent & (spread > 0) & torch.isfinite(spread)
    gain = torch.where(usable, (score - incumbent) / spread.clamp_min(1e-300), 0.0)
    gain = gain.nan_to_num(0.0).clamp(-10, 10)
    improved = has_score & (score > incumbent)

    here = history.units[:, rows]
    to_incumbent = row_distance(here, _gather_rows(history.units, best_index[:, before]), geometry)
    neighbours = row_distance(here[:, :, None], history.units[:, window], geometry)
    nearest = neighbours.masked_fill(~valid, torch.inf).amin(-1)
    nearest = torch.where(torch.isfinite(nearest), nearest, 0.0)

    outcomes = history.outcomes[:, rows]
    mean, std = history.predicted[:, rows].unbind(-1)
    known = torch.isfinite(mean) & torch.isfinite(std)
    mean, std = mean.nan_to_num(0.0).clamp(-4, 4), std.nan_to_num(0.0).clamp(0, 4)
    surprise = torch.where(known & has_score, (rank - mean) / (std + 0.3), 0.0).clamp(-3, 3)
    columns = [
        (outcomes == Outcome.COMPLETE).double(),
        (outcomes == Outcome.PRUNED).double(),
        (outcomes == Outcome.FAILED).double(),
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
        history.fidelity[:, rows],
        torch.log1p(rows.double()).expand_as(rank) / 5,
    ]
    kinds = (history.kind[:, rows, None] == torch.arange(len(PROPOSAL_KINDS))).float()
    return torch.cat([torch.stack(columns, -1).float(), kinds], -1)


def row_distance(a: Tensor, b: Tensor, geometry: Geometry) -> Tensor:
    """Root mean square distance over parameters of matching rows ``(B, ..., d)`` of units."""
    lead = (len(geometry.present),) + (1,) * (a.dim() - 2) + (-1,)
    is_categorical = geometry.is_categorical.view(lead)
    squared = torch.where(is_categorical, (a != b).double(), (a - b).square())
    squared = squared * geometry.present.view(lead)
    n_params = geometry.n_params.view(lead[:-1]).clamp_min(1)
    return (squared.sum(-1) / n_params).sqrt()


def _gather_rows(units: Tensor, index: Tensor) -> Tensor:
    return units.gather(1, index[..., None].expand(*index.shape, units.shape[-1]))


def _moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, each ``(B, 1)``, where ``mask``."""
    count = mask.sum(-1, keepdim=True).clamp_min(1)
    mean = torch.where(mask, values, 0.0).sum(-1, keepdim=True) / count
    return mean, _masked_std(values, mask)[..., None]


def _masked_std(values: Tensor, mask: Tensor) -> Tensor:
    count = mask.sum(-1, keepdim=True).clamp_min(1)
    safe = torch.where(mask, values, 0.0)
    mean = (safe / count).sum(-1, keepdim=True)
    deviation = torch.where(mask, safe - mean, 0.0)
    return (deviation.square() / count).sum(-1).sqrt()
