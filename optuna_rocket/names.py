"""Names and values of others on one short line, for texts and figures."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from itertools import takewhile
import sys


_LONGEST = 40


def short_name(name: object, longest: int = _LONGEST) -> str:
    """A name or value on one line, without control characters, cut where it is long."""
    plain = "".join(c if c.isprintable() else " " for c in str(name))
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def short_names(names: Iterable[object], longest: int = _LONGEST) -> list[str]:
    """``short_name`` of names among each other: those that differ still do when they are cut.

    They are cut at the end, else in the middle, else where they are alike, else they are numbered.
    """
    whole = [short_name(name, sys.maxsize) for name in names]
    alike = sum(1 for _ in takewhile(lambda x: len(set(x)) == 1, zip(*whole, strict=False)))
    tail = (longest - 1) // 2
    cuts: tuple[Callable[[str], str], ...] = (
        lambda name: short_name(name, longest),
        lambda name: f"{name[: longest - tail - 1]}…{name[-tail:]}",
        lambda name: short_name(f"…{name[alike:]}", longest),
    )
    for cut in cuts:
        found = [name if len(name) <= longest else cut(name) for name in whole]
        if len(set(found)) == len(set(whole)):
            return found
    place = {name: f"…{i}" for i, name in enumerate(dict.fromkeys(whole))}
    return [
        name if len(name) <= longest else name[: longest - len(place[name])] + place[name]
        for name in whole
    ]
