"""How large an attribute may be, so that every storage can hold it."""

from __future__ import annotations

import json
from typing import Any


# The smallest limit among the storages is MySQL's TEXT column: 65,535 bytes.
MAX_LENGTH = 60_000


def fits(value: Any) -> bool:
    """Whether every storage can hold a value, which storages encode as JSON.

    A text is encoded once more: that adds a backslash to every quote and backslash.
    """
    return len(json.dumps(value)) <= MAX_LENGTH
