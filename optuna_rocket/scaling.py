"""Tagged hyperparameters that change with the amount of data, from the stored trials.

What was applied in a trial is its user attribute ``rocket:exponents``: parameter name to exponent.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution

from optuna_rocket.arguments import is_number
from optuna_rocket.curves import Curve
from optuna_rocket.fidelity.scaling import Exponent
from optuna_rocket.fidelity.scaling import Rung
from optuna_rocket.fidelity.scaling import fit_exponent
from optuna_rocket.records import internal_params
from optuna_rocket.records import latest_distributions
from optuna_rocket.space import INACTIVE_NUMERIC
from optuna_rocket.space import Space
from optuna_rocket.space import modelled


Array = NDArray[np.float64]

EXPONENTS = "rocket:exponents"
# Exponents are fitted anew when there are this many trials on the full data, and each time that
# their number has grown by half: in between, subsets are comparable.
_FIRST_FIT = 8
_GROWTH = 1.5
_MAX_TRIALS = 200
# Two choices are half as near as one is to itself; a number's whole range counts 1.
_CHOICE_SCALE = 0.7


def used_exponents(attributes: Mapping[str, Any]) -> dict[str, float]:
    """What was applied in a trial, empty where nothing or nothing that makes sense is stored.

    Args:
        attributes: The trial's user attributes.
    """
    stored = attributes.get(EXPONENTS)
    if not isinstance(stored, dict):
        return {}
    numbers = {name: x for name, x in stored.items() if isinstance(x, (int, float))}
    return {str(name): float(x) for name, x in numbers.items() if abs(x) <= 2}


def fitting_trials(curves: Sequence[Curve], longest: int) -> list[Curve]:
    """The trials that the exponents in use are fitted to, none before there are enough.

    Args:
        curves: Trials that reported, by number.
        longest: Report step of the full data.
    """
    ends = [i for i, x in enumerate(curves) if longest in x.steps and not math.isnan(x.final)]
    if len(ends) < _FIRST_FIT:
        return []
    n_pairs = _FIRST_FIT
    while n_pairs * _GROWTH <= len(ends):
        n_pairs = math.floor(n_pairs * _GROWTH)
    return list(curves[: ends[n_pairs - 1] + 1][-_MAX_TRIALS:])


def fit_exponents(
    curves: Sequence[Curve], guesses: Mapping[str, float], fractions: Mapping[int, float]
) -> dict[str, Exponent]:
    """Exponents of the tagged parameters, each as if the others did not change.

    Args:
        curves: What ``fitting_trials`` returns.
        guesses: Parameter name to its guessed exponent.
        fractions: Report step of each smaller subset to its share of the data.

    Returns:
        Name to exponent, without parameters that hardly any trial has.
    """
    found: dict[str, Exponent] = {}
    for name, guess in guesses.items():
        held = [x for x in curves if _is_positive(x.trial.params.get(name))]
        rungs = [
            _rung([x for x in held if step in x.steps], name, step, fraction)
            for step, fraction in fractions.items()
        ]
        telling = [x for x in rungs if (~np.isnan(x.finals)).sum() >= _FIRST_FIT / 2]
        if telling:
            found[name] = fit_exponent(telling, guess)
    return found


def _rung(curves: Sequence[Curve], name: str, step: int, fraction: float) -> Rung:
    return Rung(
        log_values=np.array([math.log(x.trial.params[name]) for x in curves]),
        used=np.array([used_exponents(x.trial.user_attrs).get(name, 0.0) for x in curves]),
        others=_columns(curves, name),
        scores=np.array([x.scores[x.steps.index(step)] for x in curves], dtype=np.float64),
        finals=np.array([x.final for x in curves], dtype=np.float64),
        fraction=fraction,
    )


def _columns(curves: Sequence[Curve], without: str) -> Array:
    """All parameters ``(n, q)`` but one: numbers on the unit interval, a column per choice."""
    distributions = latest_distributions(curve.trial for curve in curves)
    distributions.pop(without, None)
    space = Space(modelled(distributions))
    columns = [np.zeros(len(curves))]
    rows = [internal_params(x.trial.params, space.distributions) for x in curves]
    for j, (name, distribution) in enumerate(space.distributions.items()):
        values = [row.get(name) for row in rows]
        if isinstance(distribution, CategoricalDistribution):
            for index in range(len(distribution.choices)):
                is_chosen = [value == index for value in values]
                columns.append(_CHOICE_SCALE * np.array(is_chosen, dtype=np.float64))
        else:
            units = [
                INACTIVE_NUMERIC if value is None else space.encode(j, value) for value in values
            ]
            columns.append(np.array(units))
    return np.stack(columns, axis=-1)


def _is_positive(value: Any) -> bool:
    return is_number(value) and value > 0
