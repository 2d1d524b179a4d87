"""Earlier studies and a person's guesses over the spaces that are asked about.

The adapter's side of experience: parameters meet by name, values by what they mean.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
import math
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
import torch
from torch import Tensor

from optuna_rocket.agent import sources as memories
from optuna_rocket.agent.experience import Guide
from optuna_rocket.agent.experience import Mixture
from optuna_rocket.agent.guesses import Guesses
from optuna_rocket.agent.memory import Expectation
from optuna_rocket.agent.sources import Sources
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.once import Once
from optuna_rocket.priors import Prior
from optuna_rocket.priors import forms_for
from optuna_rocket.quiet import quietly
from optuna_rocket.records import Record
from optuna_rocket.rows import FloatArray
from optuna_rocket.source_studies import Source
from optuna_rocket.space import Space


_logger = optuna.logging.get_logger(f"optuna.{__name__}")
_N_SPACES = 4
# How much of what sources say turned round must be expected before it is worth a line.
_TURNED_TOLD = 0.5


class Experience:
    """Sources and guesses over the spaces that are asked about.

    Args:
        sources: What was kept of earlier studies.
        priors: Parameter name to a person's guess.
    """

    def __init__(self, sources: Sequence[Source], priors: Mapping[str, Prior]) -> None:
        self.sources = tuple(sources)
        self.priors = dict(priors)
        self._told = Once()
        self._guides: OrderedDict[str, tuple[Guide | None, tuple[int, ...]]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """What was read, without what is computed from it."""
        kept = {"sources": self.sources, "priors": self.priors, "_told": self._told}
        return {**kept, "_guides": OrderedDict()}

    def tell(self, what: str) -> None:
        """Log what the user should know, once."""
        if self._told.is_first(what):
            _logger.warning(what)

    def tell_unknown(self, known: Collection[str]) -> None:
        """Log once which guesses are about parameters that the study has not had so far."""
        for name in self.priors:
            if name not in known:
                self.tell(
                    f"priors names {name!r}, which no trial has had so far. Unless it is "
                    "misspelled, the guess counts as soon as one has it."
                )

    def tell_turned(
        self, space: Space, records: Sequence[Record], expected: Expectation | None
    ) -> None:
        """Log once which earlier studies are read turned round, as soon as it counts."""
        if not isinstance(expected, Mixture) or not expected.is_turned:
            return
        if float(expected.sources.sum()) < _TURNED_TOLD:
            return
        used = [i for i, x in enumerate(expected.sources.tolist()) if x > 0]
        index = self.over(space, records)[1]
        for name in (self.names[index[i]] for i in used):
            self.tell(
                f"The earlier study {name!r} foretells the opposite of what this study finds and "
                "is read turned round, with its worst trials for the best. Check its direction."
            )

    @cached_property
    def names(self) -> list[str]:
        """One name for each source; those of one name are numbered."""
        own = {source.name for source in self.sources}
        found: dict[str, None] = {}  # an ordered set
        for source in self.sources:
            name, number = source.name, 1
            while name in found or (number > 1 and name in own):
                number += 1
                name = f"{source.name} ({number})"
            found[name] = None
        return list(found)

    def over(
        self, space: Space, records: Sequence[Record]
    ) -> tuple[Guide | None, tuple[int, ...]]:
        """What experience says of a space, None where it says nothing.

        Also which of the sources that is about, in its order. One that is the study of the
        ``records`` itself, as where that is resumed, is left out: its trials would count twice.
        """
        own = [i for i, x in enumerate(self.sources) if x.is_of(records)]
        for name in (self.names[i] for i in own):
            self.tell(
                f"The earlier study {name!r} is left out of a study whose own trials it holds: "
                "they would count twice."
            )
        key = repr((space.distributions, own))
        if key not in self._guides:
            shared = [i for i, x in enumerate(self.sources) if _shared(x, space)]
            found = [i for i in shared if i not in own]
            sources = _over([self.sources[i] for i in found], space) if found else None
            guesses = _guesses(self.priors, space, self.tell)
            known = sources is not None or guesses is not None
            self._guides[key] = (Guide(sources, guesses) if known else None, tuple(found))
            while len(self._guides) > _N_SPACES:
                self._guides.popitem(last=False)
        self._guides.move_to_end(key)
        return self._guides[key]

    @quietly()
    def first_value(self, name: str, distribution: BaseDistribution) -> Any:
        """One parameter of a study's first trial, None where nothing is known of it.

        The study's space is unknown then, as parameters are asked for one by one: the trial is
        the one that the sources as a whole find best, with a person's guesses before all.
        """
        space = Space({name: distribution})
        if name in self.priors:
            curve = self.priors[name].curve(space, 0, distribution)
            if curve is not None:
                peak = (curve == curve.max()).nonzero()[:, 0]
                cell = float(peak[(len(peak) - 1) // 2])
                is_choice = isinstance(distribution, CategoricalDistribution)
                return space.decode([cell if is_choice else (cell + 0.5) / len(curve)])[name]
        known = self._first.get(name)
        if known is None:
            return None
        internal, theirs = known
        unit = float(_translated(np.array([internal]), theirs, space, 0)[0])
        is_lost = isinstance(distribution, CategoricalDistribution) and unit >= len(
            distribution.choices
        )
        return None if math.isnan(unit) or is_lost else space.decode([unit])[name]

    @cached_property
    def _first(self) -> dict[str, tuple[float, BaseDistribution]]:
        """A trial of a source, with its distributions: the one that all expect most of."""
        known: dict[str, BaseDistribution] = {}
        for source in self.sources:
            known.update(source.distributions)
        if not known:
            return {}
        space = Space(known)
        guide, _ = self.over(space, ())
        if guide is None or guide.sources is None:
            return {}
        geometry = space.plain_geometry
        elites = guide.sources.elites[:, 0]
        lacks = elites.isnan()
        units = geometry.snap(torch.where(lacks, 0.0, elites)[None])[0]
        # Parameters that a source never had are missing; those that its best trial had no use for
        # are not.
        missing = (~guide.sources.remembered.geometry.present).sum(-1)
        said = guide.sources.read(units, ~lacks).mean(0) - missing
        best = int((said * 1e4).round().argmax())
        values = space.decode(units[best].tolist())
        return {
            name: (float(distribution.to_internal_repr(values[name])), distribution)
            for j, (name, distribution) in enumerate(space.distributions.items())
            if not bool(lacks[best, j])
        }


def _shared(source: Source, space: Space) -> bool:
    return any(name in space.distributions for name in source.distributions)


def _over(sources: Sequence[Source], space: Space) -> Sources | None:
    """Sources over today's space; parameters meet by name, values by what they mean."""
    shape = (len(sources), max(len(x.scores) for x in sources))
    units = np.zeros((*shape, len(space)))
    active = np.zeros((*shape, len(space)), dtype=np.bool_)
    scores = np.full(shape, np.nan)
    fidelity = np.ones(shape)
    for s, source in enumerate(sources):
        n = len(source.scores)
        scores[s, :n], fidelity[s, :n] = source.scores, source.fidelity
        for k, (name, distribution) in enumerate(source.distributions.items()):
            if name in space.distributions:
                j = space.names.index(name)
                column = _translated(source.values[:, k], distribution, space, j)
                active[s, :n, j] = ~np.isnan(column)
                units[s, :n, j] = np.where(active[s, :n, j], column, 0.0)
    present = torch.from_numpy(active.any(1))
    is_scored = np.isfinite(scores)
    has_gaps = bool((~active & active.any(1, keepdims=True) & is_scored[..., None]).any())
    one = space.geometry({}, has_gaps=has_gaps)
    geometry = one.take(torch.zeros(len(sources), dtype=torch.long))
    geometry = replace(geometry, present=present)
    on = torch.from_numpy(active)
    history = History.of(
        units=geometry.fill_inactive(torch.from_numpy(units), on),
        active=on,
        outcomes=torch.full(shape, int(Outcome.COMPLETE)),
        scores=torch.from_numpy(scores),
        fidelity=torch.from_numpy(fidelity),
    )
    return memories.remember(history, geometry) if bool(present.any()) else None


