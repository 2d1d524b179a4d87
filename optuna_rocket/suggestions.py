"""What the agent writes about a trial: one small JSON attribute, ``rocket:suggestion``.

It holds the suggested parameters (so that other workers see a running trial whole), the kind of
the winning proposal, and what the memory expected, on its own scale and on the objective's.

A suggested value that lies outside of the trial's own range (which was narrowed, or depends on
another parameter) never runs: Optuna asks for another one. Kind and expectation are then those of
a configuration that nobody has tried. ``of_trial`` leaves them out, for what people are told and
for what is measured of the agent's word; the agent itself reads them as they were stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
import json
import math
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from optuna_rocket.attributes import MAX_LENGTH
from optuna_rocket.attributes import fits


ATTRIBUTE = "rocket:suggestion"
# Databases round: values that agree so far are the same.
_SAME = 1e-9


@dataclass(frozen=True)
class Suggestion:
    """What the agent said when it suggested a trial.

    Attributes:
        params: Parameter name to Optuna's internal representation.
        kind: Index into ``features.PROPOSAL_KINDS``, -1 where unknown.
        mean: Expected transformed score, NaN where unknown.
        std: Its standard deviation, NaN where unknown.
        score: Expected objective value, turned so that greater is better; NaN where unknown.
        spread: Its standard deviation, NaN where unknown.
        replaced: Names of the parameters whose values in ``params`` took the place of what all of
            the above was said of.
    """

    params: dict[str, float]
    kind: int = -1
    mean: float = math.nan
    std: float = math.nan
    score: float = math.nan
    spread: float = math.nan
    replaced: tuple[str, ...] = ()


def with_one_more(
    attributes: Mapping[str, Any],
    suggestion: Suggestion,
    imposed: Mapping[str, float],
    name: str,
) -> Suggestion:
    """What is stored already about a trial, with one more parameter decided.

    Args:
        attributes: The trial's system attributes.
        suggestion: The decision, about more than that parameter.
        imposed: The values that were decided before.
        name: The parameter.
    """
    decided = {name: suggestion.params[name]} if name in suggestion.params else {}
    stored = read(attributes)
    names = set(stored.replaced)
    if decided and stored.params.get(name, decided[name]) != decided[name]:
        names.add(name)
    return replace(stored, params={**imposed, **decided}, replaced=tuple(sorted(names)))


def encode(suggestion: Suggestion) -> str:
    """A suggestion as it is stored, without its parameters where they are too many."""
    content = {
        "params": suggestion.params,
        "kind": suggestion.kind,
        "mean": round(suggestion.mean, 6),
        "std": round(suggestion.std, 6),
        "score": _six_digits(suggestion.score),
        "spread": _six_digits(suggestion.spread),
    }
    replaced = {"replaced": suggestion.replaced} if suggestion.replaced else {}
    text = json.dumps({**content, **replaced})
    if not fits(text):
        text = json.dumps({**content, "params": {}})
    return text


def read(attributes: Mapping[str, Any]) -> Suggestion:
    """What is stored about a trial, blank where it is absent or not as this version writes it.

    Args:
        attributes: The trial's system attributes.
    """
    blank, text = Suggestion({}), attributes.get(ATTRIBUTE)
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        return blank
    try:
        content = json.loads(text)
        params = {str(name): float(value) for name, value in content["params"].items()}
        suggestion = Suggestion(
            params,
            int(content["kind"]),
            float(content["mean"]),
            float(content["std"]),
            # not written by the first versions
            float(content.get("score", math.nan)),
            float(content.get("spread", math.nan)),
            tuple(str(name) for name in content.get("replaced", ())),
        )
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
        return blank
    sane = abs(suggestion.kind) < 100 and all(math.isfinite(value) for value in params.values())
    return suggestion if sane else blank


def of_trial(trial: FrozenTrial) -> Suggestion:
    """What is stored about a trial; without kind and expectation where it ran something else."""
    suggestion = read(trial.system_attrs)
    return Suggestion(suggestion.params) if _replaced(trial, suggestion) else suggestion


def replaced_params(trial: FrozenTrial) -> tuple[str, ...]:
    """Names of the parameters of which a trial ran another value than was suggested, sorted."""
    return tuple(sorted(_replaced(trial, read(trial.system_attrs))))


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


def _six_digits(number: float) -> float:
    return float(f"{number:.6g}")
