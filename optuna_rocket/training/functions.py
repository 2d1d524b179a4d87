"""Random functions of the unit box, in batches: the raw material of synthetic tasks.

Every family maps inputs ``(B, m, d)`` on [0, 1] (absent and inactive columns included, with zero
importance or at their neutral value) to ``(B, m)``; greater is better. ``importance`` ``(B, d)``
says how much each column matters; inert columns have 0.
"""

from __future__ import annotations

from collections.abc import Callable
import math

import torch
from torch import Tensor


Function = Callable[[Tensor], Tensor]


def fourier(importance: Tensor, generator: torch.Generator) -> Function:
    """Draws from a Gaussian process with a Matern-5/2 kernel, by random Fourier features."""
    batch, d = importance.shape
    n_features = 96
    gamma = torch.randn(batch, 5, n_features, generator=generator).square().sum(1) / 5
    smoothness = 2.5 * torch.exp(0.5 * torch.randn(batch, 1, generator=generator))
    frequency = torch.randn(batch, d, n_features, generator=generator) / gamma[:, None].sqrt()
    scale = importance * smoothness
    frequency = frequency * scale[..., None]
    phase = 2 * math.pi * torch.rand(batch, 1, n_features, generator=generator)
    weight = torch.randn(batch, n_features, 1, generator=generator) / math.sqrt(n_features)
    return lambda x: (torch.cos(x @ frequency + phase) @ weight)[..., 0]


def network(importance: Tensor, generator: torch.Generator) -> Function:
    """Random two-layer networks with sharp and flat units."""
    batch, d = importance.shape
    width = 32
    gain = torch.exp(0.6 * torch.randn(batch, 1, width, generator=generator)) * 3
    first = torch.randn(batch, d, width, generator=generator) * importance[..., None] * gain
    centre = torch.rand(batch, 1, d, generator=generator)
    offset = torch.randn(batch, 1, width, generator=generator)
    second = torch.randn(batch, width, width, generator=generator) * 1.5 / math.sqrt(width)
    last = torch.randn(batch, width, 1, generator=generator)

    def evaluate(x: Tensor) -> Tensor:
        hidden = torch.tanh((x - centre) @ first + offset)
        return (torch.tanh(hidden @ second) @ last)[..., 0]

    return evaluate


def bowls(importance: Tensor, generator: torch.Generator) -> Function:
    """Additive one-dimensional bumps with a few ridges between pairs of parameters."""
    batch, d = importance.shape
    centre = 0.15 + 0.7 * torch.rand(batch, 1, d, generator=generator)
    power = 0.7 + 1.8 * torch.rand(batch, 1, d, generator=generator)
    tilt = 1 + 2 * torch.rand(batch, 1, d, generator=generator)  # one flank is steeper
    n_pairs = 4
    left = torch.randint(0, d, (batch, n_pairs), generator=generator)
    right = torch.randint(0, d, (batch, n_pairs), generator=generator)
    slope = 1.5 * torch.randn(batch, 1, n_pairs, generator=generator)
    strength = torch.rand(batch, 1, n_pairs, generator=generator).square() * 6
    strength = (
        strength * importance.gather(1, left)[:, None] * importance.gather(1, right)[:, None]
    )

    def evaluate(x: Tensor) -> Tensor:
        offset = x - centre
        flank = torch.where(offset > 0, tilt, 1.0)
        additive = (importance[:, None] * (offset.abs() * flank + 1e-6) ** power).sum(-1)
        a = offset.gather(-1, left[:, None].expand(-1, x.shape[1], -1))
        b = offset.gather(-1, right[:, None].expand(-1, x.shape[1], -1))
        return -additive - (strength * (a + slope * b).square()).sum(-1)

    return evaluate


