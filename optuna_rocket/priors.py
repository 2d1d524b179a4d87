"""A person's guesses about good values of parameters: checked, and as curves for the agent."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any
from typing import Literal

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import torch
from torch import Tensor

from optuna_rocket import axes
from optuna_rocket.agent import guesses
from optuna_rocket.arguments import is_number
from optuna_rocket.space import Space


# How far from a value or beyond the ends of a range a guess still says something, as a share of
# the parameter's range (after log).
_SPREAD = 0.1
_LEAST_SPREAD = 0.02
# What a choice that was not named weighs against one that was.
_UNNAMED = 0.2
_FORMS = (
    "Give a value, a (low, high) range, {'mean': m, 'spread': s} in the parameter's own units, or "
    "{choice: weight} for a categorical one."
)


@dataclass(frozen=True)
class Prior:
    """One guess.

    Attributes:
        kind: ``value``, ``range`` (low, high), ``normal`` (mean, spread) or ``weights``.
        content: The numbers or choices of that kind.
        given: What the user wrote, for messages.
    """

    kind: Literal["value", "range", "normal", "weights"]
    content: Any
    given: str

    def curve(self, space: Space, column: int, today: BaseDistribution) -> Tensor | None:
        """Plausibility over the cells or choices of a parameter: see ``guesses.Guesses``.

        Returns:
            None where the guess means nothing for this distribution.
        """
        if isinstance(today, CategoricalDistribution):
            weights = self._weights(today.choices)
            if weights is None:
                return None
            logs = torch.tensor(weights, dtype=torch.float64).log()
            return _if_telling(guesses.standardised(logs))
        if self.kind == "weights" or not is_number(*self._numbers()):
            return None
        if axes.is_log(today) and self._greatest() <= 0:
            return None  # an exponent instead of the value?
        low, high, spread = self._interval(space, column)
        return _if_telling(guesses.plateau(low, high, max(spread, _LEAST_SPREAD)))

    def _numbers(self) -> tuple[Any, ...]:
        return (self.content,) if self.kind == "value" else tuple(self.content)

    def _greatest(self) -> Any:
        """The mean, or the greatest value that is meant."""
        return self.content if self.kind == "value" else self.content[self.kind == "range"]

    def _interval(self, space: Space, column: int) -> tuple[float, float, float]:
        """Ends and fall-off in units."""
        if self.kind == "range":
            low, high = (space.encode(column, float(x)) for x in self.content)
            return low, high, _SPREAD
        if self.kind == "value":
            unit = space.encode(column, float(self.content))
            return unit, unit, _SPREAD
        mean, spread = self.content
        unit, above, below = (
            space.encode(column, x) for x in (mean, mean + spread, mean - spread)
        )
        # On a log scale the two sides differ, and the lower one may not exist.
        return unit, unit, above - unit if below <= 0 else (above - below) / 2

    def _weights(self, choices: Sequence[Any]) -> list[float] | None:
        """Positive weights of the choices, None where no choice is meant."""
        if self.kind == "weights":
            named = [_weight(self.content, choice) for choice in choices]
        elif self.kind == "value":
            named = [1.0 if _same(self.content, choice) else None for choice in choices]
        elif self.kind == "range":
            low, high = self.content
            named = [1.0 if is_number(x) and low <= x <= high else None for x in choices]
        else:
            return None
        if all(weight is None for weight in named):
            return None
        greatest = max(weight for weight in named if weight is not None)
        floor = greatest * math.exp(guesses.WORST_GUESS)
        unnamed = 0.0 if self.kind == "weights" else _UNNAMED
        return [max(unnamed if weight is None else weight, floor) for weight in named]


def parse(priors: Mapping[str, Any] | None) -> dict[str, Prior]:
    """Check what was given as ``priors``.

    Raises:
        ValueError: If it is not a mapping of names to one of the forms.
    """
    if priors is None:
        return {}
    if not isinstance(priors, Mapping) or not all(isinstance(name, str) for name in priors):
        raise ValueError(f"priors={priors!r} is not a mapping from parameter names. {_FORMS}")
    return {name: _parsed(name, content) for name, content in priors.items()}


def forms_for(today: BaseDistribution) -> str:
    """What a guess that says something about a parameter may be."""
    if isinstance(today, CategoricalDistribution):
        return "Give one of its choices, or {choice: weight} with weights that are not all alike."
    assert isinstance(today, (FloatDistribution, IntDistribution))
    own = "in its own units, not as a logarithm" if today.log else "in its own units"
    return (
        f"Give a value from {today.low} to {today.high}, a part of that as a (low, high) range, "
        f"or {{'mean': m, 'spread': s}}, {own}."
    )


def _parsed(name: str, content: Any) -> Prior:
    given, content = repr(content), _plain(content)
    wrong = ValueError(f"priors[{name!r}]={given} is not a guess. {_FORMS}")
    if isinstance(content, Mapping):
        if set(content) == {"mean", "spread"}:
            mean, spread = content["mean"], content["spread"]
            if not is_number(mean, spread) or not spread > 0:
                raise wrong
            return Prior("normal", (float(mean), float(spread)), given)
        weights = list(content.values())
        if not weights or not is_number(*weights) or min(weights) < 0 or max(weights) <= 0:
            raise wrong
        named = tuple((_plain(key), float(weight)) for key, weight in content.items())
        return Prior("weights", named, given)
    if isinstance(content, (tuple, list)):
        if len(content) != 2 or not is_number(*content) or content[0] > content[1]:
            raise wrong
        return Prior("range", (float(content[0]), float(content[1])), given)
    if isinstance(content, (float, np.floating)) and not math.isfinite(content):
        raise wrong
    if content is not None and not isinstance(content, (bool, int, float, str, np.floating)):
        raise wrong
    return Prior("value", content, given)


def _plain(value: Any) -> Any:
    """A number or truth value of NumPy as one of Python, of which choices are made."""
    return value.item() if isinstance(value, (np.number, np.bool_)) else value


def _if_telling(curve: Tensor) -> Tensor | None:
    """None for a flat curve: of a value far outside the range, or of all choices alike."""
    return curve if bool(curve.any()) else None


def _same(a: Any, b: Any) -> bool:
    """Whether choices are the same one; ``1`` and ``True`` are two."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _weight(weights: Sequence[tuple[Any, float]], choice: Any) -> float | None:
    return next((weight for key, weight in weights if _same(key, choice)), None)
