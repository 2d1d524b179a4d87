"""A person's guesses for parameters, as curves over their axes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


# Log density, at the least, of what a guess thinks nothing of.
WORST_GUESS = -4.0
_N_GRID = 64


@dataclass(frozen=True)
class Guesses:
    """Guesses for ``p`` parameters.

    Attributes:
        columns: ``(p,)`` the parameters' columns.
        curves: ``(p, k)`` plausibility over ``k`` cells of the unit interval, or over the choices
            (the rest is padding), standardised under uniform units.
        n_cells: ``(p,)`` number of cells or choices.
        is_categorical: ``(p,)``.
    """

    columns: Tensor
    curves: Tensor
    n_cells: Tensor
    is_categorical: Tensor

    def read(self, units: Tensor, active: Tensor) -> Tensor:
        """Plausibilities ``(p, m)`` of configurations ``(m, d)``, 0 where they lack the one."""
        own = units[:, self.columns].T
        scaled = torch.where(self.is_categorical[:, None], own, own * self.n_cells[:, None])
        cell = scaled.long().clamp_min(0).minimum(self.n_cells[:, None].long() - 1)
        return torch.where(active[:, self.columns].T, self.curves.gather(1, cell), 0.0)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Units ``(n, p)`` drawn from the guesses."""
        shape = self.curves.shape
        exists = torch.arange(shape[1]) < self.n_cells[:, None]
        density = torch.where(exists, (2 * self.curves).exp(), 0.0)
        cell = torch.multinomial(density, n, replacement=True, generator=generator).double()
        within = torch.rand(shape[0], n, generator=generator, dtype=torch.float64)
        numeric = (cell + within) / self.n_cells[:, None]
        return torch.where(self.is_categorical[:, None], cell, numeric).T


def plateau(low: float, high: float, spread: float) -> Tensor:
    """A curve that is flat from ``low`` to ``high`` (units) and falls off as a normal density."""
    centres = (torch.arange(_N_GRID, dtype=torch.float64) + 0.5) / _N_GRID
    outside = (low - centres).maximum(centres - high).clamp_min(0)
    return standardised((-0.5 * (outside / spread).square()).clamp_min(WORST_GUESS))


def standardised(curve: Tensor) -> Tensor:
    """A curve ``(k,)`` with mean 0 and standard deviation 1; 0 where it is flat."""
    centred = curve - curve.mean()
    std = centred.square().mean().sqrt()
    return centred / std if float(std) > 1e-9 else torch.zeros_like(curve)
