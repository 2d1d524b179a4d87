"""The chance to fail, read from the trials that failed.

A trial fails because of its configuration, or by accident (a machine that goes away, memory that
another job took). A regression that takes every failure for the configuration's own leaves what is
good wherever an accident happened. How much of the failures the configurations explain, their own
order tells: regressions that explain almost all, half and next to nothing of their variance are
weighed by the likelihood that each gives to them (Rasmussen & Williams 2006, eq. 5.8).
"""

from __future__ import annotations

import torch
from torch import Tensor

from optuna_rocket.agent import gram
from optuna_rocket.history import History
from optuna_rocket.history import Outcome


# Shares of the variance of the failures that configurations explain.
_EXPLAINED = (0.9, 0.5, 0.05)


def regression(history: History, kernel: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Regression of the failures on a kernel ``(B, n, n)`` of the trials, shrunk to their share.

    Returns:
        The share of failures ``(B, 1)``, and the coefficients ``(B, n)`` of what the kernel adds;
        None where nothing has failed.
    """
    failed = history.outcomes == Outcome.FAILED
    if not bool(failed.any()):
        return None, None
    finished = history.outcomes != Outcome.PENDING
    n_failed, n_finished = (x.sum(-1, keepdim=True).double() for x in (failed, finished))
    base = (n_failed + 0.5) / (n_finished + 3)
    residual = torch.where(finished, failed.double() - base, 0.0)
    variance = (base * (1 - base))[:, 0]
    all_equal = torch.ones(failed.shape, dtype=kernel.dtype)
    certainty = gram.Certainty(all_equal, 0 * all_equal)
    kernel = kernel * (finished[:, :, None] & finished[:, None, :])
    coefficients, fits = [], []
    for share in _EXPLAINED:
        scale, noise = share * variance, (1 - share) * variance
        factor = gram.cholesky(gram.covariance(kernel, scale, noise, certainty, finished))
        alpha = torch.cholesky_solve(residual[..., None], factor)[..., 0]
        volume = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        fits.append(-0.5 * (residual * alpha).sum(-1) - volume)
        coefficients.append(scale[:, None] * alpha)
    weight = torch.stack(fits).softmax(0)[..., None]
    return base, (weight * torch.stack(coefficients)).sum(0) * finished