def trees(importance: Tensor, generator: torch.Generator) -> Function:
    """Ensembles of oblivious trees: piecewise constant, as tables and forests are."""
    batch, d = importance.shape
    n_trees, depth = 30, 4
    draw = importance[:, None].expand(-1, n_trees, -1).reshape(batch * n_trees, d)
    column = torch.multinomial(draw + 1e-6, depth, replacement=True, generator=generator)
    column = column.view(batch, n_trees * depth)
    threshold = torch.rand(batch, 1, n_trees * depth, generator=generator)
    leaf = torch.randn(batch, n_trees * 2**depth, generator=generator)
    bit = 2 ** torch.arange(depth)
    base = torch.arange(n_trees) * 2**depth

    def evaluate(x: Tensor) -> Tensor:
        side = x.gather(-1, column[:, None].expand(-1, x.shape[1], -1)) > threshold
        index = (side.view(batch, -1, n_trees, depth) * bit).sum(-1) + base
        flat = leaf.gather(1, index.view(batch, -1))
        return flat.view(batch, -1, n_trees).sum(-1) / math.sqrt(n_trees)

    return evaluate


def dynamics(importance: Tensor, generator: torch.Generator) -> Function:
    """Caricature of training: too small a rate is slow, too large a rate diverges.

    The first column is the log rate; the edge of stability moves with the second and third.
    """
    batch, d = importance.shape
    others = bowls(importance, generator)
    coupling = 0.5 * torch.randn(batch, 1, d, generator=generator) * importance[:, None]
    coupling[..., 0] = 0.0
    coupling[..., 3:] = 0.0
    edge = 0.45 + 0.5 * torch.rand(batch, 1, generator=generator)
    rate = 4 + 10 * torch.rand(batch, 1, generator=generator)
    sharpness = 10 + 60 * torch.rand(batch, 1, generator=generator)
    mix = 0.3 + 0.7 * torch.rand(batch, 1, generator=generator)

    def evaluate(x: Tensor) -> Tensor:
        margin = edge + ((x - 0.5) * coupling).sum(-1) - x[..., 0]
        slow = torch.exp(-rate * x[..., 0])
        diverged = torch.sigmoid(-sharpness * margin)
        progress = (1 - slow) * (1 - diverged) - diverged
        return progress + mix * others(x) * (1 - diverged)

    return evaluate


def mechanisms(importance: Tensor, generator: torch.Generator) -> Function:
    """A chain of mechanisms, as in training a network: one that fails spoils all others.

    Each has a working range on a mixture of a few parameters: too little, too much, or either is
    bad. Qualities multiply, so that the range of one parameter moves with others, and much of the
    space is at chance where many must work. A Box-Cox exponent leads from losses (the logarithm
    of the product) to accuracies (the product itself).
    """
    batch, d = importance.shape
    n_mechanisms = 5
    shape = (batch, n_mechanisms)
    owner = torch.multinomial(importance + 1e-6, n_mechanisms, True, generator=generator)
    joins = torch.rand(*shape, d, generator=generator) < 0.35
    mixture = joins * 0.6 * torch.randn(*shape, d, generator=generator)
    sign = torch.where(torch.rand(*shape, 1, generator=generator) < 0.5, -1.0, 1.0)
    mixture = mixture.scatter(-1, owner[..., None], sign) * (importance > 0)[:, None]
    middle = 0.5 + 0.22 * torch.randn(batch, 1, d, generator=generator)
    width = torch.rand(batch, 1, n_mechanisms, generator=generator)
    width = torch.exp(math.log(0.12) + 1.4 * width)
    power = 1 + 2 * torch.rand(batch, 1, n_mechanisms, generator=generator)
    # Below and above its middle a mechanism fails (1) or goes on working (0).
    kind = torch.rand(batch, 1, n_mechanisms, generator=generator)
    fails_below, fails_above = (kind < 0.7).float(), (kind > 0.3).float()
    strength = importance.gather(1, owner)[:, None]
    boxcox = 1.5 * torch.rand(batch, 1, generator=generator)
    boxcox = torch.where(torch.rand(batch, 1, generator=generator) < 0.3, 0.01, boxcox)

    def evaluate(x: Tensor) -> Tensor:
        latent = (x - middle) @ mixture.mT / width
        below = fails_below * (-latent).clamp_min(0) ** power
        above = fails_above * latent.clamp_min(0) ** power
        log_quality = -(strength * (below + above)).sum(-1)
        return torch.expm1(boxcox * log_quality) / boxcox

    return evaluate


FAMILIES = (fourier, network, bowls, trees, dynamics, mechanisms)
