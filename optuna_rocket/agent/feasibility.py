"""The chance that a candidate violates no constraint: one memory per constraint.

After Gardner et al. 2014, "Bayesian optimization with inequality constraints": independent normal
beliefs, whose tails below the allowed level multiply.

Where all that is known lies far from the level, these tails rank candidates by what is unsure of
them, and lead into corners. A search for the first feasible trial therefore also approaches the
level step by step (``log_approach``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from optuna_rocket.agent import improvement
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.memory import Reading
from optuna_rocket.scores import continue_transform


# As with the scores (``improvement.SPREAD``): a memory is surer than it should be.
SPREAD = 1.5
# Of a trial that trusts it (``many_goals``; chosen on ``benchmarks/goal_twins.py``).
NARROW = 0.7
_MOST_MEDIANS = 3.0  # see `balanced`
# A constraint that was satisfied (violated) alike in all trials is this far from its level.
_FLAT_LEVEL = (-4.0, 1.0)


def balanced(slacks: Tensor) -> Tensor:
    """Slacks ``(c, n)`` with the tails on both sides drawn in, in units of their mean size.

    Violations in units of three times their median at most: where the satisfied side spans decades
    (at least so much throughput), they would all be as good as 0, and not told from the level.
    """
    size = slacks.abs().nan_to_num(0.0)
    unit = size.sum(-1, keepdim=True) / (size > 0).sum(-1, keepdim=True).clamp_min(1)
    violated = torch.where(slacks < 0, size, torch.nan).nanmedian(-1, keepdim=True).values
    own = unit.minimum(_MOST_MEDIANS * violated.nan_to_num(torch.inf))
    return torch.asinh(slacks / torch.where(slacks < 0, own, unit).clamp_min(1e-300))


def merged(slacks: Tensor, most: int) -> Tensor:
    """``balanced`` slacks, those beyond the ``most``-th constraint merged into it."""
    slacks = balanced(slacks)
    if len(slacks) <= most:
        return slacks
    least = slacks[most - 1 :].nan_to_num(torch.inf).amin(0)
    return torch.cat([slacks[: most - 1], least.masked_fill(torch.isinf(least), torch.nan)[None]])


def log_chance(remembered: Conditioned, reading: Reading, spread: float = SPREAD) -> Tensor:
    """Log chance ``(m,)`` that candidates satisfy all constraints.

    Args:
        remembered: The memories of ``balanced`` slacks, a batch of one per constraint.
        reading: What they say of the candidates.
        spread: Factor of their standard deviations.
    """
    return _log_chances(reading, _levels(remembered), spread).sum(0)


def log_approach(remembered: Conditioned, reading: Reading, spread: float = SPREAD) -> Tensor:
    """Log of what candidates ``(m,)`` promise while no trial satisfies all constraints.

    Of a constraint that the least violating trial violates, the expected improvement on it; of the
    others the chance to be satisfied, as what they could be improved by is of no use.

    Args:
        remembered: As in ``log_chance``, with one trial at least.
        reading: What they say of the candidates.
        spread: Factor of their standard deviations.
    """
    levels = _levels(remembered)
    missing = (levels - remembered.fitted).clamp_min(0).sum(0)
    known = remembered.scored.any(0)  # a constraint that a trial lacks counts as in the mean
    least = int(missing.masked_fill(~known, torch.inf).argmin())
    reached = remembered.fitted[:, [least]]
    improved = improvement.log_improvement(reading.mean - reached, spread * reading.std)
    chances = _log_chances(reading, levels, spread)
    return torch.where(reached < levels, improved, chances).sum(0)


def _log_chances(reading: Reading, levels: Tensor, spread: float) -> Tensor:
    return torch.as_tensor(
        torch.special.log_ndtr((reading.mean - levels) / (spread * reading.std))
    )


def _levels(remembered: Conditioned) -> Tensor:
    """Transformed slacks ``(c, 1)`` from which on the constraints are satisfied."""
    scores, scored = remembered.history.scores, remembered.scored
    zero = torch.zeros(len(scores), 1, dtype=scores.dtype)
    level = continue_transform(scores, scored, zero, remembered.history.least_unit)
    known = scores.masked_fill(~scored, torch.nan)
    flat = ~(known.nan_to_num(-torch.inf).amax(-1) > known.nan_to_num(torch.inf).amin(-1))
    violated = (known < 0).any(-1)
    flat_level = torch.where(violated, _FLAT_LEVEL[1], _FLAT_LEVEL[0])
    return torch.where(flat[:, None], flat_level[:, None], level)
