"""Scores that are bad by chance: a run that diverges whatever its configuration, a bad machine.

One variance of noise for all trials grows with them, until nothing is told apart any more. A score
far below what the other trials say of its configuration is therefore given a variance of its own,
that of a Student's t of a few degrees of freedom, one-sided: what is surprisingly good is what a
search is for. Bad neighbours back each other up, and are not doubted (``benchmarks/README.md``).

Notation: that of ``space`` and ``gram``; transformed scores ``z`` ``(B, n)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optuna_rocket.agent.gram import Certainty
from optuna_rocket.history import History
from optuna_rocket.scores import Scale
from optuna_rocket.scores import gaps_on


# Below what is expected without the score itself: so many deviations, and so much of z.
_DEVIATIONS, _LEAST = 4.0, 1.0
# And so far below the best (``scores.gaps_on``), once there are so many scores.
_GAP, _FROM = 2.5, 10
_FREEDOM = 4.0


def doubtful(history: History, scale: Scale) -> Tensor | None:
    """Scores ``(B, n)`` that may be doubted at all, by their ``scale``; None where there are none.

    Not with several objectives and constraints, whose scale is another.
    """
    if history.n_trials < _FROM or history.least_unit is not None:
        return None
    many = history.scored.sum(-1, keepdim=True) >= _FROM
    found = many & history.scored & (gaps_on(scale, history.scores) >= _GAP)
    return found if bool(found.any()) else None


def doubted(
    rows: Tensor, alpha: Tensor, inverse: Tensor, noise: Tensor, plain: Certainty, now: Certainty
) -> Certainty:
    """The certainty of the scores, less where they are far below what the others say.

    Args:
        rows: From ``doubtful``.
        alpha: ``(B, n)`` the inverse times the transformed scores less their level.
        inverse: ``(B, n, n)`` inverse of their covariance with the certainty ``now``.
        noise: ``(B,)`` variance of full evaluations.
        plain: Certainty without doubts.
        now: Certainty with the doubts so far.
    """
    # The residual and variance of a score given all others (Rasmussen & Williams, eq. 5.12).
    diagonal = inverse.diagonal(dim1=-2, dim2=-1)
    residual = alpha / diagonal
    of_function = (1 / diagonal - now.variance(noise)).clamp_min(0)
    variance = of_function + plain.variance(noise)
    low = (residual < -_LEAST) & (residual.square() > _DEVIATIONS**2 * variance)
    extra = torch.where(rows & low, residual.square() / (_FREEDOM + 1), 0.0)
    return Certainty(plain.factor, plain.added + extra)
