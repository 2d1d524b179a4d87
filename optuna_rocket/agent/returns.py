"""Returns and advantages: pure functions of rewards.

Time is the last axis; ``_t`` marks a quantity per trial. Groups are consecutive rows.
"""

from __future__ import annotations

import torch
from torch import Tensor


def discounted_improvements(utility_t: Tensor, start: Tensor, discount: float) -> Tensor:
    """Discounted sum of the improvements of a utility from each trial on.

    ``R_t = Σ_{k≥t} γ^(k-t) (u_k - u_(k-1))``. Improvements are a potential-based reward (Ng et al.
    1999): what luck did before trial ``t`` does not enter ``R_t``.

    Args:
        utility_t: ``(B, T)`` utility of the incumbent after each trial.
        start: ``(B,)`` utility before the first trial.
        discount: γ in [0, 1].
    """
    reward_t = torch.diff(utility_t, dim=-1, prepend=start[:, None])
    n = utility_t.shape[-1]
    lag = torch.arange(n)[:, None] - torch.arange(n)
    kernel = torch.where(lag >= 0, discount ** lag.clamp_min(0).double(), 0.0)  # (k, t)
    return reward_t @ kernel.to(reward_t.dtype)


def group_advantages(return_t: Tensor, group_size: int, league_t: Tensor | None = None) -> Tensor:
    """Returns relative to the mean of the group, all members of which played the same task.

    Not divided by the group's standard deviation, which would overweight easy tasks (Liu et al.
    2025, "Understanding R1-Zero-like training", section 3).

    Args:
        return_t: ``(B G, T)``, groups of ``group_size`` consecutive rows.
        group_size: G.
        league_t: ``(B, L, T)`` returns of opponents on the same tasks, if any.
    """
    grouped = return_t.view(-1, group_size, return_t.shape[-1])
    field = grouped if league_t is None else torch.cat([grouped, league_t], 1)
    return (grouped - field.mean(1, keepdim=True)).view_as(return_t)
