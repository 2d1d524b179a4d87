"""What the agent said of a stored trial, as far as it holds for what the trial ran.

A suggested value that lies outside of the trial's own range (which was narrowed, or depends on
another parameter) never runs: Optuna asks for another one. Kind and expectation are then those of
a configuration that nobody has tried. This is for what people are told, and for what is measured
of the agent's word; the agent itself reads kind and expectation as they were stored.
"""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from optuna_rocket import suggestions
from optuna_rocket.suggestions import Suggestion


# Databases round: values that agree so far are the same.
_SAME = 1e-9


def of_trial(trial: FrozenTrial) -> Suggestion:
    """What is stored about a trial; without kind and expectation where it ran something else."""
    suggestion = suggestions.read(trial.system_attrs)
    return Suggestion(suggestion.params) if _replaced(trial, suggestion) else suggestion


def replaced_params(trial: FrozenTrial) -> tuple[str, ...]:
    """Names of the parameters of which a trial ran another value than was suggested, sorted."""
    return tuple(sorted(_replaced(trial, suggestions.read(trial.system_attrs))))


def _replaced(trial: FrozenTrial, suggestion: Suggestion) -> set[str]:
    return {
        name
        for name, value in trial.params.items()
        if name in suggestion.replaced
        or (
            name in suggestion.params
            and not _is_same(suggestion.params[name], value, trial.distributions[name])
        )
    }


def _is_same(suggested: float, value: Any, distribution: BaseDistribution) -> bool:
    """Whether a stored suggestion, in Optuna's internal representation, is a trial's value."""
    try:
        own = distribution.to_internal_repr(value)
        # Of choices that are equal (1 and True) Optuna stores the first one; of 3.5 it runs 3.
        suggested = distribution.to_internal_repr(distribution.to_external_repr(suggested))
    except (IndexError, TypeError, ValueError):  # what a foreign storage may hold
        return False
    return math.isclose(suggested, own, rel_tol=_SAME)
