"""Whether a fine-tuned agent beats the shipped one on studies that neither was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import torch
from torch import Tensor

from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.history import History
from optuna_rocket.space import Geometry
from optuna_rocket.training.rollout import greedy_player
from optuna_rocket.training.rollout import play
from optuna_rocket.training.rollout import utility
from optuna_rocket.training.surrogates import surrogate_tasks


# Student's t: 97.5 % quantile by degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_N_CANDIDATES = 160


@dataclass(frozen=True)
class Verdict:
    """A paired comparison over studies.

    Attributes:
        regret: ``(2, T)`` mean normalised regret after every trial, of the shipped and of the
            fine-tuned agent.
        gains: ``(K,)`` mean utility that fine-tuning gained on each study.
        mean: Their mean.
        interval: 95 % confidence interval of the mean, for studies as random draws.
    """

    regret: Tensor
    gains: Tensor
    mean: float
    interval: tuple[float, float]

    @property
    def is_better(self) -> bool:
        """Whether fine-tuning gained something beyond chance."""
        return self.interval[0] > 0


def compare(
    shipped: RecurrentScorer,
    tuned: RecurrentScorer,
    past: Sequence[tuple[History, Geometry]],
    *,
    seed: int,
    n_tasks: int,
    n_trials: int,
) -> Verdict:
    """Let both agents play fresh tasks made of every study.

    Both meet the same tasks, the same noise and the same seed of the proposals.

    Args:
        shipped: The agent that is there already.
        tuned: The one that may take its place.
        past: Studies that were kept apart: trials and spaces, batches of one; K of them.
        seed: Of everything.
        n_tasks: Tasks of each study.
        n_trials: T.
    """
    regrets, gains = [], []
    for k, study in enumerate(past):
        own = seed + 1000 * k
        tasks = surrogate_tasks([study], n_tasks, torch.Generator().manual_seed(own))
        both = [
            play(
                tasks,
                [greedy_player],
                network,
                torch.Generator().manual_seed(own + 1),
                noise_seed=own + 2,
                n_trials=n_trials,
                n_first=0,
                n_candidates=_N_CANDIDATES,
                horizon_known=False,
                record=False,
            ).regret
            for network in (shipped, tuned)
        ]
        regrets.append(torch.stack([regret.mean(0) for regret in both]))
        gains.append((utility(both[1]) - utility(both[0])).mean())
    found = torch.stack(gains)
    return Verdict(torch.stack(regrets).mean(0), found, float(found.mean()), interval(found))


def interval(values: Tensor) -> tuple[float, float]:
    """95 % confidence interval of the mean of ``(K,)`` independent values (Student's t)."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return -math.inf, math.inf
    quantile = _T[n - 2] if n - 2 < len(_T) else 1.96 + 2.5 / (n - 1)
    half = quantile * float(values.std()) / math.sqrt(n)
    return mean - half, mean + half
