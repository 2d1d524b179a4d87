"""Ways to play that differ in one part, and how they compare."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import policy
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.visited import Visited
from optuna_rocket.training.league import paired_t
from optuna_rocket.training.rollout import Player
from optuna_rocket.training.rollout import greedy_player
from optuna_rocket.training.rollout import play
from optuna_rocket.training.rollout import utility
from optuna_rocket.training.tasks import Tasks


def _allowed(_: Visited, logits: Tensor, units: Tensor) -> Tensor:
    """Logits as they are, whatever has been tried."""
    return logits


# Configurations may be tried again before all were tried.
REPEATS = ((Visited, "forbid", _allowed),)


@dataclass(frozen=True)
class Variant:
    """One way to play.

    Attributes:
        network: Whose logits are seen.
        player: Who chooses.
        options: Options of ``rollout.play`` that differ.
        patches: What differs in the package: module or class, name, value.
    """

    network: RecurrentScorer
    player: Player
    options: dict[str, Any] = field(default_factory=dict)
    patches: tuple[tuple[Any, str, Any], ...] = ()

    def regret(self, tasks: Tasks, seed: int, n_trials: int) -> Tensor:
        """Play all tasks.

        Args:
            tasks: The tasks.
            seed: Randomness that all variants share; the next seed is that of the proposals.
            n_trials: Length of a study.

        Returns:
            Normalised regret of the incumbent after each trial ``(tasks, n_trials)``.
        """
        options: dict[str, Any] = {
            "noise_seed": seed,
            "n_trials": n_trials,
            "n_first": 0,
            "n_candidates": policy.N_CANDIDATES,
            "horizon_known": False,
            "record": False,
            **self.options,
        }
        generator = torch.Generator().manual_seed(seed + 1)
        with ExitStack() as stack:
            for module, name, value in self.patches:
                stack.enter_context(patch.object(module, name, value))
            return play(tasks, [self.player], self.network, generator, **options).regret


def checkpoints(paths: Sequence[str]) -> dict[str, Variant]:
    """Further agents, played as they are."""
    return {
        f"checkpoint {Path(path).stem}": Variant(checkpoint.load(path), greedy_player)
        for path in paths
    }


def compared(regret: Tensor, agent: Tensor, trials: Sequence[int]) -> dict[str, Any]:
    """Summarise a variant.

    Args:
        regret: Of the variant ``(tasks, n_trials)``.
        agent: Of the shipped agent on the same tasks.
        trials: After how many trials the mean regret is given.

    Returns:
        Mean regret and utility, the mean paired difference of utility to the shipped agent and
        its t statistic (0 for the agent itself).
    """
    difference = utility(regret).mean(-1) - utility(agent).mean(-1)
    row: dict[str, Any] = {f"regret_{n}": round(float(regret[:, n - 1].mean()), 4) for n in trials}
    row |= {"utility": round(float(utility(regret).mean()), 4)}
    row |= {"minus_agent": round(float(difference.mean()), 4)}
    row |= {"t": round(paired_t(difference), 2) if bool(difference.any()) else 0.0}
    return row
