"""Tasks made of past studies: the memory of a study, read as the truth of another one like it.

A task leaves out some of the study's trials, so that no two are the same, and its results are as
noisy as the study's own were around the memory. Where a study has no trials its surrogate returns
to the level of its memory. Failures are not modelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import torch
from torch import Tensor

from optuna_rocket.agent import fitting
from optuna_rocket.agent import memory
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.history import ALWAYS_THERE
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.scores import invert_transform
from optuna_rocket.space import Geometry
from optuna_rocket.training.tasks import MAX_DELAY
from optuna_rocket.training.tasks import WORST
from optuna_rocket.training.tasks import mutated
from optuna_rocket.training.tasks import random_units


_KEPT_SHARE = 0.8
_FIT_STEPS = 20
_N_SAMPLES = 512
_STEPS = (0.1, 0.03, 0.01)
_MOST_NOISE = 0.3
_DELAYED_SHARE = 0.3


@dataclass(frozen=True)
class SurrogateTasks:
    """A batch of ``B`` tasks; a ``tasks.Playable``.

    Attributes:
        geometry: Their spaces.
        remembered: The memories of the past studies.
        best, median: ``(B,)`` scores of the best and of the median configuration.
        noise: ``(B,)`` standard deviation of an observation, as a normalised value.
        early_noise: ``(B,)`` NaN: nothing is pruned.
        delay: Number of trials that are pending whenever one is suggested.
    """

    geometry: Geometry
    remembered: Conditioned
    best: Tensor
    median: Tensor
    noise: Tensor
    early_noise: Tensor
    delay: int

    def __len__(self) -> int:
        return len(self.noise)

    def evaluate(self, units: Tensor) -> Tensor:
        """True values ``(B, m)`` of filled-in units ``(B, m, d)``: 0 best, -1 median."""
        width = (self.best - self.median)[:, None]
        value = (_scores(self.remembered, units) - self.best[:, None]) / width
        return value.clamp(WORST, 0)

    def fails(self, units: Tensor) -> Tensor:
        """``(B, m)`` bool, False."""
        return torch.zeros(units.shape[:2], dtype=torch.bool)


def surrogate_tasks(
    past: Sequence[tuple[History, Geometry]], n_tasks: int, generator: torch.Generator
) -> SurrogateTasks:
    """Tasks made of past studies, each of a random one.

    Args:
        past: Trials with scores and the space of every study, batches of one.
        n_tasks: B.
        generator: Which studies, and which trials are left out.
    """
    chosen = torch.randint(len(past), (n_tasks,), generator=generator).tolist()
    history, geometry = _batch([past[i] for i in chosen])
    history = _thinned(history, generator)
    weights = fitting.fit(history, geometry, fitting.prior_weights(geometry), _FIT_STEPS)
    remembered = memory.condition(history, geometry, weights)
    best, median = _extent(remembered, generator)
    gap = (history.scores - _scores(remembered, history.units)).abs()
    noise = 1.48 * gap.masked_fill(~history.scored, torch.nan).nanmedian(-1).values
    is_late = float(torch.rand((), generator=generator)) < _DELAYED_SHARE
    return SurrogateTasks(
        geometry,
        remembered,
        best,
        median,
        noise=(noise / (best - median)).clamp(0, _MOST_NOISE),
        early_noise=torch.full((n_tasks,), torch.nan, dtype=torch.float64),
        delay=int(torch.randint(1, MAX_DELAY + 1, (), generator=generator)) if is_late else 0,
    )


def _scores(remembered: Conditioned, units: Tensor) -> Tensor:
    """Scores ``(B, m)`` that the memories expect, in the studies' own scales."""
    active = remembered.geometry.activity(units)
    history = remembered.history
    transformed = memory.means(remembered, units, active)
    return invert_transform(history.scores, history.comparable, transformed)


