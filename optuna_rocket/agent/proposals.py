"""Proposals: the candidates among which the policy chooses.

Every generator works per parameter and on units, so one code serves 1 to 100 parameters of any
kind. ``kind`` indexes ``features.PROPOSAL_KINDS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.history import History
from optuna_rocket.space import Geometry


KIND = {name: index for index, name in enumerate(PROPOSAL_KINDS)}
# Shares of the first pool; polish comes later, around what the policy likes best.
SHARES = {"random": 0.3, "mutation": 0.3, "crossover": 0.12, "density": 0.13, "local": 0.15}
_MUTATION_SCALES = (0.02, 0.05, 0.1, 0.3)
_LOCAL_SCALES = (0.01, 0.03, 0.1)
_DENSITY_BANDWIDTH = 0.1
_DENSITY_SHARE = 0.25
_N_ELITES = 10


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


def join(first: Pool, second: Pool) -> Pool:
    """Both pools, one behind the other."""
    return Pool(
        torch.cat([first.units, second.units], 1),
        torch.cat([first.active, second.active], 1),
        torch.cat([first.kind, second.kind], 1),
    )


def finish(units: Tensor, kind: Tensor, geometry: Geometry, fixed: Tensor | None = None) -> Pool:
    """Snap raw units to values that exist, with ``fixed`` ``(B, d)`` (NaN where free) imposed."""
    units = geometry.snap(units)
    if fixed is not None:
        units = torch.where(torch.isfinite(fixed)[:, None], fixed[:, None], units)
    active = geometry.activity(units)
    if geometry.has_conditions:
        units = geometry.fill_inactive(units, active)
    return Pool(units, active, kind)


def propose(
    history: History,
    geometry: Geometry,
    n_candidates: int,
    generator: torch.Generator,
    fixed: Tensor | None = None,
) -> Pool:
    """The first pool of about ``n_candidates``: random alone until a trial has a score."""
    batch = len(geometry.present)
    if not bool(history.scored.any(-1).all()):
        units = _uniform(geometry, batch, n_candidates, generator)
        kind = torch.zeros(batch, n_candidates, dtype=torch.long)
        return finish(units, kind, geometry, fixed)
    counts = {name: max(1, int(share * n_candidates)) for name, share in SHARES.items()}
    makers = {"mutation": _mutate, "crossover": _cross, "density": _density, "local": _local}
    parts = [_uniform(geometry, batch, counts["random"], generator)]
    elites = _elites(history)
    parts += [make(elites, geometry, counts[name], generator) for name, make in makers.items()]
    kind = torch.cat([torch.full((counts[name],), KIND[name]) for name in ("random", *makers)])
    return finish(torch.cat(parts, 1), kind.expand(batch, -1), geometry, fixed)


def polish(
    centres: Pool,
    scale: float,
    n_each: int,
    geometry: Geometry,
    generator: torch.Generator,
    fixed: Tensor | None = None,
) -> Pool:
    """``n_each`` small moves of the numeric parameters around each centre."""
    centre = centres.units.repeat_interleave(n_each, 1)
    moved = _gaussian(centre, _choose_scale((scale, scale / 4), centre, generator), generator)
    # Half of the moves change one parameter only: coordinate search along ridges.
    single = torch.rand(centre.shape, generator=generator, dtype=torch.float64)
    alone = single == single.amax(-1, keepdim=True)
    half = torch.rand(centre.shape[:2], generator=generator, dtype=torch.float32)[..., None] < 0.5
    moved = torch.where(half & ~alone, centre, moved)
    units = torch.where(geometry.is_categorical[:, None], centre, moved)
    kind = torch.full(units.shape[:2], KIND["polish"])
    return finish(units, kind, geometry, fixed)


def _uniform(geometry: Geometry, batch: int, count: int, generator: torch.Generator) -> Tensor:
    shape = (batch, count, geometry.present.shape[-1])
    unit = torch.rand(shape, generator=generator, dtype=torch.float64)
    choice = (unit * geometry.n_cells[:, None]).floor()
    return torch.where(geometry.is_categorical[:, None], choice, unit)


class Elites(NamedTuple):
    """Trials by score, best first: ``order`` ``(B, n)``; ``n_scored`` ``(B, 1)`` of them."""

    history: History
    order: Tensor
    n_scored: Tensor


def _elites(history: History) -> Elites:
    scores = history.scores.masked_fill(~history.scored, -torch.inf)
    order = scores.argsort(descending=True, stable=True)
    return Elites(history, order, history.scored.sum(-1, keepdim=True).double())


def _parents(
    elites: Elites, geometry: Geometry, count: int, n_elites: float, generator: torch.Generator
) -> Tensor:
    """Units ``(B, count, d)`` of good trials, the better the likelier; inactive ones random.

    ``n_elites`` is the number of trials drawn from, or their share where below one.
    """
    history, order = elites.history, elites.order
    share = n_elites < 1
    limit = (elites.n_scored * n_elites).ceil() if share else elites.n_scored.clamp_max(n_elites)
    draw = torch.rand(len(order), count, generator=generator, dtype=torch.float64).square()
    rank = (draw * limit.clamp_min(1)).long()
    index = order.gather(1, rank)[..., None].expand(-1, -1, history.units.shape[-1])
    parents = history.units.gather(1, index)
    if not (geometry.has_conditions or geometry.has_gaps):
        return parents
    fresh = _uniform(geometry, len(order), count, generator)
    return torch.where(history.active.gather(1, index), parents, fresh)


def _mutate(elites: Elites, geometry: Geometry, count: int, generator: torch.Generator) -> Tensor:
    """One to three parameters of a good trial moved at one of several scales, or redrawn."""
    parent = _parents(elites, geometry, count, _N_ELITES, generator)
    moved = _gaussian(parent, _choose_scale(_MUTATION_SCALES, parent, generator), generator)
    # A move on a grid is at least about one cell wide.
    cell = 1 / geometry.n_cells[:, None].clamp_min(1)
    step = torch.where(
        torch.rand(parent.shape, generator=generator, dtype=torch.float32) < 0.5, -cell, cell
    )
    coarse = (geometry.n_cells[:, None] > 0) & ((moved - parent).abs() < cell)
    moved = torch.where(coarse, parent + step, moved)
    fresh = _uniform(geometry, len(parent), count, generator)
    redraw = torch.rand(parent.shape, generator=generator, dtype=torch.float32) < 0.25
    moved = torch.where(redraw | geometry.is_categorical[:, None], fresh, moved)
    order = torch.rand(parent.shape, generator=generator, dtype=torch.float32).masked_fill(
        ~geometry.present[:, None], 2.0
    )
    rank = order.argsort(-1).argsort(-1)
    n_changed = torch.randint(1, 4, (len(parent), count, 1), generator=generator)
    return torch.where(rank < n_changed, moved, parent)


def _cross(elites: Elites, geometry: Geometry, count: int, generator: torch.Generator) -> Tensor:
    """Every parameter from one of two good trials."""
    first = _parents(elites, geometry, count, _N_ELITES, generator)
    second = _parents(elites, geometry, count, _N_ELITES, generator)
    return torch.where(
        torch.rand(first.shape, generator=generator, dtype=torch.float32) < 0.5, first, second
    )


def _density(elites: Elites, geometry: Geometry, count: int, generator: torch.Generator) -> Tensor:
    """Every parameter drawn on its own from a kernel density of the good trials."""
    d = geometry.present.shape[-1]
    drawn = _parents(elites, geometry, count * d, _DENSITY_SHARE, generator)
    drawn = drawn.view(len(drawn), count, d, d).diagonal(dim1=-2, dim2=-1)
    fresh = _uniform(geometry, len(drawn), count, generator)
    redraw = torch.rand(drawn.shape, generator=generator, dtype=torch.float32) < 0.1
    moved = _gaussian(drawn, torch.full_like(drawn, _DENSITY_BANDWIDTH), generator)
    moved = torch.where(geometry.is_categorical[:, None], drawn, moved)
    return torch.where(redraw, fresh, moved)


def _local(elites: Elites, geometry: Geometry, count: int, generator: torch.Generator) -> Tensor:
    """All numeric parameters of one of the three best trials, moved a little."""
    parent = _parents(elites, geometry, count, 3, generator)
    scale = _choose_scale(_LOCAL_SCALES, parent, generator)
    moved = _gaussian(parent, scale, generator)
    return torch.where(geometry.is_categorical[:, None], parent, moved)


def _choose_scale(scales: tuple[float, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """One of ``scales`` for each row of ``like`` ``(B, m, d)``."""
    index = torch.randint(0, len(scales), like.shape[:2], generator=generator)
    return torch.tensor(scales, dtype=torch.float64)[index][..., None].expand(like.shape)


def _gaussian(centre: Tensor, scale: Tensor, generator: torch.Generator) -> Tensor:
    """A normal move that is reflected at the bounds of the unit interval."""
    noise = torch.randn(centre.shape, generator=generator, dtype=torch.float64)
    moved = centre + scale * noise
    return (1 - (1 - (moved % 2).abs()).abs()).clamp(0, 1)
