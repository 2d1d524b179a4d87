"""Updates of the policy from recorded decisions: cloning, exact gradient, group-relative.

All three see the same replayed logits. ``log_pi`` is ``(B, T, m)`` with minus infinity for
candidates that were not allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent.network import HIDDEN
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Decision
from optuna_rocket.features import N_TOKEN_FEATURES
from optuna_rocket.features import tokens
from optuna_rocket.history import History
from optuna_rocket.space import Geometry


# A gain of this much utility (a regret lower by about a ninth) is half of what can be won.
_SMALL_GAIN = 0.05


class Decisions(NamedTuple):
    """What the network saw in ``T`` decisions of each of ``B`` studies.

    Attributes:
        rule: ``(B, T, m)`` inputs of every decision, as are the next two: ``policy.Inputs``.
        candidates: ``(B, T, m, f)``.
        study: ``(B, T, s)``.
        allowed: ``(B, T, m)`` bool, candidates that exist and repeat nothing.
        tokens: ``(B, n, k)`` of all trials.
        n_read: ``(T,)`` how many of them had been read when the decision was made.
    """

    rule: Tensor
    candidates: Tensor
    study: Tensor
    allowed: Tensor
    tokens: Tensor
    n_read: Tensor

    def at(self, which: Tensor) -> Decisions:
        """Some of the decisions, ``(T,)`` bool."""
        rule, candidates, study, allowed = (x[:, which] for x in self[:4])
        return Decisions(rule, candidates, study, allowed, self.tokens, self.n_read[which])

    def each(self, changed: Callable[[Tensor], Tensor]) -> Decisions:
        """All tensors changed alike: copied, or on another device."""
        return Decisions(*(changed(x) for x in self))


class Seen(NamedTuple):
    """What the network saw in one decision of each of ``B`` studies: see ``Decisions``."""

    rule: Tensor
    candidates: Tensor
    study: Tensor
    allowed: Tensor


def seen(decision: Decision) -> Seen:
    """What is kept of a decision."""
    return Seen(*decision.inputs, torch.isfinite(decision.logits))


def recorded(
    steps: Sequence[Seen], history: History, geometry: Geometry, n_read: Sequence[int]
) -> Decisions:
    """Decisions one behind the other, with the tokens of all trials of their studies."""
    read = tokens(history, geometry) if steps else torch.zeros(0, 0, N_TOKEN_FEATURES)
    columns = zip(*steps, strict=True) if steps else [()] * len(Seen._fields)
    rule, candidates, study, allowed = map(stacked, columns)
    return Decisions(rule, candidates, study, allowed, read, torch.tensor(n_read))


def stacked(steps: Sequence[Tensor]) -> Tensor:
    """Tensors ``(B, ...)`` of ``T`` decisions as ``(B, T, ...)``; smaller pools are padded."""
    if not steps:
        return torch.zeros(0)
    if steps[0].dim() > 1:
        width = max(x.shape[1] for x in steps)
        steps = [_widened(x, width) for x in steps]
    return torch.stack(list(steps), 1)


def _widened(values: Tensor, width: int) -> Tensor:
    """Values of candidates ``(B, m, ...)`` with zeros, False among bools, for missing ones."""
    missing = width - values.shape[1]
    return torch.cat([values, values.new_zeros(values.shape[0], missing, *values.shape[2:])], 1)


class UpdateMetrics(NamedTuple):
    """Means over decisions, for the log.

    Attributes:
        loss: What was minimised.
        entropy: Nats; falls slowly. Below 0.5 early in training means collapse.
        kl: KL divergence to the reference policy, 0 where there is none; healthy below 0.1.
        clipped: Share of importance ratios outside of the clip range; healthy below 0.2.
    """

    loss: float
    entropy: float
    kl: float
    clipped: float


def replay(network: RecurrentScorer, decisions: Decisions, sharpness: float = 1.0) -> Tensor:
    """Log probabilities ``(B, T, m)`` of all candidates, with gradients through the recurrence.

    ``sharpness`` is the inverse temperature at which the policy is sampled.
    """
    batch, n_steps, m = decisions.rule.shape
    start = decisions.tokens.new_zeros(1, batch, HIDDEN)
    hidden, _ = network.recurrence(decisions.tokens, start)
    states = torch.cat([start.transpose(0, 1), hidden], 1)[:, decisions.n_read]
    logits = network(
        decisions.rule.reshape(-1, m),
        decisions.candidates.reshape(batch * n_steps, m, -1),
        decisions.study.reshape(batch * n_steps, -1),
        states.reshape(batch * n_steps, -1),
    ).view(batch, n_steps, m)
    logits = (logits * sharpness).masked_fill(~decisions.allowed, -torch.inf)
    return torch.as_tensor(logits.log_softmax(-1))


def relative_gains(log_pi: Tensor, gains: Tensor) -> Tensor:
    """Gains ``(B, T, m)`` relative to the best of their decision, in [0, 1).

    Late in a study, where gains are small, decisions then matter as much as early on.
    """
    best = (gains * torch.isfinite(log_pi)).amax(-1, keepdim=True)
    return gains / (best + _SMALL_GAIN)


def cloning_loss(log_pi: Tensor, gains: Tensor, temperature: float) -> Tensor:
    """Cross-entropy to a clairvoyant that knows the gain ``(B, T, m)`` of every candidate.

    Decisions in which nothing gains anything teach nothing and are left out.
    """
    allowed = torch.isfinite(log_pi)
    relative = relative_gains(log_pi, gains)
    target = (relative / temperature).masked_fill(~allowed, -torch.inf).softmax(-1)
    matters = (relative * allowed).amax(-1)
    cross = -(target * log_pi.masked_fill(~allowed, 0.0)).sum(-1)
    return (cross * matters).sum() / matters.sum().clamp_min(1)


def exact_loss(log_pi: Tensor, gains: Tensor) -> Tensor:
    """Minus the expected relative gain: the policy gradient over all actions, without noise."""
    return -(log_pi.exp() * relative_gains(log_pi, gains)).sum(-1).mean()


def contest_loss(log_pi: Tensor, chosen: Tensor, returns: Tensor) -> Tensor:
    """Minus the expected advantage over the contenders of each decision, without sampling noise.

    Args:
        log_pi: ``(B, T, m)``.
        chosen: ``(B, T, K)`` the contenders.
        returns: ``(B, T, K)`` what each led to; relative to their mean it is the advantage.
    """
    among = log_pi.gather(-1, chosen)
    allowed = torch.isfinite(among)
    mean = (returns * allowed).sum(-1, keepdim=True) / allowed.sum(-1, keepdim=True).clamp_min(1)
    advantage = (returns - mean) * allowed
    scale = advantage.square().mean().sqrt().clamp_min(1e-3)
    among = among.log_softmax(-1)
    return -(among.exp() * advantage / scale).sum(-1).mean()


def clipped_loss(
    log_prob: Tensor, log_prob_behaviour: Tensor, advantage: Tensor, clip: float
) -> Tensor:
    """Clipped surrogate (Schulman et al. 2017, eq. 7), to be minimised."""
    ratio = torch.exp(log_prob - log_prob_behaviour)
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    return -surrogate.mean()


def divergence(log_pi: Tensor, log_reference: Tensor) -> Tensor:
    """Mean KL divergence of the policy from the reference, exact over candidates."""
    allowed = torch.isfinite(log_pi)
    gap = torch.where(allowed, log_pi - log_reference, 0.0)
    return (torch.where(allowed, log_pi.exp(), 0.0) * gap).sum(-1).mean()


def entropy(log_pi: Tensor) -> Tensor:
    """Mean entropy in nats."""
    allowed = torch.isfinite(log_pi)
    return -(torch.where(allowed, log_pi.exp() * log_pi, 0.0)).nan_to_num(0.0).sum(-1).mean()


def metrics(
    loss: Tensor, log_pi: Tensor, kl: Tensor | None = None, clipped: Tensor | None = None
) -> UpdateMetrics:
    """Plain numbers for the log; ``clipped`` is a bool per decision."""
    return UpdateMetrics(
        loss.detach().item(),
        entropy(log_pi).detach().item(),
        0.0 if kl is None else kl.detach().item(),
        0.0 if clipped is None else clipped.float().mean().item(),
    )


def apply_gradient(
    loss: Tensor, network: RecurrentScorer, optimizer: torch.optim.Optimizer, max_norm: float = 1.0
) -> None:
    """One optimiser step with a bounded gradient."""
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    optimizer.step()