def _thinned(history: History, generator: torch.Generator) -> History:
    """The same without the scores of some trials, never of a study's best and worst."""
    draw = torch.rand(history.scores.shape, generator=generator)
    best = history.scores.masked_fill(~history.scored, -torch.inf).argmax(-1)
    worst = history.scores.masked_fill(~history.scored, torch.inf).argmin(-1)
    draw = draw.scatter(-1, torch.stack([best, worst], -1), 0.0)
    return replace(history, scores=history.scores.masked_fill(draw > _KEPT_SHARE, torch.nan))


def _extent(remembered: Conditioned, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Best score that a short evolutionary search finds, and the median of random ones."""
    geometry = remembered.geometry
    units = random_units(geometry, _N_SAMPLES, generator)
    scores = _scores(remembered, units)
    median = scores.median(-1).values
    units = torch.cat([units, remembered.history.units], 1)
    for step in _STEPS:
        scores = _scores(remembered, units)
        top = scores.topk(16, -1).indices[..., None].expand(-1, -1, units.shape[-1])
        children = mutated(geometry, units.gather(1, top).repeat_interleave(8, 1), step, generator)
        units = torch.cat([units, children], 1)
    best = _scores(remembered, units).amax(-1)
    span = (best - median).abs().clamp_min(best.abs().clamp_min(1e-6) * 1e-6)
    return best, torch.minimum(median, best - span)


def _batch(past: Sequence[tuple[History, Geometry]]) -> tuple[History, Geometry]:
    """Studies as one batch: short ones end in unscored trials, small spaces in absent columns."""
    n = max(history.n_trials for history, _ in past)
    d = max(geometry.present.shape[1] for _, geometry in past)
    histories = [_padded_history(history, n, d) for history, _ in past]
    holds = any(geometry.held is not None for _, geometry in past)
    space, *others = [_padded_geometry(geometry, d, holds) for _, geometry in past]
    history = History(
        **{name: torch.cat([getattr(x, name) for x in histories]) for name in ALWAYS_THERE}
    )
    geometry = space.each(lambda *fields: torch.cat(fields), *others)
    return history, replace(geometry, has_gaps=any(x.has_gaps for _, x in past))


def _padded_history(history: History, n: int, d: int) -> History:
    more, wider = n - history.n_trials, d - history.units.shape[-1]
    return History.of(
        units=_grown(history.units, more, wider, 0.0),
        active=_grown(history.active, more, wider, False),
        outcomes=_grown(history.outcomes, more, None, int(Outcome.COMPLETE)),
        scores=_grown(history.scores, more, None, torch.nan),
        fidelity=_grown(history.fidelity, more, None, 1.0),
    )


def _padded_geometry(geometry: Geometry, d: int, holds: bool) -> Geometry:
    """The same in ``d`` columns; ``holds``: whether a parameter of some study has gone."""
    wider = d - geometry.present.shape[1]
    bounds, held = geometry.log_bounds, geometry.held
    if bounds is None:
        bounds = torch.zeros(1, 2, d - wider, dtype=torch.float64)
    if held is None and holds:
        held = torch.full((1, d - wider), torch.nan, dtype=torch.float64)
    return replace(
        geometry,
        is_categorical=_grown(geometry.is_categorical, wider, None, False),
        n_cells=_grown(geometry.n_cells, wider, None, 0.0),
        present=_grown(geometry.present, wider, None, False),
        parent=_grown(geometry.parent, wider, None, -1),
        allowed=_grown(geometry.allowed, wider, 0, True),
        log_bounds=_grown(bounds, 0, wider, 0.0),
        held=None if held is None else _grown(held, wider, None, torch.nan),
    )


def _grown(values: Tensor, more: int, wider: int | None, filler: float | bool) -> Tensor:
    """``(1, n)`` or ``(1, n, d)`` with so many more rows and columns."""
    pads = (0, more) if wider is None else (0, wider, 0, more)
    return torch.nn.functional.pad(values, pads, value=filler)
