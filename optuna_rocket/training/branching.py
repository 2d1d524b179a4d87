"""Branching: what each of several candidates earns over the next trials, from one history.

Rollouts of a group differ from their first trial on, so that the return of one choice drowns in
what else was different. Here several candidates are tried from the same history and each is played
on by the policy, under common observation noise: what differs is the candidate alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from dataclasses import replace
from typing import NamedTuple
from typing import TypeVar

import torch
from torch import Tensor

from optuna_rocket.agent import policy
from optuna_rocket.agent.memory import MemoryWeights
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Belief
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.agent.returns import discounted_improvements
from optuna_rocket.agent.update import Decisions
from optuna_rocket.features import tokens
from optuna_rocket.history import History
from optuna_rocket.history import empty_history
from optuna_rocket.space import Geometry
from optuna_rocket.training.rollout import incumbent_regret
from optuna_rocket.training.rollout import look
from optuna_rocket.training.rollout import observe_trial
from optuna_rocket.training.rollout import utility
from optuna_rocket.training.tasks import Tasks
from optuna_rocket.training.tasks import repeat_geometry


class Branches(NamedTuple):
    """Labelled decisions of ``B`` tasks, ``L`` of each.

    Attributes:
        decisions: What the network saw, ``(B, L, ...)``.
        chosen: ``(B, L, K)`` candidates that were tried.
        returns: ``(B, L, K)`` discounted gain of utility over the trials that followed.
    """

    decisions: Decisions
    chosen: Tensor
    returns: Tensor

    def copied(self) -> Branches:
        """The same in memory of its own: what comes from a process holds a file descriptor."""
        decisions = Decisions(*(x.clone() for x in self.decisions))
        return Branches(decisions, self.chosen.clone(), self.returns.clone())


class _Played(NamedTuple):
    """Studies so far: the history, the true values ``(rows, n)`` and the belief."""

    history: History
    values: Tensor
    belief: Belief


# From studies to the same with their belief brought up to date, and the decision.
_Look = Callable[[_Played, Geometry], tuple[_Played, Decision]]


@torch.no_grad()
def branch(
    tasks: Tasks,
    network: RecurrentScorer,
    generator: torch.Generator,
    *,
    n_trials: int,
    first: int,
    every: int,
    n_branches: int,
    n_repeats: int,
    discount: float,
    n_candidates: int,
    horizon_known: bool,
    forget: bool = False,
) -> Branches:
    """Play every task greedily and branch from it again and again.

    Args:
        tasks: B tasks.
        network: Plays.
        generator: All randomness.
        n_trials: Length of a study.
        first: Trial of the first branching.
        every: Trials between two branchings, and that a branch is played on.
        n_branches: K, candidates tried: the policy's favourite and others drawn from it.
        n_repeats: Continuations of each candidate, with noise of their own; common to all.
        discount: Per trial, of later gains.
        n_candidates: Size of the first pool.
        horizon_known: Whether the policy is told ``n_trials``.
        forget: Whether to empty the recurrent state before every decision (ablation).
    """
    geometry, batch = tasks.geometry, len(tasks)

    def see(played: _Played, geometry: Geometry) -> tuple[_Played, Decision]:
        belief, decision = look(
            geometry,
            played.history,
            played.belief,
            network,
            generator,
            delay=tasks.delay,
            horizon=n_trials if horizon_known else None,
            n_candidates=n_candidates,
            forget=forget,
        )
        return played._replace(belief=belief), decision

    played = _Played(
        empty_history(batch, geometry.present.shape[1]),
        torch.zeros(batch, 0, dtype=torch.float64),
        policy.initial_belief(geometry),
    )
    steps: list[dict[str, Tensor]] = []
    n_read: list[int] = []
    for t in range(n_trials):
        played, decision = see(played, geometry)
        if t >= first and (t - first) % every == 0 and t + every <= n_trials:
            chosen = _contenders(decision, n_branches, generator)
            noise = torch.randn(
                batch, 1, n_repeats, every, 2, generator=generator, dtype=torch.float64
            )
            gains = _returns(tasks, played, decision, chosen, see, noise, discount)
            steps.append(_label(decision, chosen, gains))
            n_read.append(0 if forget else played.belief.n_read)
        noise = torch.randn(batch, 2, generator=generator, dtype=torch.float64)
        action = policy.act(decision.logits)
        played = _observe(tasks, 1, played, decision, action, noise)
    stacked = {name: torch.stack([step[name] for step in steps], 1) for name in steps[0]}
    decisions = Decisions(
        stacked["rule"],
        stacked["candidates"],
        stacked["study"],
        stacked["allowed"],
        tokens(played.history, geometry),
        torch.tensor(n_read),
    )
    return Branches(decisions, stacked["chosen"], stacked["returns"])


def _contenders(decision: Decision, count: int, generator: torch.Generator) -> Tensor:
    """``(B, count)`` candidates: the favourite, the others drawn without replacement."""
    uniform = torch.rand(decision.logits.shape, generator=generator, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-12, 1 - 1e-12)))
    noisy = decision.logits.double() + gumbel
    favourite = policy.act(decision.logits)[:, None]
    noisy = noisy.scatter(1, favourite, torch.inf)
    return noisy.topk(count, -1).indices


def _returns(
    tasks: Tasks,
    played: _Played,
    decision: Decision,
    chosen: Tensor,
    see: _Look,
    noise: Tensor,
    discount: float,
) -> Tensor:
    """``(B, K)``: play on from every contender and average over the repeats.

    ``noise`` ``(B, 1, repeats, trials, 2)`` is common to the contenders.
    """
    batch, k = chosen.shape
    n_repeats, n_after = noise.shape[2:4]
    group = k * n_repeats
    geometry = repeat_geometry(tasks.geometry, group)
    noise = noise.expand(-1, k, -1, -1, -1).reshape(batch * group, n_after, 2)
    start = torch.full((batch,), 1.5, dtype=torch.float64)
    if played.history.n_trials:
        start = incumbent_regret(played.history, played.values)
    start = utility(start.repeat_interleave(group, 0))
    played, decision = _repeat(played, group), _repeat_decision(decision, group)
    action = chosen.repeat_interleave(n_repeats, 1).flatten()
    curve = []
    for h in range(n_after):
        if h > 0:
            played, decision = see(played, geometry)
            action = policy.act(decision.logits)
        played = _observe(tasks, group, played, decision, action, noise[:, h])
        curve.append(utility(incumbent_regret(played.history, played.values)))
    returns = discounted_improvements(torch.stack(curve, 1), start, discount)[:, 0]
    return returns.view(batch, k, n_repeats).mean(-1)


def _observe(
    tasks: Tasks, group: int, played: _Played, decision: Decision, action: Tensor, noise: Tensor
) -> _Played:
    history, value = observe_trial(tasks, group, played.history, decision, action, noise)
    return played._replace(history=history, values=torch.cat([played.values, value[:, None]], 1))


_Record = TypeVar("_Record", History, MemoryWeights, Pool, Reading)


def _rows(record: _Record, times: int) -> _Record:
    """A dataclass of tensors, every study ``times`` times in a row."""
    parts = {x.name: getattr(record, x.name) for x in fields(record)}
    return type(record)(**{k: x.repeat_interleave(times, 0) for k, x in parts.items()})


def _repeat(played: _Played, times: int) -> _Played:
    belief = replace(
        played.belief,
        weights=_rows(played.belief.weights, times),
        recurrent_state=played.belief.recurrent_state.repeat_interleave(times, 0),
    )
    values = played.values.repeat_interleave(times, 0)
    return _Played(_rows(played.history, times), values, belief)


def _repeat_decision(decision: Decision, times: int) -> Decision:
    """As far as an observation needs it."""
    return decision._replace(
        pool=_rows(decision.pool, times), reading=_rows(decision.reading, times)
    )


def _label(decision: Decision, chosen: Tensor, gains: Tensor) -> dict[str, Tensor]:
    return {
        "rule": decision.inputs.rule,
        "candidates": decision.inputs.candidates,
        "study": decision.inputs.study,
        "allowed": torch.isfinite(decision.logits),
        "chosen": chosen,
        "returns": gains.float(),
    }
