"""Search spaces on the unit box: the only place where a parameter's kind and scale matter.

Notation used by every numeric module of this package
-----------------------------------------------------
- ``B``: studies (or simulated tasks) in a batch; a real study is a batch of one.
- ``n``: trials, ``m``: candidates, ``d``: parameters (padded with absent columns in a batch).
- ``units`` ``(B, n, d)``: a numeric parameter is a number on [0, 1] after log (cells of a grid of
  ``K`` values have their centres at ``(k + 0.5) / K``); a categorical is the index of its choice;
  an inactive conditional parameter holds ``INACTIVE_NUMERIC`` or ``INACTIVE_CHOICE``.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
from functools import cached_property
from functools import lru_cache
import math
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import IntDistribution
import torch
from torch import Tensor

from optuna_rocket import axes


INACTIVE_NUMERIC = 0.5
INACTIVE_CHOICE = -1.0
# A parameter can decide whether another one exists only if it has few values.
MAX_PARENT_CELLS = 32
# Conditions within conditions, deeper trees are not modelled.
_MAX_DEPTH = 4


@dataclass(frozen=True)
class Geometry:
    """What the agent needs to know of a batch of spaces, as tensors with the batch in front.

    Attributes:
        is_categorical: ``(B, d)`` bool.
        n_cells: ``(B, d)`` number of values of a finite parameter, 0 where continuous.
        present: ``(B, d)`` bool, False in columns that only pad the batch.
        parent: ``(B, d)`` index of the parameter that switches this one on, -1 where none does.
        allowed: ``(B, d, MAX_PARENT_CELLS)`` bool, the parent's cells under which it is active.
        log_bounds: ``(B, 2, d)`` log bounds of log-scaled integers (0 elsewhere), None if none.
        has_gaps: Whether some trial lacks a parameter, for whatever reason.
        held: ``(B, d)`` units of parameters that no new configuration changes, NaN elsewhere;
            None if none.
    """

    is_categorical: Tensor
    n_cells: Tensor
    present: Tensor
    parent: Tensor
    allowed: Tensor
    log_bounds: Tensor | None = None
    has_gaps: bool = False
    held: Tensor | None = None

    @property
    def n_params(self) -> Tensor:
        """``(B,)`` number of parameters that are present."""
        return self.present.sum(-1)

    @cached_property
    def free(self) -> Tensor:
        """``(B, d)`` bool, parameters that a new configuration can change."""
        return self.present if self.held is None else self.present & self.held.isnan()

    @cached_property
    def has_cells(self) -> bool:
        """Whether any parameter is finite, log-scaled integers aside."""
        return bool((self.n_cells > 0).any())

    @cached_property
    def has_conditions(self) -> bool:
        """Whether any parameter depends on another one."""
        return bool((self.parent >= 0).any())

    @cached_property
    def parent_cells(self) -> Tensor:
        """``(B, d)`` number of values of a finite parameter, log-scaled integers included."""
        if self.log_bounds is None:
            return self.n_cells
        low, high = self.log_bounds.unbind(1)
        return torch.where(high > low, (high.exp() - low.exp()).round(), self.n_cells)

    def cells_of(self, units: Tensor) -> Tensor:
        """Which of its values a finite parameter has, from 0 on: whole numbers ``(B, m, d)``."""
        cells = (units * self.n_cells[:, None]).floor()
        if self.log_bounds is not None:
            low, high = self.log_bounds[:, :, None].unbind(1)
            cells = torch.where(high > low, (self._integers(units) - low.exp()).floor(), cells)
        return torch.where(self.is_categorical[:, None], units, cells)

    def _integers(self, units: Tensor) -> Tensor:
        """Values ``(B, m, d)`` of log-scaled integers; other columns mean nothing."""
        assert self.log_bounds is not None
        low, high = self.log_bounds[:, :, None].unbind(1)
        value = torch.exp(low + units.clamp(0, 1) * (high - low).clamp_min(1e-12)).round()
        # The bounds lie half a unit outside of the integers, so that every one has a cell.
        return value.maximum(torch.exp(low) + 0.5).minimum(torch.exp(high) - 0.5)

    @cached_property
    def n_active(self) -> Tensor:
        """``(B,)`` mean number of parameters that a random configuration has and can change."""
        share = self.free.double()
        if not self.has_conditions:
            return share.sum(-1)
        cell = torch.arange(MAX_PARENT_CELLS)
        child = self.parent >= 0
        parent = self.parent.clamp_min(0)
        exists = cell < self.parent_cells.gather(1, parent)[..., None]
        own = (self.allowed & exists).sum(-1).float() / exists.sum(-1).clamp_min(1)
        for _ in range(_MAX_DEPTH):
            share = torch.where(child, own * share.gather(1, parent), share)
        return share.sum(-1)

    @cached_property
    def categorical_columns(self) -> Tensor:
        """Indices ``(k,)`` of the columns that are categorical in some space of the batch."""
        return self.is_categorical.any(0).nonzero()[:, 0]

    def take(self, index: Tensor | slice) -> Geometry:
        """The spaces at ``index`` ``(k,)`` of the batch, or at a slice of it."""
        return self.each(lambda field: field[index])

    def each(self, changed: Callable[..., Tensor], *others: Geometry) -> Geometry:
        """All tensors changed alike along the batch; ``changed`` gets those of ``others``, too.

        Raises:
            ValueError: If one of the geometries lacks a tensor that another one has.
        """
        changes: dict[str, Any] = {}
        for name in (field.name for field in fields(self)):
            values = [getattr(geometry, name) for geometry in (self, *others)]
            if any(isinstance(value, Tensor) for value in values):
                if any(value is None for value in values):
                    raise ValueError(f"{name} is None in some of the geometries only: fill it in.")
                changes[name] = changed(*values)
        return replace(self, **changes)

    def drawn(self, uniform: Tensor) -> Tensor:
        """Units ``(B, m, d)``, not yet snapped, from uniform numbers: a choice is as any other."""
        choice = (uniform * self.n_cells[:, None]).floor()
        return torch.where(self.is_categorical[:, None], choice, uniform)

    def snap(self, units: Tensor) -> Tensor:
        """Move units ``(B, m, d)`` to the nearest value that exists; absent columns become 0.

        What is held stays where it is held.
        """
        snapped = units.clamp(0, 1)
        safe = self.n_cells[:, None].clamp_min(1)
        if self.has_cells:
            index = (units * safe).floor().clamp_min(0).minimum(safe - 1)
            snapped = torch.where(self.n_cells[:, None] > 0, (index + 0.5) / safe, snapped)
        if self.log_bounds is not None:
            low, high = self.log_bounds[:, :, None].unbind(1)
            width = (high - low).clamp_min(1e-12)
            snapped = torch.where(high > low, (self._integers(units).log() - low) / width, snapped)
        if len(self.categorical_columns):
            choice = units.round().clamp_min(0).minimum(safe - 1)
            snapped = torch.where(self.is_categorical[:, None], choice, snapped)
        if self.held is not None:
            snapped = torch.where(self.held.isnan()[:, None], snapped, self.held[:, None])
        return torch.where(self.present[:, None], snapped, torch.zeros_like(snapped))

    def activity(self, units: Tensor) -> Tensor:
        """Which parameters exist in each configuration: bool ``(B, m, d)``."""
        active = self.present[:, None].expand(units.shape).clone()
        if not self.has_conditions:
            return active
        own = torch.arange(units.shape[-1])  # an unconditional parameter is its own parent
        parent = torch.where(self.parent < 0, own, self.parent)[:, None].expand(units.shape)
        index = self.cells_of(units).clamp(0, MAX_PARENT_CELLS - 1).long()
        has_many = self.parent_cells[:, None] > MAX_PARENT_CELLS
        index = torch.where(has_many, torch.zeros_like(index), index)
        parent_cell = index.gather(-1, parent)
        permitted = (
            self.allowed[:, None]
            .expand(*units.shape, MAX_PARENT_CELLS)
            .gather(-1, parent_cell[..., None])[..., 0]
        )
        permitted = permitted | (self.parent < 0)[:, None]
        # Each pass carries a switched-off ancestor one level down.
        for _ in range(_MAX_DEPTH):
            active = active & permitted & active.gather(-1, parent)
        return active

    def unexplained(self, units: Tensor, active: Tensor) -> Tensor:
        """Which parameters trials lack that their conditions let exist: bool ``(B, n, d)``."""
        return self.activity(units) & ~active

    def keys(self, units: Tensor) -> Tensor:
        """``(B, m)`` int64 that are equal for equal rows, and for others practically never.

        Odd multipliers and wrap-around addition: exact, whatever the order of summation.
        """
        return ((units * 2**30).round().long() * _odd_factors(units.shape[-1])).sum(-1)

    def fill_inactive(self, units: Tensor, active: Tensor) -> Tensor:
        """Give inactive parameters their neutral unit value."""
        neutral = torch.where(
            self.is_categorical[:, None],
            torch.full_like(units, INACTIVE_CHOICE),
            torch.full_like(units, INACTIVE_NUMERIC),
        )
        filled = torch.where(active, units, neutral)
        return torch.where(self.present[:, None], filled, torch.zeros_like(filled))


@lru_cache(maxsize=64)
def _odd_factors(d: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-(2**62), 2**62, (d,), generator=generator) * 2 + 1


class Space:
    """An ordered set of Optuna parameters and its round trip to the unit box.

    Args:
        distributions: Parameter name to distribution. The order of columns is by name.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self.names: tuple[str, ...] = tuple(sorted(distributions))
        self.distributions = {name: distributions[name] for name in self.names}
        self._bounds = [axes.bounds(x) for x in self.distributions.values()]
        self._is_categorical = [
            isinstance(x, CategoricalDistribution) for x in self.distributions.values()
        ]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def n_configurations(self) -> float:
        """Number of different configurations, ignoring conditions; inf where continuous."""
        counts = [axes.n_values(distribution) for distribution in self.distributions.values()]
        # Integers may be too large for a float, also to be multiplied by infinity.
        finite = [count for count in counts if count is not None]
        return math.inf if len(finite) < len(counts) else math.prod(finite)

    def encode(self, column: int, internal: float) -> float:
        """Unit value of the parameter in ``column``, given as Optuna represents it internally.

        Values outside of the distribution's range (the range has changed) are extrapolated.
        """
        if self._is_categorical[column]:
            return internal
        low, high, log = self._bounds[column]
        value = math.log(internal) if log and internal > 0 else internal
        if log and internal <= 0:
            return 0.0
        # Halving first keeps the widest ranges finite; it is exact.
        return min(max((value / 2 - low / 2) / (high / 2 - low / 2), -1.0), 2.0)

    def decode(self, units: Sequence[float]) -> dict[str, Any]:
        """Parameters (builtin types, external representation) of one row of units ``(d,)``."""
        return {
            name: axes.decode(distribution, self._bounds[j], float(units[j]))
            for j, (name, distribution) in enumerate(self.distributions.items())
        }

    @cached_property
    def plain_geometry(self) -> Geometry:
        """The space as a batch of one, without conditions, where no trial lacks a parameter."""
        return self.geometry({}, has_gaps=False)

    def geometry(
        self, conditions: Mapping[int, tuple[int, Sequence[bool]]], has_gaps: bool
    ) -> Geometry:
        """The space as a batch of one.

        Args:
            has_gaps: Whether some trial lacks a parameter.
            conditions: Column of a conditional parameter to its parent's column and, for each
                cell of the parent, whether the parameter is active there.
        """
        d = len(self)
        distributions = list(self.distributions.values())
        log_bounds = torch.zeros(1, 2, d, dtype=torch.float64)
        for j, distribution in enumerate(distributions):
            if isinstance(distribution, IntDistribution) and distribution.log:
                log_bounds[0, 0, j], log_bounds[0, 1, j] = self._bounds[j][:2]
        parent = torch.full((1, d), -1, dtype=torch.long)
        allowed = torch.ones(1, d, MAX_PARENT_CELLS, dtype=torch.bool)
        for child, (column, cells) in conditions.items():
            parent[0, child] = column
            allowed[0, child, : len(cells)] = torch.tensor(list(cells), dtype=torch.bool)
        n_cells = [0 if axes.is_log(x) else (axes.n_values(x) or 0) for x in distributions]
        return Geometry(
            is_categorical=torch.tensor(
                [[isinstance(x, CategoricalDistribution) for x in distributions]],
                dtype=torch.bool,
            ),
            n_cells=torch.tensor([n_cells], dtype=torch.float64),
            present=torch.ones(1, d, dtype=torch.bool),
            parent=parent,
            allowed=allowed,
            log_bounds=log_bounds if bool(log_bounds.any()) else None,
            has_gaps=has_gaps,
        )

    def enumerate_units(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """All configurations of a finite space as units ``(n_configurations, d)``."""
        columns = []
        for column, distribution in enumerate(self.distributions.values()):
            values = axes.grid_values(distribution)
            columns.append(np.array([self.encode(column, value) for value in values]))
        return np.stack([a.ravel() for a in np.meshgrid(*columns, indexing="ij")], axis=-1)


def modelled(
    distributions: Mapping[str, BaseDistribution],
    refuse: Callable[[str, Exception], None] | None = None,
) -> dict[str, BaseDistribution]:
    """The parameters that have a choice and that the agent can model.

    Args:
        distributions: Parameter name to distribution.
        refuse: Told of each other parameter that has a choice, with the reason.
    """
    found: dict[str, BaseDistribution] = {}
    for name, distribution in distributions.items():
        if distribution.single():
            continue
        try:
            Space({name: distribution})
        except (ArithmeticError, ValueError) as error:
            if refuse is not None:
                refuse(name, error)
            continue
        found[name] = distribution
    return found
