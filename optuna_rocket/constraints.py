"""Constraints as trials carry them: what is stored, by whom it may be, and what it means.

Optuna 5 stores ``trial.set_constraint(key, value)`` in the attribute ``constraints:<key>``, and
what a ``constraints_func`` returns as a list in ``constraints``. A trial is feasible if no value
is above 0; one without constraints is feasible too.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Any


_LIST = "constraints"
_PREFIX = "constraints:"


def read(attributes: Mapping[str, Any]) -> dict[str, float]:
    """Constraint values of a stored trial by key; what is no number is left out.

    The values of a list get their position as key, which a value of its own name replaces, as in
    ``FrozenTrial.constraints``. That property raises where a foreign attribute is malformed.

    Args:
        attributes: The trial's system attributes.
    """
    found: dict[str, float] = {}
    listed = attributes.get(_LIST)
    if isinstance(listed, (list, tuple)):
        found = {str(k): x for k, value in enumerate(listed) if (x := _number(value)) is not None}
    for key, value in attributes.items():
        if key.startswith(_PREFIX) and (number := _number(value)) is not None:
            found[key.removeprefix(_PREFIX)] = number
    return found


def is_feasible(attributes: Mapping[str, Any]) -> bool:
    """Whether no constraint of a stored trial is violated."""
    return all(value <= 0 for value in read(attributes).values())


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    return None if math.isnan(number) else number
