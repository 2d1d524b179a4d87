"""Tables of validation results: their file, and studies on them as tasks of ``rollout.play``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from optuna_rocket.space import MAX_PARENT_CELLS
from optuna_rocket.space import Geometry


PATH = Path("benchmarks/results/development_tables.npz")
# The noise of a table is that of its better configurations, at most that of a median one.
_BETTER_SHARE = 0.3
_MAX_NOISE = 1.0


@dataclass(frozen=True)
class Table:
    """Results of every configuration of a grid.

    Args:
        parameters: Names of the axes.
        categorical: Which of them have no order.
        values: One axis per parameter, then the two repeats; less is better.
    """

    parameters: tuple[str, ...]
    categorical: tuple[bool, ...]
    values: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of levels of every parameter."""
        return self.values.shape[:-1]

    def regret(self) -> NDArray[np.float64]:
        """Normalised regret of every configuration, flat: best 0, median 1."""
        mean = self._mean()
        return np.asarray((mean - mean.min()) / self._width())

    def noise(self) -> float:
        """Standard deviation of one repeat among the better configurations, as a regret."""
        mean = self._mean()
        better = mean <= np.quantile(mean, _BETTER_SHARE)
        first, second = self.values.astype(np.float64).reshape(len(mean), 2)[better].T
        return min(float(np.std(first - second) / np.sqrt(2) / self._width()), _MAX_NOISE)

    def _mean(self) -> NDArray[np.float64]:
        return np.asarray(self.values.astype(np.float64).mean(-1).ravel())

    def _width(self) -> float:
        return float(np.median(self._mean()) - self._mean().min())


def read_tables(path: Path) -> dict[str, Table]:
    """The tables of a file, by name; none where there is no file."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as file:
        names = sorted({key.partition(".")[0] for key in file.files})
        return {
            name: Table(
                tuple(str(parameter) for parameter in file[f"{name}.parameters"]),
                tuple(bool(flag) for flag in file[f"{name}.categorical"]),
                file[f"{name}.values"],
            )
            for name in names
        }


def write_tables(path: Path, tables: Mapping[str, Table]) -> None:
    """Write all tables; an interruption leaves the file as it was."""
    arrays: dict[str, Any] = {}
    for name, table in sorted(tables.items()):
        arrays[f"{name}.parameters"] = np.array(table.parameters)
        arrays[f"{name}.categorical"] = np.array(table.categorical)
        arrays[f"{name}.values"] = table.values
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    partial.replace(path)


class TableTasks:
    """Tables as a batch of tasks, with what ``rollout.play`` needs of ``training.tasks.Tasks``.

    Nothing fails, nothing is pruned and nothing is pending.

    Args:
        tables: The tables.
        copies: Number of studies on each; those of one table are neighbours in the batch.
    """

    def __init__(self, tables: Mapping[str, Table], copies: int = 1) -> None:
        self.names = tuple(tables)
        listed, width = list(tables.values()), max(len(x.shape) for x in tables.values())
        shape = (len(listed), width)
        n_cells, stride = torch.ones(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        categorical, present = torch.zeros(2, *shape, dtype=torch.bool)
        for row, table in enumerate(listed):
            used = slice(len(table.shape))
            n_cells[row, used] = torch.tensor(table.shape)
            categorical[row, used] = torch.tensor(table.categorical)
            present[row, used] = True
            stride[row, used] = torch.tensor(_strides(table.shape))
        flat = [torch.from_numpy(-table.regret()) for table in listed]
        first = torch.tensor([0] + [len(values) for values in flat[:-1]]).cumsum(0)
        study = torch.arange(len(listed)).repeat_interleave(copies)
        self._values = torch.cat(flat)
        self._first, self._stride, self._n_cells = first[study], stride[study], n_cells[study]
        self.geometry = Geometry(
            is_categorical=categorical[study],
            n_cells=torch.where(present, n_cells, 0).double()[study],
            present=present[study],
            parent=torch.full((len(study), width), -1),
            allowed=torch.ones(len(study), width, MAX_PARENT_CELLS, dtype=torch.bool),
        )
        self.noise = torch.tensor([x.noise() for x in listed], dtype=torch.float64)[study]
        self.early_noise = torch.full((len(study),), torch.nan, dtype=torch.float64)
        self.delay = 0

    def __len__(self) -> int:
        return len(self.noise)

    def evaluate(self, units: Tensor) -> Tensor:
        """True values ``(B, m)`` of units ``(B, m, d)``: minus the normalised regret."""
        cells = self._n_cells[:, None]
        index = torch.where(self.geometry.is_categorical[:, None], units, (units * cells).floor())
        index = index.long().clamp_min(0).minimum(cells - 1)
        return self._values[self._first[:, None] + (index * self._stride[:, None]).sum(-1)]

    def fails(self, units: Tensor) -> Tensor:
        """``(B, m)`` bool, never."""
        return torch.zeros(units.shape[:2], dtype=torch.bool)


def _strides(shape: tuple[int, ...]) -> list[int]:
    """By how much the flat index rises with each index."""
    return [int(np.prod(shape[axis + 1 :], dtype=int)) for axis in range(len(shape))]
