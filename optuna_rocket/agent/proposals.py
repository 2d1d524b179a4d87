"""Proposals: the candidates among which the policy chooses.

Every generator works per parameter and on units, so one code serves 1 to 100 parameters of any
kind. ``kind`` indexes ``features.PROPOSAL_KINDS``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
import math
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.history import History
from optuna_rocket.space import Geometry


KIND = {name: index for index, name in enumerate(PROPOSAL_KINDS)}


class Recipe(NamedTuple):
    """How proposals of one kind come from good trials.

    Attributes:
        share: Share of the first pool.
        n_elites: Parents are drawn from this many of the best trials (the better the likelier),
            or from this share of them where below one.
        n_parents: 1; 2, where every parameter comes from one of two; 0, where every parameter
            has a parent of its own.
        scales: Standard deviations of the move of a numeric parameter, one for each proposal.
        redraw: Chance of a numeric and of a categorical parameter to be drawn afresh.
        few: Whether only some parameters change, about two of them and at least one; a move on a
            grid is then at least one cell wide.
    """

    share: float
    n_elites: float = 10
    n_parents: int = 1
    scales: tuple[float, ...] = (0.0,)
    redraw: tuple[float, float] = (0.0, 0.0)
    few: bool = False


RECIPES = {
    "random": Recipe(0.30, redraw=(1.0, 1.0)),
    "mutation": Recipe(0.30, scales=(0.02, 0.05, 0.1, 0.3), redraw=(0.25, 1.0), few=True),
    "crossover": Recipe(0.12, n_parents=2),
    "density": Recipe(0.13, n_elites=0.25, n_parents=0, scales=(0.1,), redraw=(0.1, 0.1)),
    "local": Recipe(0.15, n_elites=3, scales=(0.003, 0.01, 0.03, 0.1)),
}


@dataclass(frozen=True)
class Pool:
    """Candidates: ``units`` and ``active`` ``(B, m, d)``, ``kind`` ``(B, m)``."""

    units: Tensor
    active: Tensor
    kind: Tensor

    def take(self, index: Tensor) -> Pool:
        """Candidates at ``index`` ``(B, k)`` of each study."""
        wide = index[..., None].expand(*index.shape, self.units.shape[-1])
        return Pool(
            self.units.gather(1, wide), self.active.gather(1, wide), self.kind.gather(1, index)
        )

    def joined(self, other: Pool) -> Pool:
        """These candidates, then those of another pool."""
        return Pool(
            torch.cat([self.units, other.units], 1),
            torch.cat([self.active, other.active], 1),
            torch.cat([self.kind, other.kind], 1),
        )


def finish(units: Tensor, kind: Tensor, geometry: Geometry, fixed: Tensor | None = None) -> Pool:
    """Snap raw units to values that exist, with ``fixed`` imposed.

    ``fixed`` is ``(B, d)``, or ``(B, m, d)`` for each candidate; NaN where free.
    """
    units = geometry.snap(units)
    if fixed is not None:
        imposed = fixed[:, None] if fixed.dim() == 2 else fixed
        units = torch.where(torch.isfinite(imposed), imposed, units)
    active = geometry.activity(units)
    if geometry.has_conditions:
        units = geometry.fill_inactive(units, active)
    return Pool(units, active, kind)


def pool_size(n_candidates: int) -> int:
    """How many candidates ``propose`` makes of about ``n_candidates``."""
    return len(_plan(n_candidates).kind)


def propose(
    history: History,
    geometry: Geometry,
    n_candidates: int,
    generator: torch.Generator,
    fixed: Tensor | None = None,
) -> Pool:
    """The first pool of about ``n_candidates``: random alone until a trial has a score."""
    plan = _plan(n_candidates)
    m, batch = len(plan.kind), len(geometry.present)
    shape = (batch, m, geometry.present.shape[-1])
    draws = torch.rand(5, *shape, generator=generator, dtype=torch.float64)
    fresh = geometry.drawn(draws[0])
    if not bool(history.scored.any(-1).all()):
        return finish(fresh, plan.kind.new_zeros(batch, m), geometry, fixed)
    parent = _parents(history, geometry, plan, draws[1:3], fresh, generator)
    moved = _move(parent, geometry, plan, generator)
    redraw = draws[3] < torch.where(
        geometry.is_categorical[:, None], plan.redraw_choice, plan.redraw_numeric
    )
    moved = torch.where(redraw, fresh, moved)
    some = draws[4].masked_fill(~(geometry.activity(parent) & geometry.free[:, None]), 2.0)
    share = 2 / geometry.n_active[:, None, None].clamp_min(1)
    changes = ~plan.few | (some < share) | (some == some.amin(-1, keepdim=True))
    units = torch.where(changes, moved, parent)
    return finish(units, plan.kind.expand(batch, -1), geometry, fixed)


class _Plan(NamedTuple):
    """Recipes of ``m`` proposals: ``kind`` ``(m,)``, ``scales`` ``(m, s)``, others ``(m, 1)``."""

    kind: Tensor
    n_elites: Tensor
    own_parent: Tensor
    two_parents: Tensor
    scales: Tensor
    redraw_numeric: Tensor
    redraw_choice: Tensor
    few: Tensor


@lru_cache(maxsize=8)
def _plan(n_candidates: int) -> _Plan:
    rows = [
        (KIND[name], recipe)
        for name, recipe in RECIPES.items()
        for _ in range(max(1, round(recipe.share * n_candidates)))
    ]
    n_scales = math.lcm(*(len(recipe.scales) for recipe in RECIPES.values()))
    scales = [recipe.scales * (n_scales // len(recipe.scales)) for _, recipe in rows]

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)[:, None]

    return _Plan(
        kind=torch.tensor([kind for kind, _ in rows]),
        n_elites=column([recipe.n_elites for _, recipe in rows]),
        own_parent=column([recipe.n_parents == 0 for _, recipe in rows]) > 0,
        two_parents=column([recipe.n_parents == 2 for _, recipe in rows]) > 0,
        scales=torch.tensor(scales, dtype=torch.float64),
        redraw_numeric=column([recipe.redraw[0] for _, recipe in rows]),
        redraw_choice=column([recipe.redraw[1] for _, recipe in rows]),
        few=column([recipe.few for _, recipe in rows]) > 0,
    )


def _parents(
    history: History,
    geometry: Geometry,
    plan: _Plan,
    draws: Tensor,
    fresh: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Units ``(B, m, d)`` of good trials; parameters that their trial lacked are fresh."""
    batch, m, d = fresh.shape
    scores = history.scores.masked_fill(~history.comparable, -torch.inf)
    order = scores.argsort(descending=True, stable=True)
    count = history.comparable.sum(-1)[:, None, None].double()
    limit = torch.where(plan.n_elites < 1, (count * plan.n_elites).ceil(), plan.n_elites)
    limit = limit.minimum(count)
    pair = torch.rand(2, batch, m, 1, generator=generator, dtype=torch.float64)
    draw = torch.where(plan.two_parents & (draws[0] < 0.5), pair[1], pair[0])
    draw = torch.where(plan.own_parent, draws[1], draw)
    rank = (draw.square() * limit).long()
    index = order.gather(1, rank.view(batch, -1)).view(batch, m, d)
    parent = history.units.gather(1, index)
    if not (geometry.has_conditions or geometry.has_gaps):
        return parent
    return torch.where(history.active.gather(1, index), parent, fresh)


