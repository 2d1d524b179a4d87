"""One pool of a study as the memories of its objectives, or of its constraints, read it."""

from __future__ import annotations

from torch import Tensor

from optuna_rocket.agent import memory
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.proposals import Pool


def read(remembered: Conditioned, pool: Pool) -> Reading:
    """What a batch of ``k`` memories says of the ``c`` candidates of a pool, ``(k, c)``."""
    wide = _beside(pool, len(remembered.incumbent))
    return memory.read(remembered, wide.units, wide.active)


def means(remembered: Conditioned, pool: Pool) -> Tensor:
    """``Reading.mean`` of ``read`` alone, at a fraction of the cost."""
    wide = _beside(pool, len(remembered.incumbent))
    return memory.means(remembered, wide.units, wide.active)


def _beside(pool: Pool, k: int) -> Pool:
    """The same pool for each of a batch of ``k``."""
    return Pool(*(x.expand(k, *x.shape[1:]) for x in (pool.units, pool.active, pool.kind)))
