"""Trust that experience has earned: how well it foretold the order of this study's own trials.

Notation: ``S`` forecasters, each of which says ``f_s`` of ``n`` trials, in order; transformed
scores ``z``. When trial ``t`` ends, its place among the trials before it is known, and each
forecaster has said where it would be:

    ``e_st = mean_{i < t} [g_sti s_ti - κ |g_sti|]``,
    ``g_sti = tanh((f_st - f_si) / δ)``,  ``s_ti = tanh((z_t - z_i) / δ)``,

which is 1 - κ where a forecaster is sure and right, -1 - κ where it is sure and wrong, and 0 where
it has no opinion. Its log odds are a sum of these steps, as in a sequential test (Wald 1945), cut
above, so that whoever was right for long and is wrong now is found out soon. What is chosen among
many forecasters by what they got right proves nothing: all together are tested as one forecaster,
whose word on a trial is that of the mixture which was trusted *before* it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


# How sure a forecaster must be right, on average, to gain trust: kappa.
TOLL = 0.2
# Differences of forecasts and of scores that count as half sure, in standard deviations: delta.
SCALE = 0.5
# Log odds that one trial can bring, and the most that can be held.
STEP = 1.0
MOST = 3.0


class Trust(NamedTuple):
    """What forecasters have earned.

    Attributes:
        each: ``(S,)`` log odds of each; what is not above 0 is not believed.
        joint: Share of belief, from 0 to 1, that they deserve together.
    """

    each: Tensor
    joint: float


def earned(said: Tensor, z: Tensor, prior: Tensor, *, are_doubted: bool = False) -> Trust:
    """The trust of forecasters after ``n`` trials.

    Args:
        said: ``(S, n)`` their forecasts.
        z: ``(n,)`` transformed scores.
        prior: ``(S,)`` log odds before the first trial.
        are_doubted: Whether all of them make up the mixture that is tested, by their odds, and
            not only those that are believed: of those with odds against them none is at first.
    """
    start = prior.clamp_max(MOST)
    if not len(said) or not len(z):
        return Trust(start, belief(float(start.mean())) if len(said) else 0.0)
    each = _log_odds(start, said, z)
    before = torch.cat([start[:, None], each[:, :-1]], -1)
    before = before.exp() if are_doubted else before.clamp_min(0)
    weights = before / before.sum(0).clamp_min(1e-9)
    level = said.mean(-1, keepdim=True)  # sources that mean the same may differ by a constant
    foretold = (weights * (said - level)).sum(0)
    joint = _log_odds(start.mean()[None], foretold[None], z)[0, -1]
    return Trust(each[:, -1], belief(float(joint)))


def belief(log_odds: float) -> float:
    """Share of belief that log odds deserve: none up to even odds, all of it at the most."""
    return min(max(log_odds / MOST, 0.0), 1.0)


def _log_odds(start: Tensor, said: Tensor, z: Tensor) -> Tensor:
    """Log odds ``(S, n)`` after every trial: a walk that cannot rise above ``MOST``."""
    order = torch.tanh((z[:, None] - z) / SCALE)
    g = torch.tanh((said[:, :, None] - said[:, None]) / SCALE)
    n = len(z)
    earlier = torch.ones(n, n, dtype=z.dtype).tril(-1) / torch.arange(n).clamp_min(1)[:, None]
    steps = ((g * order - TOLL * g.abs()) * earlier).sum(-1)
    walk = start[:, None] + (STEP * steps).cumsum(-1)
    return walk - (walk.cummax(-1).values - MOST).clamp_min(0)  # Skorokhod's reflection