def _move(parent: Tensor, geometry: Geometry, plan: _Plan, generator: torch.Generator) -> Tensor:
    """Normal moves of the numeric parameters."""
    batch, m, _ = parent.shape
    pick = torch.randint(0, plan.scales.shape[1], (batch, m), generator=generator)
    scale = plan.scales.expand(batch, -1, -1).gather(-1, pick[..., None])
    noise = torch.randn(parent.shape, generator=generator, dtype=torch.float64)
    moved = reflect(parent + scale * noise)
    if not geometry.has_cells:
        return moved
    cell = 1 / geometry.n_cells[:, None].clamp_min(1)
    coarse = plan.few & (geometry.n_cells[:, None] > 0) & ((moved - parent).abs() < cell)
    step = torch.where(noise < 0, -cell, cell)
    step = torch.where((parent + step - 0.5).abs() > 0.5, -step, step)  # back from the edge
    moved = torch.where(coarse, parent + step, moved)
    return torch.where(geometry.is_categorical[:, None], parent, moved)


def around(
    parents: Pool,
    geometry: Geometry,
    scales: Sequence[float],
    generator: torch.Generator,
    fixed: Tensor | None = None,
) -> Pool:
    """Normal moves of all numeric parameters of candidates, by one of ``scales`` after another."""
    m = parents.units.shape[1]
    scale = torch.tensor(scales, dtype=torch.float64).repeat(m // len(scales) + 1)[:m, None]
    noise = torch.randn(parents.units.shape, generator=generator, dtype=torch.float64)
    moved = reflect(parents.units + scale * noise)
    units = torch.where(geometry.is_categorical[:, None], parents.units, moved)
    return finish(units, torch.full_like(parents.kind, KIND["local"]), geometry, fixed)


def reflect(units: Tensor) -> Tensor:
    """Fold numbers back into the unit interval at its bounds."""
    return (1 - (1 - (units % 2).abs()).abs()).clamp(0, 1)
