"""What numbers given by users must be; NumPy's numbers count, booleans do not."""

from __future__ import annotations

import sys

import numpy as np


# Integers have no infinity, but some are too large for a float.
_MOST = sys.float_info.max


def check_integer(name: str, value: object, *, least: int, fix: str) -> int:
    """Return an argument if it is an integer of at least ``least``, else raise a ValueError.

    Args:
        name: The argument's name.
        value: What was given.
        least: The least integer that makes sense.
        fix: What to give instead, a sentence.
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= least:
        return int(value)
    raise ValueError(f"{name}={value!r} is not an integer of at least {least}. {fix}")


def is_number(*values: object) -> bool:
    """Whether all are finite numbers."""
    return all(
        isinstance(x, (int, float, np.integer, np.floating))
        and not isinstance(x, bool)
        and -_MOST <= x <= _MOST
        for x in values
    )
