"""Synthetic tasks: random spaces, random functions, and what real studies do to results.

A batch of tasks shares its (padded) number of parameters and its clock; everything else differs
from task to task. Values are normalised so that the best is 0 and the median configuration -1: a
value is minus a normalised regret.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Protocol

import torch
from torch import Tensor

from optuna_rocket.space import MAX_PARENT_CELLS
from optuna_rocket.space import Geometry
from optuna_rocket.training.functions import FAMILIES
from optuna_rocket.training.functions import Function


MAX_CHOICES = 24
_MOST_PARAMS = 12
_N_SAMPLES = 512
WORST = -50.0
MAX_DELAY = 5


class Playable(Protocol):
    """A batch of ``B`` tasks, as far as players are concerned: see ``Tasks``."""

    @property
    def geometry(self) -> Geometry:
        """Their spaces."""

    @property
    def noise(self) -> Tensor:
        """``(B,)`` standard deviation of an observation."""

    @property
    def early_noise(self) -> Tensor:
        """``(B,)`` extra deviation of a rung's result; NaN where nothing is pruned."""

    @property
    def delay(self) -> int:
        """Number of trials that are pending whenever one is suggested."""

    def __len__(self) -> int: ...

    def evaluate(self, units: Tensor) -> Tensor:
        """True values ``(B, m)`` of filled-in units ``(B, m, d)``: 0 best, -1 median."""

    def fails(self, units: Tensor) -> Tensor:
        """``(B, m)`` bool."""


@dataclass(frozen=True)
class Tasks:
    """A batch of ``B`` tasks.

    Attributes:
        geometry: Their spaces.
        functions: Function of each chunk of tasks (a chunk is one family).
        chunks: Number of tasks of each chunk.
        embedding: ``(B, d, MAX_CHOICES)`` where each choice lies on its column's axis.
        warp: ``(B, d)`` exponent of each numeric column.
        middle: ``(B, d)`` where each column is best, as far as people knew when they chose its
            range; near its centre.
        tilt: ``(B, d)`` how strongly values far from there are worse.
        shift, scale: ``(B,)`` of the raw function.
        bend: ``(B, 3)`` strength of the good and the bad tail, level of the plateau.
        best, median: ``(B,)`` after bending.
        noise: ``(B,)`` standard deviation of an observation.
        nugget: ``(B,)`` standard deviation of what is each configuration's own, before bending:
            real tables are rough, because a configuration's mean is itself measured.
        failure: ``(B, d + 1)`` direction and threshold beyond which trials fail.
        early_noise: ``(B,)`` extra deviation of a rung's result; NaN where nothing is pruned.
        delay: Number of trials that are pending whenever one is suggested.
    """

    geometry: Geometry
    functions: tuple[Function, ...]
    chunks: tuple[int, ...]
    embedding: Tensor
    warp: Tensor
    middle: Tensor
    tilt: Tensor
    shift: Tensor
    scale: Tensor
    bend: Tensor
    best: Tensor
    median: Tensor
    noise: Tensor
    nugget: Tensor
    failure: Tensor
    early_noise: Tensor
    delay: int

    def __len__(self) -> int:
        return len(self.noise)

    def evaluate(self, units: Tensor) -> Tensor:
        """True values ``(B, m)`` of filled-in units ``(B, m, d)``: 0 best, -1 median."""
        bent = _bend(self._raw(units), self.shift, self.scale, self.bend)
        width = (self.best - self.median).clamp_min(1e-6)[:, None]
        return ((bent - self.best[:, None]) / width).clamp(WORST, 0)

    def fails(self, units: Tensor) -> Tensor:
        """``(B, m)`` bool."""
        x = self._inputs(units)
        return (x * self.failure[:, None, :-1]).sum(-1) > self.failure[:, -1:]

    def _inputs(self, units: Tensor) -> Tensor:
        index = units.clamp(0, MAX_CHOICES - 1).long()
        placed = self.embedding.gather(-1, index.transpose(1, 2)).transpose(1, 2)
        placed = torch.where(units < 0, 0.5, placed)  # an inactive choice
        numeric = units.clamp(0, 1).float() ** self.warp[:, None]
        return torch.where(self.geometry.is_categorical[:, None], placed, numeric)

    def _raw(self, units: Tensor) -> Tensor:
        parts = self._inputs(units).split(list(self.chunks))
        values = [f(x) for f, x in zip(self.functions, parts, strict=True)]
        unwarped = torch.where(self.geometry.is_categorical[:, None], 0.5, units)
        far = (self.tilt[:, None] * (unwarped - self.middle[:, None]).square()).sum(-1)
        rough = self.nugget[:, None] * _hashed_normal(self.geometry.keys(units))
        values64 = torch.cat(values).double()
        return values64 - far + self.scale[:, None] * rough


