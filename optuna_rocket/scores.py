"""The scale of scores: what the memory regresses, and the way back to the objective's values.

Nothing here depends on the scale, the offset or the direction of the objective: scores are
already turned so that greater is better, and only ratios of gaps leave this file.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.history import History


# A gap is how far a score lies below the best, in units of the distance from that to the lower
# quartile. Gaps beyond these count as equal: much better than the best one, and much worse.
FURTHEST_GAPS = (-0.25, 3.0)
_WORST_GAP = FURTHEST_GAPS[1]
# What is added to a gap before its logarithm is taken: gaps much smaller than this are alike.
_LOG_OFFSET = 0.3
# See ``_nearness``: the better one in 2, 4, 8 and 16 scores, more than four of them, are much
# nearer to the best than the lower quartile where they are nearer by this factor. Above it (.005,
# .02) a search that converges looks like decades (``benchmarks/README.md``).
_BETTER_PARTS, _LEAST_CROWD, _CROWDED = (2, 4, 8, 16), 4, 0.001
_LEAST_STD = 1e-9  # scores that differ less than so are all equal


def transformed(scores: Tensor, scored: Tensor, scale: Scale) -> Tensor:
    """Scores on a common scale: winsorised log gap to the best, standardised.

    ``t = -log(c + min(g, 3))`` with gaps ``g`` from ``gaps_on`` and ``c`` = 0.3: heavy bad
    tails are cut, the region near the best is stretched a little, and more where scores span
    decades (``_nearness``). ``benchmarks/README.md`` has the comparison with ranks and z-scores.

    Args:
        scores: ``(B, n)``, anything where ``scored`` is False.
        scored: ``(B, n)`` bool.
        scale: From ``scale_of`` these scores, or the comparable ones of them.

    Returns:
        ``(B, n)`` with mean 0 and standard deviation 1 over the trials that set the scale; 0 where
        there is no score, and everywhere when all of those scores are equal.
    """
    return torch.where(scored, _at_gaps(scale, gaps_on(scale, scores)), 0.0)


def score_gaps(scores: Tensor, scored: Tensor) -> Tensor:
    """How far scores ``(B, n)`` lie below the best of their study, uncut.

    The unit is the distance from the best to the lower quartile, or to the worst where that is 0.
    """
    if scores.shape[1] == 0:
        return torch.zeros_like(scores)
    best, unit, _ = _yardstick(scores, scored)
    return (best - scores / 2) / unit


def continue_transform(
    scores: Tensor, scored: Tensor, further: Tensor, least_unit: Tensor | None = None
) -> Tensor:
    """Further scores ``(B, k)``, transformed on the scale that ``scores`` set.

    They may be better than all of those. All are 0 where all of those are equal.
    """
    scale = scale_of(scores, scored, least_unit)
    return _at_gaps(scale, gaps_on(scale, further))


def invert_transform(
    scores: Tensor, scored: Tensor, z: Tensor, least_unit: Tensor | None = None
) -> Tensor:
    """Scores ``(B, k)`` that are ``z`` when transformed on the scale of ``scores``.

    Cut where scores count as equally bad, and where all scores are equal: that score. There must
    be at least one.
    """
    return _scores(scale_of(scores, scored, least_unit), z)


def furthest_scores(scores: Tensor, scored: Tensor, least_unit: Tensor | None = None) -> Tensor:
    """The worst and the best score ``(B, 2)`` that are told from those beyond them.

    ``invert_transform`` gives the worst one, to the last digit, for all that is cut there.
    """
    scale = scale_of(scores, scored, least_unit)
    return 2 * (scale.best - scale.best.new_tensor([FURTHEST_GAPS[::-1]]) * scale.unit)


def expected_score(scale: Scale, mean: float, std: float) -> tuple[float, float]:
    """An expected transformed score of one study and its deviation, on the objective's scale.

    The deviation is half of what lies between one below and one above. NaN before any score.
    """
    if not bool(torch.isfinite(scale.best)):
        return math.nan, math.nan
    around = scale.best.new_tensor([[mean - std, mean, mean + std]])
    low, score, high = _scores(scale, around)[0].tolist()
    return score, high / 2 - low / 2


def transform_errors(scores: Tensor, scored: Tensor, errors: Tensor) -> Tensor:
    """Standard errors ``(B, n)`` of scores as errors of what ``transformed`` makes of them.

    To first order, by the slope of the transform at each score.
    """
    scale = scale_of(scores, scored)
    gaps = gaps_on(scale, scores).clamp(0, _WORST_GAP)
    slope = 0.5 / (scale.unit * (scale.offset + gaps) * scale.std.clamp_min(_LEAST_STD))
    return torch.where(scored & (scale.std > _LEAST_STD), errors * slope, 0.0)


def transform_gaps(
    scores: Tensor, scored: Tensor, gaps: Tensor, least_unit: Tensor | None = None
) -> Tensor:
    """What ``continue_transform`` gives to scores ``(B, k)`` that lie ``gaps`` below the best."""
    return _at_gaps(scale_of(scores, scored, least_unit), gaps)


def gaps_of(scores: Tensor, scored: Tensor, z: Tensor, least_unit: Tensor | None = None) -> Tensor:
    """Gaps ``(B, k)`` that ``transform_gaps`` turns into ``z``, cut."""
    scale = scale_of(scores, scored, least_unit)
    gaps = torch.where(scale.std > _LEAST_STD, _gaps(scale, z), 0.0)
    return gaps.clamp(*FURTHEST_GAPS)


def half_unit(scores: Tensor, scored: Tensor, least_unit: Tensor | None = None) -> Tensor:
    """Half of the score difference ``(B, 1)`` that is a gap of 1."""
    return _yardstick(scores, scored, least_unit)[1]


class Scale(NamedTuple):
    """What ``transformed`` takes from the scores that set it, each ``(B, 1)``.

    ``best`` and ``unit`` are halves; the best is minus infinity where there is no score.
    """

    best: Tensor
    unit: Tensor
    offset: Tensor
    mean: Tensor
    std: Tensor


def scale_of(scores: Tensor, scored: Tensor, least_unit: Tensor | None = None) -> Scale:
    """The scale that some scores set.

    Args:
        scores: ``(B, n)``, anything where ``scored`` is False.
        scored: ``(B, n)`` bool, ``History.comparable`` where it is about trials.
        least_unit: ``History.least_unit``, which takes the place of the distance to the lower
            quartile where that is less; likewise in the functions above.
    """
    if scores.shape[1] == 0:
        blank = scores.new_zeros(len(scores), 1)
        return Scale(blank - torch.inf, blank + 1, blank + _LOG_OFFSET, blank, blank)
    best, unit, ascending = _yardstick(scores, scored, least_unit)
    gaps = (best - scores / 2) / unit
    offset = torch.full_like(best, _LOG_OFFSET)
    if least_unit is None:
        offset *= _nearness(best, unit, ascending, scored)
    return Scale(best, unit, offset, *_moments(_log_gap(gaps, offset), scored))


def study_scale(history: History) -> Scale:
    """The scale that a history gives to its own scores."""
    return scale_of(history.scores, history.comparable, history.least_unit)


def gaps_on(scale: Scale, scores: Tensor) -> Tensor:
    """How far scores ``(B, k)`` lie below the best one of a scale, uncut."""
    return (scale.best - scores / 2) / scale.unit


def _scores(scale: Scale, z: Tensor) -> Tensor:
    """See ``invert_transform``."""
    return 2 * (scale.best - _gaps(scale, z).clamp_max(_WORST_GAP) * scale.unit)


def _at_gaps(scale: Scale, gaps: Tensor) -> Tensor:
    most_above = FURTHEST_GAPS[0] / _LOG_OFFSET * scale.offset
    new = -torch.log(scale.offset + gaps.maximum(most_above).clamp_max(_WORST_GAP))
    known = (new - scale.mean) / scale.std.clamp_min(_LEAST_STD)
    return torch.where(scale.std > _LEAST_STD, known, 0.0)


def _gaps(scale: Scale, z: Tensor) -> Tensor:
    return torch.exp(-(z * scale.std + scale.mean)) - scale.offset


def _log_gap(gaps: Tensor, offset: Tensor) -> Tensor:
    return -torch.log(offset + gaps.clamp(0, _WORST_GAP))


def _nearness(best: Tensor, unit: Tensor, ascending: Tensor, scored: Tensor) -> Tensor:
    """Factor ``(B, 1)`` of what is added to gaps before the logarithm: those much less are alike.

    Scores can span decades (losses without a logarithm). Where the better half has gaps so small
    that it would all be alike, its greatest one takes the place of the unit; and so on with the
    better quarter, eighth and sixteenth. Not where there is a ``least_unit``: what several
    objectives and constraints want lies at a certain distance.
    """
    last = (scored.sum(-1, keepdim=True) - 1).clamp_min(0)
    crowd = (last // torch.tensor(_BETTER_PARTS)).maximum(last.clamp_max(_LEAST_CROWD))
    greatest = (best - ascending.gather(1, last - crowd)) / unit  # gaps of those parts
    near = torch.ones_like(best)
    crowded = (greatest > 0) & (greatest < _CROWDED)
    if bool(crowded.any()):  # hardly ever, and the rest takes a while
        for gap in greatest.split(1, -1):
            near = torch.where((gap > 0) & (gap < _CROWDED * near), gap, near)
    return near


def _yardstick(
    scores: Tensor, scored: Tensor, least_unit: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Half of the best score, half of its distance to the lower quartile, and halves in order.

    The first two are ``(B, 1)``; the last ``(B, n)`` ascends, infinite where there is no score.
    Halving first keeps the differences of huge scores finite.
    """
    half, blank = scores / 2, ~scored
    best = half.masked_fill(blank, -torch.inf).amax(-1, keepdim=True)
    ascending = half.masked_fill(blank, torch.inf).sort(-1).values
    quarter = (scored.sum(-1, keepdim=True) - 1).clamp_min(0) // 4
    unit = best - ascending.gather(1, quarter)
    unit = torch.where(unit > 0, unit, best - ascending[:, :1])
    unit = torch.where((unit > 0) & torch.isfinite(unit), unit, 1.0)
    if least_unit is not None:
        unit = unit.maximum(least_unit[:, :1])
    return best, unit, ascending


def _moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, each ``(B, 1)``, where ``mask``."""
    count = mask.sum(-1, keepdim=True).clamp_min(1)
    mean = torch.where(mask, values, 0.0).sum(-1, keepdim=True) / count
    return mean, masked_std(values, mask)[..., None]


def masked_std(values: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation over the last axis, where ``mask``."""
    count = mask.sum(-1, keepdim=True).clamp_min(1)
    safe = torch.where(mask, values, 0.0)
    mean = (safe / count).sum(-1, keepdim=True)
    deviation = torch.where(mask, safe - mean, 0.0)
    return (deviation.square() / count).sum(-1).sqrt()
