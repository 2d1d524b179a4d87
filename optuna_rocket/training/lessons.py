"""What an iteration of self-play teaches: the updates of each phase."""

from __future__ import annotations

import random
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent import update
from optuna_rocket.agent.returns import discounted_improvements
from optuna_rocket.agent.returns import group_advantages
from optuna_rocket.training.foresight import Labels
from optuna_rocket.training.games import Game
from optuna_rocket.training.playing import MAX_REGRET
from optuna_rocket.training.progress import Progress
from optuna_rocket.training.rollout import PLAY_SHARPNESS
from optuna_rocket.training.rollout import Trajectory
from optuna_rocket.training.rollout import utility
from optuna_rocket.training.settings import Settings


def learn_next_trial(
    progress: Progress, settings: Settings, phase: str, games: list[Game], rng: random.Random
) -> dict[str, float]:
    """Clone or exact: the targets do not depend on who played, so older rollouts serve too."""
    progress.recent.extend(game.played for game in games)
    log: dict[str, float] = {}
    for update_step in range(settings.updates):
        chosen = games[0].played if update_step == 0 else rng.choice(list(progress.recent))
        decisions, gains = _decisions(chosen, settings), chosen.gains[:, chosen.decided]
        log_pi = update.replay(progress.network, decisions)
        if phase == "clone":
            loss = update.cloning_loss(log_pi, gains.to(log_pi.device), temperature=0.1)
        else:
            loss = update.exact_loss(log_pi, gains.to(log_pi.device))
        _learn(progress, settings, loss)
        if update_step == 0:
            log = update.metrics(loss, log_pi)._asdict()
    return log


def learn_group(progress: Progress, settings: Settings, games: list[Game]) -> dict[str, float]:
    """Recurrent group policy optimisation: clipped, anchored to the reference policy."""
    batches = [_group_batch(progress, settings, game) for game in games]
    log: dict[str, float] = {}
    for _ in range(settings.update_epochs):
        for batch in batches:
            log_pi = update.replay(progress.network, batch.decisions, PLAY_SHARPNESS)
            log_prob = log_pi.gather(-1, batch.actions)[..., 0]
            kl = update.divergence(log_pi, batch.log_reference)
            loss = update.clipped_loss(log_prob, batch.behaviour, batch.advantage, settings.clip)
            loss = loss + settings.kl * kl
            loss = loss + settings.exact_weight * update.exact_loss(log_pi, batch.gains)
            _learn(progress, settings, loss)
            clipped = ((log_prob - batch.behaviour).exp() - 1).abs() > settings.clip
            log = update.metrics(loss, log_pi, kl, clipped)._asdict()
    return log


def learn_labels(progress: Progress, settings: Settings, games: list[Labels]) -> dict[str, float]:
    """Policy gradient over the contenders of each decision, anchored to the reference policy."""
    progress.labels.extend(game.copied() for game in games)
    batches = []
    for game in progress.labels:
        decisions = game.decisions.each(lambda x: x.to(settings.device))
        with torch.no_grad():
            log_reference = update.replay(progress.reference, decisions)
        contest = (game.chosen.to(settings.device), game.returns.to(settings.device))
        batches.append((decisions, log_reference, contest))
    log: dict[str, float] = {}
    for _ in range(settings.update_epochs):
        for decisions, log_reference, contest in batches:
            log_pi = update.replay(progress.network, decisions)
            kl = update.divergence(log_pi, log_reference)
            loss = update.contest_loss(log_pi, *contest) + settings.kl * kl
            _learn(progress, settings, loss)
            log = update.metrics(loss, log_pi, kl)._asdict()
    return log


def _learn(progress: Progress, settings: Settings, loss: Tensor) -> None:
    """One update of the network and of the average of its weights."""
    update.apply_gradient(loss, progress.network, progress.optimizer)
    share = 1 - settings.averaging
    pairs = zip(progress.average.parameters(), progress.network.parameters(), strict=True)
    with torch.no_grad():
        for mean, weight in pairs:
            mean.lerp_(weight, share)


class GroupBatch(NamedTuple):
    """One game, ready for the clipped loss; shapes as in ``rollout.Trajectory``."""

    decisions: update.Decisions
    actions: Tensor
    behaviour: Tensor
    advantage: Tensor
    gains: Tensor
    log_reference: Tensor


def _group_batch(progress: Progress, settings: Settings, game: Game) -> GroupBatch:
    played, league = game.played, game.league
    assert league is not None
    start = utility(torch.full(played.regret.shape[:1], MAX_REGRET, dtype=torch.float64))
    returns = discounted_improvements(utility(played.regret), start, settings.discount)
    flat = league.flatten(0, 1)
    league_returns = discounted_improvements(flat, start[:1].expand(len(flat)), settings.discount)
    advantage = group_advantages(returns, played.group_size, league_returns.view_as(league))
    advantage = advantage[:, played.decided] / advantage.std().clamp_min(1e-3)
    decisions = _decisions(played, settings)
    with torch.no_grad():
        log_reference = update.replay(progress.reference, decisions, PLAY_SHARPNESS)
    return GroupBatch(
        decisions=decisions,
        actions=played.actions[:, played.decided, None].to(settings.device),
        behaviour=played.log_prob[:, played.decided].to(settings.device),
        advantage=advantage.float().to(settings.device),
        gains=played.gains[:, played.decided].to(settings.device),
        log_reference=log_reference,
    )


def _decisions(played: Trajectory, settings: Settings) -> update.Decisions:
    """The recorded decisions of the policy (not the shared first trials), for replay."""
    kept = played.decisions.at(played.decided).each(lambda x: x.to(settings.device))
    return kept._replace(n_read=torch.zeros_like(kept.n_read)) if settings.forget else kept