def sample_tasks(n_tasks: int, generator: torch.Generator) -> Tasks:
    """Draw ``n_tasks`` tasks (rounded up to a multiple of the number of families)."""
    per_family = -(-n_tasks // len(FAMILIES))
    batch = per_family * len(FAMILIES)
    d = round(math.exp(_uniform(generator, math.log(3.51), math.log(_MOST_PARAMS + 0.49))))
    geometry = _sample_geometry(batch, d, generator)
    importance = _sample_importance(geometry, generator)
    functions = tuple(
        family(chunk, generator)
        for family, chunk in zip(FAMILIES, importance.split(per_family), strict=True)
    )
    rand = torch.rand(batch, 8, generator=generator, dtype=torch.float64)
    quiet = 0.03 * rand[:, 0]
    loud = torch.exp(math.log(0.03) + rand[:, 0] * math.log(10))
    tail = torch.where(rand[:, 2:4] < 0.5, 0.0, rand[:, 2:4] * 2)
    plateau = torch.where(rand[:, 4] < 0.7, -torch.inf, (rand[:, 4] - 0.85) * 8)
    blank = torch.zeros(batch, dtype=torch.float64)
    tasks = Tasks(
        geometry=geometry,
        functions=functions,
        chunks=(per_family,) * len(FAMILIES),
        embedding=torch.rand(batch, d, MAX_CHOICES, generator=generator),
        warp=torch.exp(0.4 * torch.randn(batch, d, generator=generator)),
        middle=0.5 + 0.15 * torch.randn(batch, d, generator=generator, dtype=torch.float64),
        tilt=_sample_tilt(importance, generator),
        shift=blank,
        scale=blank + 1,
        bend=torch.stack([tail[:, 0], tail[:, 1], plateau], -1),
        best=blank,
        median=blank,
        noise=torch.where(rand[:, 1] < 0.3, quiet, loud),
        nugget=torch.where(rand[:, 6] < 0.3, 0.0, 0.3 * rand[:, 7]),
        failure=torch.cat([torch.zeros(batch, d), torch.ones(batch, 1)], -1),
        early_noise=torch.where(rand[:, 5] < 0.85, torch.nan, (rand[:, 5] - 0.85) * 4),
        delay=0 if _uniform(generator, 0, 1) < 0.7 else int(_uniform(generator, 1, MAX_DELAY + 1)),
    )
    return _calibrate(tasks, generator)


def _sample_geometry(batch: int, d: int, generator: torch.Generator) -> Geometry:
    low = max(2, d // 2)
    n_params = torch.randint(low, d + 1, (batch, 1), generator=generator)
    present = torch.arange(d) < n_params
    # Style of a space: all continuous, all grids, all categorical, or a mixture.
    style = torch.rand(batch, 1, generator=generator)
    draw = torch.rand(batch, d, generator=generator)
    mixed_categorical, mixed_grid = draw < 0.3, (draw >= 0.3) & (draw < 0.6)
    is_categorical = torch.where(style < 0.65, style >= 0.5, mixed_categorical) & present
    is_grid = torch.where(style < 0.65, (style >= 0.3) & (style < 0.5), mixed_grid) & present
    draw = torch.rand(batch, d, generator=generator, dtype=torch.float64)
    few, many = (2 + draw * 7).floor(), (9 + draw * (MAX_CHOICES - 8)).floor()
    long = torch.rand(batch, d, generator=generator) < 0.15
    choices = torch.where(long, many, few)
    cells = torch.exp(math.log(2) + draw * math.log(25)).round()
    n_cells = torch.where(is_categorical, choices, torch.where(is_grid, cells, 0.0))
    # In some spaces the first column is a choice that switches most of the others on and off.
    is_tree = torch.rand(batch, 1, generator=generator) < 0.25
    is_categorical[:, :1] |= is_tree
    n_cells[:, :1] = torch.where(is_tree, (2 + 4 * draw[:, :1]).floor(), n_cells[:, :1])
    parent, allowed = _sample_conditions(n_cells, present, is_tree, generator)
    return Geometry(is_categorical, n_cells, present, parent, allowed)


def _sample_conditions(
    n_cells: Tensor, present: Tensor, is_tree: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Parent and allowed cells; the first column, where it has few values, is the parent."""
    batch, d = n_cells.shape
    can = (n_cells[:, :1] > 1) & (n_cells[:, :1] <= 8)
    can = can & (is_tree | (torch.rand(batch, 1, generator=generator) < 0.4))
    share = torch.where(is_tree, 0.7, 0.4)
    conditional = can & (torch.rand(batch, d, generator=generator) < share) & present
    conditional[:, 0] = False
    parent = torch.where(conditional, 0, torch.full((batch, d), -1))
    # A parameter of a tree belongs to one branch, others to about half of the values.
    draw = torch.rand(batch, d, 1, generator=generator)
    branch = (draw * n_cells[:, :1, None]).floor() == torch.arange(MAX_PARENT_CELLS)
    half = torch.rand(batch, d, MAX_PARENT_CELLS, generator=generator) < 0.5
    allowed = torch.where(is_tree[..., None], branch, half) | ~conditional[..., None]
    return parent, allowed


def _sample_importance(geometry: Geometry, generator: torch.Generator) -> Tensor:
    """``(B, d)``: log-normal, a fifth of the columns inert, at least one of importance one."""
    shape = geometry.present.shape
    importance = torch.exp(0.5 * torch.randn(shape, generator=generator))
    inert_share = 0.4 * torch.rand(shape[0], 1, generator=generator)
    inert = torch.rand(shape, generator=generator) < inert_share
    importance = torch.where(inert | ~geometry.present, 0.0, importance)
    return torch.where(
        (importance.sum(-1, keepdim=True) == 0) & (torch.arange(shape[1]) == 0), 1.0, importance
    )


def _sample_tilt(importance: Tensor, generator: torch.Generator) -> Tensor:
    """``(B, d)``: three quarters of the tasks have ranges that were chosen around good values.

    In every one of our own tables of small networks the corners of the space are worse than its
    middle (``benchmarks/README.md``).
    """
    strength = torch.rand(len(importance), 1, generator=generator, dtype=torch.float64) * 1.5
    strength = torch.where(
        torch.rand(len(importance), 1, generator=generator) < 0.25, 0.0, strength
    )
    # The square of a uniform number's distance from the middle has a deviation of about 0.08.
    weight = importance.double()
    length = weight.square().sum(-1, keepdim=True).sqrt()
    return strength * weight / (0.08 * length)


def _bend(raw: Tensor, shift: Tensor, scale: Tensor, bend: Tensor) -> Tensor:
    """Standardise, make exponential tails above and below zero, and a chance plateau."""
    z = (raw - shift[:, None]) / scale[:, None]
    good, bad, level = (column[:, None] for column in bend.unbind(-1))
    # Only a hint of the slope is left on the plateau.
    hint = torch.where(z < level, 1e-3 * (z - level), 0.0)
    return _tails(z.maximum(level), good, bad) + hint


def _tails(z: Tensor, good: Tensor, bad: Tensor) -> Tensor:
    upper = torch.where(good > 0, torch.expm1(good * z.clamp(0, 6)), z)
    lower = torch.where(bad > 0, -torch.expm1(-bad * z.clamp(-6, 0)), z)
    return torch.where(z > 0, upper, lower)


def _calibrate(tasks: Tasks, generator: torch.Generator) -> Tasks:
    """Measure shift, scale, best and median on samples; draw failure regions."""
    geometry = tasks.geometry
    units = random_units(geometry, _N_SAMPLES, generator)
    raw = _replace(tasks, nugget=torch.zeros_like(tasks.nugget))._raw(units)
    tasks = _replace(tasks, shift=raw.mean(-1), scale=raw.std(-1).clamp_min(1e-6))
    bent = _bend(tasks._raw(units), tasks.shift, tasks.scale, tasks.bend)
    median = bent.median(-1).values
    for scale in (0.1, 0.03, 0.01, 0.003):  # a short evolutionary search for the best
        top = bent.topk(16, -1).indices
        parents = units.gather(1, top[..., None].expand(-1, -1, units.shape[-1]))
        parents = parents.repeat_interleave(16, 1)
        units = torch.cat([parents, mutated(geometry, parents, scale, generator)], 1)
        bent = _bend(tasks._raw(units), tasks.shift, tasks.scale, tasks.bend)
    best = bent.amax(-1)
    # At least half of a task is not solved by the median already.
    best = torch.maximum(best, median + 1e-3)
    tasks = _replace(tasks, best=best, median=median)
    return _replace(tasks, failure=_sample_failure(tasks, generator))


def _sample_failure(tasks: Tasks, generator: torch.Generator) -> Tensor:
    """A half-space over one to three columns for a fifth of the tasks."""
    batch, d = tasks.warp.shape
    direction = torch.randn(batch, d, generator=generator)
    chosen = torch.rand(batch, d, generator=generator)
    direction = direction * (chosen >= chosen.topk(min(3, d), -1).values[:, -1:])
    x = tasks._inputs(random_units(tasks.geometry, _N_SAMPLES, generator))
    share = 0.05 + 0.55 * torch.rand(batch, generator=generator)
    projection = (x * direction[:, None]).sum(-1).sort(-1).values
    index = ((1 - share) * (_N_SAMPLES - 1)).long()
    threshold = projection.gather(1, index[:, None])
    fails = torch.rand(batch, 1, generator=generator) < 0.2
    threshold = torch.where(fails, threshold, torch.inf)
    return torch.cat([direction, threshold], -1)


def random_units(geometry: Geometry, count: int, generator: torch.Generator) -> Tensor:
    """Uniform configurations ``(B, count, d)``."""
    shape = (len(geometry.present), count, geometry.present.shape[1])
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return _fill(geometry, geometry.drawn(uniform))


def mutated(
    geometry: Geometry, parents: Tensor, scale: float, generator: torch.Generator
) -> Tensor:
    """Configurations ``(B, m, d)`` moved by ``scale`` (units), one in seven values drawn anew."""
    step = scale * torch.randn(parents.shape, generator=generator, dtype=torch.float64)
    fresh = random_units(geometry, parents.shape[1], generator)
    redraw = torch.rand(parents.shape, generator=generator) < 0.15
    redraw = redraw | ((parents < 0) & (fresh >= 0))
    children = torch.where(geometry.is_categorical[:, None], parents, parents + step)
    return _fill(geometry, torch.where(redraw, fresh, children))


def repeat_geometry(geometry: Geometry, times: int) -> Geometry:
    """Every space ``times`` times in a row."""
    return geometry.take(torch.arange(len(geometry.present)).repeat_interleave(times))


def _fill(geometry: Geometry, units: Tensor) -> Tensor:
    units = geometry.snap(units)
    return geometry.fill_inactive(units, geometry.activity(units))


def _replace(tasks: Tasks, **changes: Tensor) -> Tasks:
    return Tasks(**{**tasks.__dict__, **changes})


def _hashed_normal(keys: Tensor) -> Tensor:
    """A standard normal number for every key, always the same."""
    mixed = keys * 0x2545F4914F6CDD1D
    mixed = mixed ^ ((mixed >> 29) & 0x7FFFFFFFF)
    unit = ((mixed * 0x369DEA0F31A53F85) >> 11).remainder(2**40).double() / 2**40
    return torch.as_tensor(torch.special.ndtri(unit.clamp(1e-6, 1 - 1e-6)))


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
