"""What is said once, however often and from however many threads there is reason to."""

from __future__ import annotations

from typing import Any


class Once:
    """What one object has said.

    It needs no lock, so that whatever holds it can be copied and pickled; a copy knows what was
    said before, and goes on by itself.
    """

    def __init__(self) -> None:
        self._said: dict[object, object] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What was said so far, while other threads may go on."""
        return {"_said": dict(self._said)}

    def is_first(self, topic: object) -> bool:
        """Whether nobody has asked about this topic before; from now on somebody has."""
        mine = object()
        # One step: of several threads one is first.
        return self._said.setdefault(topic, mine) is mine
