"""The covariance of the trials' scores, and what its weights are.

Notation, besides that of ``space`` and ``kernels``: the kernel ``k``; covariance
``K = s k + σ² diag(c)``, where ``c`` is larger for less certain scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.history import History
from optuna_rocket.scores import transform_errors


# Noise multiplier of a score that stems from a share ``fidelity`` of a full evaluation.
FIDELITY_NOISE = 8.0
# Variance of an approximated score that says nothing; the scores have a variance of 1.
_MOST_ADDED = 4.0
JITTER = 1e-6


@dataclass(frozen=True)
class MemoryWeights:
    """Logs of relevances ``(B, d)``, outputscale ``(B,)`` and noise variance ``(B,)``."""

    relevance: Tensor
    outputscale: Tensor
    noise: Tensor

    def take(self, index: Tensor | slice) -> MemoryWeights:
        """Those of the studies at ``index`` of the batch."""
        return MemoryWeights(self.relevance[index], self.outputscale[index], self.noise[index])


class Certainty(NamedTuple):
    """What makes the noise of a score ``(B, n)`` greater: a factor, and what is added."""

    factor: Tensor
    added: Tensor

    def variance(self, noise: Tensor) -> Tensor:
        """``(B, n)`` for noise variances ``(B,)`` of full evaluations."""
        return noise[:, None] * self.factor + self.added


def certainty(history: History) -> Certainty:
    """What makes scores less certain: partial evaluations, and errors of approximated ones."""
    fidelity = history.fidelity.clamp(1e-3, 1)
    factor = 1 + FIDELITY_NOISE * (1 / fidelity - 1).clamp(0, 4)
    added = torch.zeros_like(factor)
    if bool(history.errors.any()):
        errors = transform_errors(history.scores, history.comparable, history.errors)
        added = errors.square().clamp_max(_MOST_ADDED)
    return Certainty(factor, added)


def masked_covariance(
    kernel: Tensor, weights: MemoryWeights, certainty: Certainty, rows: Tensor
) -> Tensor:
    """``covariance`` with the kernel ``(B, n, n)`` of all trials and weights as they are kept."""
    scale, noise = weights.outputscale.exp(), weights.noise.exp()
    if not bool(rows.all()):
        kernel = kernel * (rows[:, :, None] & rows[:, None, :])
    return covariance(kernel, scale, noise, certainty, rows)


def covariance(
    kernel: Tensor, scale: Tensor, noise: Tensor, certainty: Certainty, rows: Tensor
) -> Tensor:
    """``K`` over the given rows; the others become an identity that touches nothing."""
    full = kernel * scale[:, None, None]
    diagonal = torch.where(rows, certainty.variance(noise) + JITTER, 1.0)
    full.diagonal(dim1=-2, dim2=-1).add_(diagonal)
    return full


def cholesky(matrix: Tensor) -> Tensor:
    """Lower factor of a covariance ``(B, n, n)``, lifted a little where it has none."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed.any()):
        lift = 1e-3 * torch.eye(matrix.shape[-1], dtype=matrix.dtype)
        factor, _ = torch.linalg.cholesky_ex(matrix + lift)
    return torch.as_tensor(factor)
