"""The league: who plays against the policy, and when the reference policy is replaced."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import math
import random

import torch
from torch import Tensor

from optuna_rocket.agent import policy
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.proposals import KIND
from optuna_rocket.training.rollout import Player


def kind_player(name: str) -> Player:
    """Picks at random among the proposals of one kind (all kinds where there are none).

    Kind ``random`` is random search; kind ``density`` draws every parameter from a density of the
    good trials, which is what TPE does without its ratio.
    """

    def play(decision: Decision, generator: torch.Generator) -> Tensor:
        preferred = torch.where(decision.pool.kind == KIND[name], 0.0, -50.0)
        allowed = torch.isfinite(decision.logits)
        return policy.act(preferred.masked_fill(~allowed, -torch.inf), generator)

    return play


def rule_player(decision: Decision, generator: torch.Generator) -> Tensor:
    """The improvement rule alone, greedy: what every learned part is measured against."""
    allowed = torch.isfinite(decision.logits)
    return policy.act(decision.inputs.rule.masked_fill(~allowed, -torch.inf))


FIXED_OPPONENTS: tuple[Player, ...] = (kind_player("random"), kind_player("density"), rule_player)


@dataclass
class League:
    """Older selves, kept as opponents.

    Attributes:
        max_selves: How many are kept; the oldest but one leaves first.
        selves: State dicts.
    """

    max_selves: int = 4
    selves: list[dict[str, Tensor]] = field(default_factory=list)

    def admit(self, state: dict[str, Tensor]) -> None:
        """Keep an older self, given as frozen weights."""
        self.selves.append(state)
        if len(self.selves) > self.max_selves:
            del self.selves[1]

    def draw(self, rng: random.Random) -> dict[str, Tensor] | None:
        """One older self at random, None where there is none yet."""
        return rng.choice(self.selves) if self.selves else None


@dataclass
class ExperiencePool:
    """Seeds of task batches where the policy lost, to be played again with fresh rollouts.

    Attributes:
        capacity: Number of seeds kept; the least lost leaves first.
        losses: Seed to how much the policy fell short of the best opponent.
    """

    capacity: int = 64
    losses: dict[int, float] = field(default_factory=dict)

    def record(self, seed: int, loss: float) -> None:
        """Note the latest result on a batch; a win removes it."""
        self.losses.pop(seed, None)
        if loss > 0:
            self.losses[seed] = loss
        if len(self.losses) > self.capacity:
            del self.losses[min(self.losses, key=lambda key: self.losses[key])]

    def draw(self, rng: random.Random) -> int | None:
        """A lost batch, the worse the likelier."""
        if not self.losses:
            return None
        seeds = list(self.losses)
        return rng.choices(seeds, weights=[self.losses[seed] for seed in seeds])[0]


def paired_t(difference: Tensor) -> float:
    """Student's t of paired differences; above 1.65 the mean is positive at 5 %, one-sided."""
    n = len(difference)
    return float(difference.mean() / difference.std().clamp_min(1e-12)) * math.sqrt(n)
