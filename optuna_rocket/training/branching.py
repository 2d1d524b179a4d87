"""Branching: what each of several candidates earns over the next trials, from one history.

Rollouts of a group differ from their first trial on, so that the return of one choice drowns in
what else was different. Here several candidates are tried from the same history and each is played
on by the policy, under common observation noise: what differs is the candidate alone.
"""

from __future__ import annotations

from dataclasses import fields
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent import policy
from optuna_rocket.agent.memory import MemoryWeights
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Belief
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.returns import discounted_improvements
from optuna_rocket.agent.update import Decisions
from optuna_rocket.features import tokens
from optuna_rocket.history import History
from optuna_rocket.history import empty_history
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


class _Played(NamedTuple):
    """Studies so far: the history, the true values ``(rows, n)`` and the belief."""

    history: History
    values: Tensor
    belief: Belief


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
    """
    geometry, batch = tasks.geometry, len(tasks)
    horizon = n_trials if horizon_known else None
    played = _Played(
        empty_history(batch, geometry.present.shape[1]),
        torch.zeros(batch, 0, dtype=torch.float64),
        policy.initial_belief(geometry),
    )
    steps: list[dict[str, Tensor]] = []
    n_read: list[int] = []
    for t in range(n_trials):
        belief, decision = look(
            geometry,
            played.history,
            played.belief,
            network,
            generator,
            delay=tasks.delay if t > 0 else 0,
            horizon=horizon,
            n_candidates=n_candidates,
        )
        played = played._replace(belief=belief)
        if t >= first and (t - first) % every == 0 and t + every <= n_trials:
            chosen = _contenders(decision, n_branches, generator)
            n_after = every
            gains = _returns(
                tasks,
                played,
                decision,
                chosen,
                network,
                generator,
                n_after,
                n_repeats,
                discount,
                horizon,
                n_candidates,
            )
            steps.append(_label(decision, chosen, gains))
            n_read.append(belief.n_read)
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
    network: RecurrentScorer,
    generator: torch.Generator,
    n_after: int,
    n_repeats: int,
    discount: float,
    horizon: int | None,
    n_candidates: int,
) -> Tensor:
    """``(B, K)``: play on from every contender and average over the repeats."""
    batch, k = chosen.shape
    group = k * n_repeats
    geometry = repeat_geometry(tasks.geometry, group)
    before = incumbent_regret(played.history, played.values) if played.values.shape[1] else None
    noise = torch.randn(batch, 1, n_repeats, n_after, 2, generator=generator, dtype=torch.float64)
    noise = noise.expand(-1, k, -1, -1, -1).reshape(batch * group, n_after, 2)
    start = torch.full((batch,), 1.5, dtype=torch.float64) if before is None else before
    start = utility(start.repeat_interleave(group, 0))
    played, decision = _repeat(played, group), _repeat_decision(decision, group)
    action = chosen.repeat_interleave(n_repeats, 1).flatten()
    curve = []
    for h in range(n_after):
        if h > 0:
            belief, decision = look(
                geometry,
                played.history,
                played.belief,
                network,
                generator,
                delay=tasks.delay,
                horizon=horizon,
                n_candidates=n_candidates,
            )
            played = played._replace(belief=belief)
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


def _repeat(played: _Played, times: int) -> _Played:
    history, belief = played.history, played.belief
    parts = {x.name: getattr(history, x.name).repeat_interleave(times, 0) for x in fields(history)}
    weights = [getattr(belief.weights, x.name) for x in fields(belief.weights)]
    belief = replace(
        belief,
        weights=MemoryWeights(*(x.repeat_interleave(times, 0) for x in weights)),
        recurrent_state=belief.recurrent_state.repeat_interleave(times, 0),
    )
    return _Played(History(**parts), played.values.repeat_interleave(times, 0), belief)


def _repeat_decision(decision: Decision, times: int) -> Decision:
    pool, reading = decision.pool, decision.reading
    pool = type(pool)(*(getattr(pool, x.name).repeat_interleave(times, 0) for x in fields(pool)))
    reading = type(reading)(
        *(getattr(reading, x.name).repeat_interleave(times, 0) for x in fields(reading))
    )
    return decision._replace(pool=pool, reading=reading)


def _label(decision: Decision, chosen: Tensor, gains: Tensor) -> dict[str, Tensor]:
    return {
        "rule": decision.inputs.rule,
        "candidates": decision.inputs.candidates,
        "study": decision.inputs.study,
        "allowed": torch.isfinite(decision.logits),
        "chosen": chosen,
        "returns": gains.float(),
    }
