"""How a hyperparameter should change with the amount of data: an exponent, fitted in the study.

A learning rate that suits a few steps is often larger than the one that suits many. If the best
value of a parameter goes with the share of the data to the power ``-a``, then a subset tells most
about a configuration when it is trained with the value times ``fraction ** -a``. The exponent
differs from task to task (``benchmarks/README.md``, section "Scaling rule"), so it is learned from
the trials that were evaluated on a subset and on the full data.

Idea: under the right exponent, a value on the subset stands for a value on the full data, and the
scores on the subset, smoothed over all parameters, foretell the full-data scores best.

Notation: ``n`` trials that were evaluated on a subset, ``q`` columns of their other parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from optuna_rocket.arguments import is_number
from optuna_rocket.fidelity.correlation import normal_scores


Array = NDArray[np.float64]

# Exponents that are compared. Rules of thumb lie between 0 (nothing changes) and 1 (the same
# distance travelled in fewer steps).
_GRID = np.arange(-0.5, 1.51, 0.125)
_PRIOR_STD = 0.35
# Over which factor of the parameter the scores change (log 4), and over which distance in the box
# of the others.
_LENGTH = math.log(4.0)
_OTHERS_LENGTH = 1.0
# Variances in terms of that of the scores: noise of a score, and of what no exponent explains.
_NOISE = 0.25
_LEAST_RESIDUAL = 0.02


@dataclass(frozen=True)
class Rung:
    """What trials scored on one subset, and on the full data.

    Attributes:
        log_values: ``(n,)`` logarithm of the parameter's value on the full data.
        used: ``(n,)`` exponent with which each trial was corrected there.
        others: ``(n, q)`` the other parameters, about in the unit box.
        scores: ``(n,)`` scores on the subset, greater is better; NaN counts as the worst.
        finals: ``(n,)`` scores on the full data, NaN where the trial was pruned.
        fraction: Share of the data, in (0, 1).
    """

    log_values: Array
    used: Array
    others: Array
    scores: Array
    finals: Array
    fraction: float


@dataclass(frozen=True)
class Exponent:
    """A fitted exponent.

    Attributes:
        value: What is applied: the posterior mean, drawn towards the guess as far as it is in
            doubt (the positive-part rule of James and Stein 1961).
        mean: Posterior mean.
        std: Posterior standard deviation.
    """

    value: float
    mean: float
    std: float


def checked_guesses(scale: Mapping[str, float]) -> dict[str, float]:
    """The first guesses of ``scale=``, or a ValueError where they make no sense."""
    if not isinstance(scale, Mapping):
        raise ValueError(
            f"scale={scale!r} is not a mapping from names to exponents. Write {{'lr': 0.0}}."
        )
    for name, guess in scale.items():
        if not is_number(guess) or not -0.5 <= guess <= 1.5:
            raise ValueError(
                f"scale={dict(scale)!r} holds {guess!r} for {name!r}. Give a first guess of the "
                "exponent between -0.5 and 1.5, for example {'lr': 0.0}."
            )
    return {name: float(guess) for name, guess in scale.items()}


def check_scaled(name: str, value: object) -> None:
    """Raise a ValueError unless a parameter's value is one that can be scaled."""
    if isinstance(value, bool) or not isinstance(value, float) or not value >= 0:
        raise ValueError(
            f"scale= names {name!r}, which is {value!r} in this trial: only floats of at least 0 "
            "can be scaled. Leave it out of scale=, or suggest a float."
        )


def fit_exponent(rungs: Sequence[Rung], guess: float) -> Exponent:
    """Fit the exponent of one parameter.

    Args:
        rungs: What is known from each subset, at least one with three trials that went on.
        guess: Centre of the prior.

    Returns:
        The exponent; that of the prior where the rungs tell nothing.
    """
    # Rungs share their trials: together they count as one.
    likelihood = np.mean([_log_likelihood(rung) for rung in rungs], axis=0)
    log_posterior = likelihood - 0.5 * ((_GRID - guess) / _PRIOR_STD) ** 2
    weights = np.exp(log_posterior - log_posterior.max())
    weights /= weights.sum()
    mean = float(weights @ _GRID)
    std = math.sqrt(float(weights @ (_GRID - mean) ** 2))
    step = mean - guess
    sureness = max(0.0, 1 - (std / step) ** 2) if step else 0.0
    return Exponent(guess + sureness * step, mean, std)


def _log_likelihood(rung: Rung) -> Array:
    """Of the full-data scores under every exponent of the grid, but for a constant."""
    y = normal_scores(np.nan_to_num(rung.scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf))
    is_final = ~np.isnan(rung.finals)
    finals = normal_scores(rung.finals[is_final])
    finals = finals - finals.mean()
    apart = ((rung.others[:, None] - rung.others[None]) ** 2).sum(-1)
    nearness = np.exp(-0.5 * apart / _OTHERS_LENGTH**2)
    found = []
    for exponent in _GRID:
        # The value on the full data that each trial on the subset stands for.
        stands_for = rung.log_values + (exponent - rung.used) * math.log(rung.fraction)
        weights = np.linalg.solve(
            nearness * _near(stands_for, stands_for) + _NOISE * np.eye(len(y)), y
        )
        foretold = (nearness[is_final] * _near(rung.log_values[is_final], stands_for)) @ weights
        found.append(_explained(foretold - foretold.mean(), finals))
    return np.array(found)


def _near(a: Array, b: Array) -> Array:
    return np.asarray(np.exp(-0.5 * ((a[:, None] - b[None]) / _LENGTH) ** 2))


def _explained(foretold: Array, finals: Array) -> float:
    """Log likelihood of centred scores given centred forecasts, up to a factor."""
    slope = max(float(foretold @ finals) / max(float(foretold @ foretold), 1e-12), 0.0)
    residual = finals - slope * foretold
    return (
        -0.5 * len(finals) * math.log(float(residual @ residual) / len(finals) + _LEAST_RESIDUAL)
    )
