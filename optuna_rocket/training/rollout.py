"""Play studies on synthetic tasks to their end, with everything recorded.

A group is one task played by several members at once. Members share the task, the noise of the
observations and the first trials (common random numbers), so that what differs is what they chose.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent import policy
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.agent.update import Decisions
from optuna_rocket.agent.update import Seen
from optuna_rocket.agent.update import recorded
from optuna_rocket.agent.update import seen
from optuna_rocket.agent.update import stacked
from optuna_rocket.training.playing import MAX_REGRET
from optuna_rocket.training.playing import Playing
from optuna_rocket.training.playing import begin
from optuna_rocket.training.tasks import Playable
from optuna_rocket.training.tasks import random_units


# A member of a group: chooses an index ``(rows,)`` from a decision.
Player = Callable[[Decision, torch.Generator], Tensor]
_FLOOR = 0.02
# Inverse temperature of sampling in rollouts. At 1 the policy is so even over a pool of good
# candidates that what it earns says little of its greedy use.
PLAY_SHARPNESS = 4.0


@dataclass(frozen=True)
class Trajectory:
    """What ``B`` tasks times ``G`` members played for ``T`` trials; rows are task-major.

    Attributes:
        decisions: What the network saw, ``(B G, T, ...)``.
        actions: ``(B G, T)`` index of the chosen candidate.
        log_prob: ``(B G, T)`` of the action under the policy as ``agent_player`` samples it.
        decided: ``(T,)`` bool, False for the shared first trials.
        regret: ``(B G, T)`` normalised regret of the incumbent after each trial, at most 1.5.
        gains: ``(B G, T, m)`` utility that each candidate would truly have gained.
        group_size: G.
    """

    decisions: Decisions
    actions: Tensor
    log_prob: Tensor
    decided: Tensor
    regret: Tensor
    gains: Tensor
    group_size: int

    def copied(self) -> Trajectory:
        """The same in memory of its own."""
        copies: dict[str, Any] = {
            name: value.clone() for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, decisions=self.decisions.each(torch.clone), **copies)


def utility(regret: Tensor) -> Tensor:
    """Log-scale utility of a normalised regret: halving it is worth the same anywhere."""
    return -torch.log10(regret.clamp(0, MAX_REGRET) + _FLOOR)


@torch.no_grad()
def play(
    tasks: Playable,
    players: Sequence[Player],
    network: RecurrentScorer,
    generator: torch.Generator,
    *,
    noise_seed: int,
    n_trials: int,
    n_first: int,
    n_candidates: int,
    horizon_known: bool,
    record: bool = True,
    forget: bool = False,
) -> Trajectory:
    """Play every task with every player.

    Args:
        tasks: B tasks.
        players: G members of each group.
        network: Gives the logits that players see; a player may ignore them.
        generator: Randomness of proposals and actions.
        noise_seed: Randomness that all members share: observation noise and first trials.
        n_trials: T.
        n_first: Number of first trials that are random and shared by the group.
        n_candidates: Size of the first pool.
        horizon_known: Whether the policy is told T.
        record: Whether to keep the inputs for training (large).
        forget: Whether to empty the recurrent state before every decision (ablation).
    """
    group = len(players)
    playing = begin(tasks, group)
    geometry = playing.geometry
    shared = torch.Generator().manual_seed(noise_seed)
    noise = torch.randn(len(tasks), n_trials, 2, generator=shared, dtype=torch.float64)
    noise = noise.repeat_interleave(group, 0)
    first = random_units(tasks.geometry, max(n_first, 1), shared)
    first = first.repeat_interleave(group, 0)
    steps, regrets, n_read = [], [], []
    for t in range(n_trials):
        playing, decision = playing.look(
            network,
            generator,
            delay=tasks.delay if t > n_first else 0,
            horizon=n_trials if horizon_known else None,
            n_candidates=n_candidates,
            forget=forget,
        )
        n_read.append(playing.belief.n_read)
        if t < n_first:
            decision = _impose(
                decision, first[:, t : t + 1], geometry.activity(first)[:, t : t + 1]
            )
            action = torch.zeros(len(first), dtype=torch.long)
        else:
            action = _choose(decision, players, group, generator)
        if record:
            steps.append(_step(playing, decision, action))
        playing = playing.observed(decision, action, noise[:, t])
        regrets.append(playing.regret)
    return Trajectory(
        decisions=recorded([x.seen for x in steps], playing.history, geometry, n_read),
        actions=stacked([x.action for x in steps]),
        log_prob=stacked([x.log_prob for x in steps]),
        decided=torch.arange(n_trials) >= n_first,
        regret=torch.stack(regrets, 1),
        gains=stacked([x.gains for x in steps]),
        group_size=group,
    )


def agent_player(decision: Decision, generator: torch.Generator) -> Tensor:
    """The policy, sampled at a low temperature: near enough to its greedy use to improve that."""
    return policy.act(decision.logits * PLAY_SHARPNESS, generator)


def greedy_player(decision: Decision, generator: torch.Generator) -> Tensor:
    """The policy, greedy, as in use."""
    return policy.act(decision.logits)


def _choose(
    decision: Decision, players: Sequence[Player], group: int, generator: torch.Generator
) -> Tensor:
    action = torch.zeros(len(decision.logits), dtype=torch.long)
    for member, player in enumerate(players):
        rows = torch.arange(member, len(action), group)
        action[rows] = player(_rows(decision, rows), generator)
    return action


def _rows(decision: Decision, rows: Tensor) -> Decision:
    pool, inputs, reading = decision.pool, decision.inputs, decision.reading
    return Decision(
        Pool(pool.units[rows], pool.active[rows], pool.kind[rows]),
        decision.logits[rows],
        type(inputs)(*(x[rows] for x in inputs)),
        type(reading)(*(getattr(reading, k)[rows] for k in reading.__dataclass_fields__)),
        type(decision.scale)(*(x[rows] for x in decision.scale)),
    )


def _impose(decision: Decision, units: Tensor, active: Tensor) -> Decision:
    """Put given configurations ``(B, 1, d)`` in place of the first candidate.

    As with a trial that somebody else made, nothing was expected of it.
    """
    pool, reading = decision.pool, decision.reading
    unknown = torch.full_like(reading.mean[:, :1], torch.nan)
    imposed = Pool(
        torch.cat([units, pool.units[:, 1:]], 1),
        torch.cat([active, pool.active[:, 1:]], 1),
        torch.cat([torch.full_like(pool.kind[:, :1], -1), pool.kind[:, 1:]], 1),
    )
    mean = torch.cat([unknown, reading.mean[:, 1:]], 1)
    std = torch.cat([unknown, reading.std[:, 1:]], 1)
    return decision._replace(pool=imposed, reading=replace(reading, mean=mean, std=std))


class _Step(NamedTuple):
    """One decision: see ``Trajectory``."""

    seen: Seen
    action: Tensor
    log_prob: Tensor
    gains: Tensor


def _step(playing: Playing, decision: Decision, action: Tensor) -> _Step:
    tasks, pool, logits = playing.tasks, decision.pool, decision.logits
    batch, m = logits.shape
    shape = (len(tasks), playing.group * m, -1)
    regret = -tasks.evaluate(pool.units.view(shape)).view(batch, m)
    fails = tasks.fails(pool.units.view(shape)).view(batch, m)
    gain = (utility(regret) - utility(playing.regret)[:, None]).clamp_min(0)
    return _Step(
        seen(decision),
        action,
        (logits * PLAY_SHARPNESS).log_softmax(-1).gather(1, action[:, None])[:, 0],
        torch.where(fails, 0.0, gain).float(),
    )
