"""Foresight: what every candidate of a decision leads to, for all of them at once.

Returns of whole rollouts drown the credit of one choice in what else was different, and playing on
from each candidate is dear. Here every contender is observed with its true result and the
improvement rule plays on *within the pool*, whose true results the task tells. Conditioning on one
more trial is a rank-one update of the memory's joint prediction (Rasmussen & Williams 2006,
eq. 2.23), so that dozens of continuations of several trials cost about as much as the decision
itself. All continuations of a decision meet the same noise.

Notation, besides that of ``memory``: ``K`` contenders, ``m`` candidates, ``h`` trials ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent import improvement
from optuna_rocket.agent import memory
from optuna_rocket.agent import policy
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.update import Decisions
from optuna_rocket.agent.update import recorded
from optuna_rocket.agent.update import seen
from optuna_rocket.history import Outcome
from optuna_rocket.scores import continue_transform
from optuna_rocket.training.playing import Playing
from optuna_rocket.training.playing import as_seen
from optuna_rocket.training.playing import begin
from optuna_rocket.training.rollout import utility
from optuna_rocket.training.tasks import Playable


# Labels say little where the agent rarely comes: few candidates off the beaten track are enough.
_RANDOM_SHARE = 0.25


class Labels(NamedTuple):
    """Labelled decisions of ``B`` tasks, ``L`` of each.

    Attributes:
        decisions: What the network saw, ``(B, L, ...)``.
        chosen: ``(B, L, K)`` the contenders.
        returns: ``(B, L, K)`` mean utility over the trials that follow each.
    """

    decisions: Decisions
    chosen: Tensor
    returns: Tensor

    def copied(self) -> Labels:
        """The same in memory of its own: what comes from a process holds a file descriptor."""
        decisions = self.decisions.each(torch.clone)
        return Labels(decisions, self.chosen.clone(), self.returns.clone())


@dataclass(frozen=True)
class _Outlook:
    """A decision's pool with what the memory expects of it and what the task knows.

    Attributes:
        mean: ``(B, m)`` expected transformed score.
        covariance: ``(B, m, m)`` of the function.
        noise: ``(B, 1)`` variance of an observation.
        log_success: ``(B, m)`` log of the chance not to fail.
        allowed: ``(B, m)`` bool, candidates that repeat nothing.
        fails: ``(B, m)`` bool, truly.
        values: ``(B, m)`` true values.
        observed: ``(B, h, m)`` scores that trials would show.
        scores: ``(B, h, m)`` the same, transformed.
        incumbent: ``(B, 1)`` greatest expected transformed score so far.
        best_score: ``(B, 1)`` greatest score so far, minus infinity where there is none.
        best_value: ``(B, 1)`` true value of the trial that has it.
    """

    mean: Tensor
    covariance: Tensor
    noise: Tensor
    log_success: Tensor
    allowed: Tensor
    fails: Tensor
    values: Tensor
    observed: Tensor
    scores: Tensor
    incumbent: Tensor
    best_score: Tensor
    best_value: Tensor


@torch.no_grad()
def foresee(
    tasks: Playable,
    network: RecurrentScorer,
    generator: torch.Generator,
    *,
    n_trials: int,
    n_ahead: int,
    n_contenders: int,
    every: int,
    n_candidates: int,
    horizon_known: bool,
    forget: bool = False,
) -> Labels:
    """Play every task greedily and label decisions on the way.

    Args:
        tasks: B tasks.
        network: Plays.
        generator: All randomness.
        n_trials: Length of a study.
        n_ahead: h, trials that a label looks ahead.
        n_contenders: K, candidates that are labelled.
        every: Trials from one labelled decision to the next, once the start is over.
        n_candidates: Size of the first pool.
        horizon_known: Whether the policy is told ``n_trials``.
        forget: Whether to empty the recurrent state before every decision (ablation).
    """
    playing = begin(tasks)
    steps, contests, n_read = [], [], []
    for t in range(n_trials):
        playing, decision = playing.look(
            network,
            generator,
            delay=tasks.delay,
            horizon=n_trials if horizon_known else None,
            n_candidates=n_candidates,
            forget=forget,
        )
        if t >= improvement.RULE_FROM and t % every == 0:
            chosen = _contenders(decision, n_contenders, generator)
            outlook = _look_out(playing, decision, n_ahead, generator)
            steps.append(seen(decision))
            contests.append((chosen, _continue(outlook, chosen).float()))
            n_read.append(0 if forget else playing.belief.n_read)
        noise = torch.randn(len(tasks), 2, generator=generator, dtype=torch.float64)
        playing = playing.observed(decision, policy.act(decision.logits), noise)
    decisions = recorded(steps, playing.history, playing.geometry, n_read)
    return Labels(decisions, *(torch.stack(x, 1) for x in zip(*contests, strict=True)))


def _contenders(decision: Decision, count: int, generator: torch.Generator) -> Tensor:
    """``(B, count)``: the policy's and the rule's favourites, and some at random.

    All of a smaller pool. Where too few are allowed, the others follow them.
    """
    count = min(count, decision.logits.shape[-1])
    allowed = torch.isfinite(decision.logits)
    uniform = torch.rand(allowed.shape, generator=generator, dtype=torch.float64)
    n_random = round(_RANDOM_SHARE * count)
    n_rule = (count - n_random) // 2
    order = uniform.masked_fill(~allowed, -1)
    favourites = ((decision.inputs.rule, n_rule), (decision.logits, count - n_random - n_rule))
    for scores, k in favourites:
        untaken = scores.double().masked_fill(~allowed | (order > 1), -torch.inf)
        order = order.scatter(1, untaken.topk(k, -1).indices, 2.0)
    return order.masked_fill(~allowed, -1).topk(count, -1).indices


def _look_out(
    playing: Playing, decision: Decision, n_ahead: int, generator: torch.Generator
) -> _Outlook:
    tasks, history, belief = playing.tasks, playing.history, playing.belief
    pool, reading = decision.pool, decision.reading
    seen = as_seen(history, tasks.delay)
    context = memory.context(seen, tasks.geometry)
    remembered = memory.condition(context, tasks.geometry, belief.weights)
    truth = tasks.evaluate(pool.units)
    noise = torch.randn(len(tasks), n_ahead, 1, generator=generator, dtype=torch.float64)
    observed = truth[:, None] + noise * tasks.noise[:, None, None]
    complete = history.outcomes == Outcome.COMPLETE
    return _Outlook(
        mean=reading.mean,
        covariance=memory.covariance(remembered, pool.units, pool.active),
        noise=belief.weights.noise.exp()[:, None],
        log_success=torch.log1p(-reading.failure),
        allowed=torch.isfinite(decision.logits),
        fails=tasks.fails(pool.units),
        values=truth,
        observed=observed,
        scores=continue_transform(seen.scores, seen.scored, observed.flatten(1)).view_as(observed),
        incumbent=remembered.incumbent[:, None],
        best_score=history.scores.masked_fill(~complete, -torch.inf).amax(-1, keepdim=True),
        best_value=-playing.regret[:, None],
    )


def _continue(outlook: _Outlook, chosen: Tensor) -> Tensor:
    """``(B, K)`` mean utility over the trials, the first of which is each contender.

    Every contender's continuation is a row of its own: its predictions, its incumbent.
    """
    batch, k = chosen.shape
    m = outlook.mean.shape[-1]
    n_ahead = outlook.observed.shape[1]
    mean = outlook.mean[:, None].expand(batch, k, m)
    variance = outlook.covariance.diagonal(dim1=-2, dim2=-1)[:, None].expand(batch, k, m)
    tried = ~outlook.allowed[:, None].expand(batch, k, m)
    incumbent = outlook.incumbent.expand(batch, k)
    best_score = outlook.best_score.expand(batch, k)
    best_value = outlook.best_value.expand(batch, k)
    directions: list[Tensor] = []  # (B, K, m) of the observations made so far
    action, total = chosen, torch.zeros(batch, k, dtype=torch.float64)
    for h in range(n_ahead):
        if h > 0:
            action = _next(outlook, mean, variance, tried, incumbent)
        column = _rows(outlook.covariance, action)
        for g in directions:
            column = column - g * _at(g, action)[..., None]
        works = ~outlook.fails.gather(1, action)
        spread = (_at(column, action).clamp_min(1e-9) + outlook.noise).sqrt()
        g = torch.where(works[..., None], column / spread[..., None], 0.0)
        surprise = outlook.scores[:, h].gather(1, action) - _at(mean, action)
        mean = mean + g * (surprise / spread)[..., None]
        variance = variance - g.square()
        directions.append(g)
        tried = tried.scatter(-1, action[..., None], True)
        incumbent = torch.where(works, incumbent.maximum(_at(mean, action)), incumbent)
        score = outlook.observed[:, h].gather(1, action)
        better = works & (score > best_score)
        best_score = torch.where(better, score, best_score)
        best_value = torch.where(better, outlook.values.gather(1, action), best_value)
        total = total + utility(-best_value)
    return total / n_ahead


def _next(
    outlook: _Outlook, mean: Tensor, variance: Tensor, tried: Tensor, incumbent: Tensor
) -> Tensor:
    """The improvement rule's choice ``(B, K)`` in every continuation."""
    std = variance.clamp_min(1e-10).sqrt() * improvement.SPREAD
    score = improvement.log_improvement(mean - incumbent[..., None], std)
    score = score + outlook.log_success[:, None]
    return score.masked_fill(tried & ~tried.all(-1, keepdim=True), -torch.inf).argmax(-1)


def _at(values: Tensor, action: Tensor) -> Tensor:
    """``(B, K)`` of ``values`` ``(B, K, m)`` at the action ``(B, K)`` of each row."""
    return values.gather(-1, action[..., None])[..., 0]


def _rows(covariance: Tensor, index: Tensor) -> Tensor:
    return covariance.gather(1, index[..., None].expand(*index.shape, covariance.shape[-1]))
