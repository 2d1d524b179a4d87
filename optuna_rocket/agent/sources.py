"""Earlier studies as memories over today's space, a batch of them."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

import torch
from torch import Tensor

from optuna_rocket.agent import fitting
from optuna_rocket.agent import memory
from optuna_rocket.agent.gram import MemoryWeights
from optuna_rocket.agent.kernels import Columns
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.history import History
from optuna_rocket.scores import Scale
from optuna_rocket.space import Geometry


_FIT_STEPS = 20
_CHUNK = 16
_N_ANCHORS = 64
_N_ELITES = 3
# Configurations times memories that are read at once: what more would need is memory.
_MOST_READ = 8192
# Configurations whose forecasts are kept.
_MOST_KEPT = 4096


@dataclass(frozen=True)
class Sources:
    """Memories of ``S`` earlier studies over today's space.

    Attributes:
        remembered: The memories, a batch of ``S``.
        elites: ``(S, e, d)`` units of each one's best trials, NaN where a parameter is missing.
        consensus: ``(S,)`` mean correlation of what each says with what all say, itself included.
    """

    remembered: Conditioned
    elites: Tensor
    consensus: Tensor
    _known: dict[int, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.consensus)

    @property
    def agreement(self) -> Tensor:
        """``(S,)`` the same with what the others say, 0 for one alone."""
        count = len(self)
        return (count * self.consensus - 1) / (count - 1) if count > 1 else 0 * self.consensus

    def read(self, units: Tensor, active: Tensor, index: Tensor | None = None) -> Tensor:
        """Expected scores ``(S or k, m)`` of configurations ``(m, d)``."""
        chosen = self.remembered if index is None else memory.part(self.remembered, index)
        s = len(chosen.alpha)
        parts = [
            memory.means(chosen, some.expand(s, *some.shape), on.expand(s, *on.shape))
            for some, on in zip(
                units.split(max(_MOST_READ // s, 1)),
                active.split(max(_MOST_READ // s, 1)),
                strict=True,
            )
        ]
        return torch.cat(parts, -1)

    def said(self, units: Tensor, active: Tensor, used: Tensor) -> Tensor:
        """What the sources ``used`` ``(k,)`` say of configurations ``(m, d)``: ``(k, m)``."""
        listed = self._keys(units, active)
        if all(key in self._known for key in listed):
            return self._kept(listed)[used]
        return self.read(units, active, used)

    def table(self, units: Tensor, active: Tensor) -> Tensor:
        """What all sources say of trials ``(n, d)``: ``(S, n)``; kept, as it stays."""
        listed = self._keys(units, active)
        fresh = [i for i, key in enumerate(listed) if key not in self._known]
        if fresh:
            if len(self._known) > _MOST_KEPT:
                self._known.clear()
                fresh = list(range(len(listed)))
            read = self.read(units[fresh], active[fresh])
            for i, column in zip(fresh, read.T, strict=True):
                self._known[listed[i]] = column
        return self._kept(listed)

    def _kept(self, listed: list[int]) -> Tensor:
        if not listed:
            return torch.zeros(len(self), 0, dtype=torch.float64)
        return torch.stack([self._known[key] for key in listed], -1)

    def _keys(self, units: Tensor, active: Tensor) -> list[int]:
        keys = self.remembered.geometry.keys(torch.cat([units, active.double()], -1))
        return [int(key) for key in keys.tolist()]

    def turned(self) -> Sources:
        """The same studies with the worst for the best; their best trials are then the worst."""
        history = self.remembered.history
        return remember(replace(history, scores=-history.scores), self.remembered.geometry)


def remember(history: History, geometry: Geometry) -> Sources:
    """The memories of earlier studies.

    Args:
        history: A batch of ``S``; shorter studies end in trials without a score.
        geometry: A batch of ``S``; a parameter is present where the study had it.
    """
    parts = []
    for first in range(0, len(history.scores), _CHUNK):
        index = torch.arange(first, min(first + _CHUNK, len(history.scores)))
        some, space = history.studies(index), geometry.take(index)
        weights = fitting.fit(some, space, fitting.prior_weights(space), _FIT_STEPS)
        parts.append(memory.condition(some, space, weights))
    remembered = _joined(parts, history, geometry)
    scores = history.scores.masked_fill(~history.scored, -torch.inf)
    best = scores.topk(min(_N_ELITES, scores.shape[1]), -1).indices
    gone = geometry.is_categorical[:, None] & (history.units >= geometry.n_cells[:, None])
    elites = history.units.masked_fill(~history.active | gone, torch.nan)
    elites = elites.gather(1, best[..., None].expand(*best.shape, elites.shape[-1]))
    sources = Sources(remembered, elites, torch.zeros(len(scores), dtype=torch.float64))
    anchors = _anchors(geometry.take(torch.zeros(1, dtype=torch.long)))
    on = torch.ones_like(anchors, dtype=torch.bool)
    said = sources.read(anchors, on)
    said = said - said.mean(-1, keepdim=True)
    said = said / said.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    return Sources(remembered, elites, said @ said.mean(0))


def _joined(parts: list[Conditioned], history: History, geometry: Geometry) -> Conditioned:
    """One batch of all memories, with what ``memory.means`` needs of them."""
    cat = torch.cat
    weights = [x.weights for x in parts]
    blank = torch.zeros(0, dtype=torch.float64)
    return Conditioned(
        history,
        geometry,
        MemoryWeights(
            cat([x.relevance for x in weights]),
            cat([x.outputscale for x in weights]),
            cat([x.noise for x in weights]),
        ),
        scale=Scale(*[blank] * 5),
        scored=cat([x.scored for x in parts]),
        level=cat([x.level for x in parts]),
        alpha=cat([x.alpha for x in parts]),
        known=blank,
        inverse=blank,
        failure_base=None,
        failure_alpha=None,
        incumbent=blank,
        fitted=blank,
        rows=Columns(
            cat([x.rows.numeric for x in parts]),
            cat([x.rows.categorical for x in parts]),
            cat([x.rows.relevance for x in parts]),
        ),
    )


def _anchors(geometry: Geometry) -> Tensor:
    """Random configurations ``(m, d)``, the same at every call."""
    draws = torch.rand(
        _N_ANCHORS,
        geometry.present.shape[-1],
        generator=torch.Generator(device="cpu").manual_seed(0),
        dtype=torch.float64,
    )
    return geometry.drawn(draws[None])[0]