def _translated(
    values: FloatArray, distribution: BaseDistribution, space: Space, column: int
) -> FloatArray:
    """Units in today's space of a source's values, NaN where they mean nothing there."""
    today = list(space.distributions.values())[column]

    def translated(internal: float) -> float:
        if math.isnan(internal):
            return math.nan
        value: Any = internal
        if isinstance(distribution, CategoricalDistribution):
            value = distribution.choices[int(internal)]
        if isinstance(today, CategoricalDistribution):
            try:
                return float(today.to_internal_repr(value))
            except (TypeError, ValueError):
                return float(len(today.choices))  # a choice that is not offered any more
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return math.nan
        return space.encode(column, float(value)) if math.isfinite(value) else math.nan

    return np.array([translated(internal) for internal in values.tolist()])


def _guesses(
    priors: Mapping[str, Prior], space: Space, tell: Callable[[str], None]
) -> Guesses | None:
    curves: list[tuple[int, Tensor]] = []
    for column, (name, distribution) in enumerate(space.distributions.items()):
        if name not in priors:
            continue
        curve = priors[name].curve(space, column, distribution)
        if curve is not None:
            curves.append((column, curve))
        else:
            tell(
                f"priors[{name!r}] is left out: {priors[name].given} says nothing about "
                f"{distribution}. {forms_for(distribution)}"
            )
    if not curves:
        return None
    width = max(len(curve) for _, curve in curves)
    padded = torch.zeros(len(curves), width, dtype=torch.float64)
    for row, (_, curve) in enumerate(curves):
        padded[row, : len(curve)] = curve
    columns = torch.tensor([column for column, _ in curves])
    return Guesses(
        columns,
        padded,
        torch.tensor([len(curve) for _, curve in curves], dtype=torch.float64),
        space.plain_geometry.is_categorical[0, columns],
    )
