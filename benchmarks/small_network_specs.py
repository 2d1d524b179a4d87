"""Which small networks the development suite trains: data, hyperparameters and their levels."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
import torch
from torch import Tensor


# The trainer knows a choice by its index.
ACTIVATIONS = ("relu", "tanh", "gelu", "identity")
CONNECTIONS = ("plain", "skip", "none")
OPTIMIZERS = ("sgd", "momentum", "adam")
_CODES = {
    name: float(code)
    for names in (ACTIVATIONS, CONNECTIONS, OPTIMIZERS)
    for code, name in enumerate(names)
}
Level = float | str


@dataclass(frozen=True)
class Spec:
    """One table.

    Args:
        data: Name of the data, see ``load_data``.
        metric: ``error`` (share of wrong labels) or ``loss`` (as in training), on validation data.
        levels: Values of every hyperparameter of the table; names are choices without an order.
        checkpoints: Numbers of training steps, the last parameter of the table where there are
            several.
        fixed: Hyperparameters that differ from their default and do not vary.
    """

    data: str
    metric: str
    levels: Mapping[str, Sequence[Level]]
    checkpoints: Sequence[int]
    fixed: Mapping[str, float] = field(default_factory=dict)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the axes of the table."""
        return tuple(self.levels) + ("steps",) * (len(self.checkpoints) > 1)

    @property
    def categorical(self) -> tuple[bool, ...]:
        """Which axes have no order."""
        return tuple(
            name != "steps" and isinstance(self.levels[name][0], str) for name in self.parameters
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of levels of every axis."""
        n_checkpoints = len(self.checkpoints)
        n_levels = tuple(len(levels) for levels in self.levels.values())
        return n_levels + (n_checkpoints,) * (n_checkpoints > 1)

    def configurations(self) -> dict[str, NDArray[np.float64]]:
        """Hyperparameters of every network, the last one varying fastest; choices as codes."""
        codes = [[_code(level) for level in levels] for levels in self.levels.values()]
        grid = np.meshgrid(*codes, indexing="ij")
        columns = dict(zip(self.levels, (axis.ravel() for axis in grid), strict=True))
        n_networks = len(next(iter(columns.values())))
        return columns | {name: np.full(n_networks, value) for name, value in self.fixed.items()}


def _code(level: Level) -> float:
    return _CODES[level] if isinstance(level, str) else float(level)


def _log(low: float, high: float, count: int) -> list[float]:
    return [float(value) for value in np.geomspace(low, high, count)]


_CELLS: dict[str, Sequence[Level]] = {
    "act0": ACTIVATIONS,
    "act1": ACTIVATIONS,
    "act2": ACTIVATIONS,
    "conn1": CONNECTIONS,
    "conn2": CONNECTIONS,
    "optimizer": OPTIMIZERS,
}
SPECS = {
    "cancer_mixed": Spec(
        "cancer",
        "loss",
        {
            "lr": _log(1e-4, 3, 8),
            "weight_decay": _log(1e-5, 1, 6),
            "width": (1, 2, 4, 8, 16),
            "optimizer": OPTIMIZERS,
            "act": ACTIVATIONS,
        },
        (15, 30, 60),
    ),
    "diabetes": Spec(
        "diabetes",
        "loss",
        {
            "lr": _log(1e-3, 3, 8),
            "momentum": (0, 0.5, 0.9, 0.97),
            "weight_decay": _log(1e-5, 1, 6),
            "width": (2, 4, 8, 16),
            "gain": _log(0.1, 3, 4),
        },
        (10, 30, 90),
    ),
    "digits_adam": Spec(
        "digits",
        "loss",
        {
            "lr": _log(1e-3, 3, 7),
            "batch": (4, 8, 16, 32),
            "dropout": (0, 0.15, 0.3, 0.5),
            "gain": _log(0.1, 3, 5),
            "smoothing": (0, 0.1),
        },
        (15, 30, 60, 120),
    ),
    "digits_cells": Spec("digits", "error", _CELLS, (80,), {"lr": 0.03}),
    "digits_sgd": Spec(
        "digits",
        "error",
        {
            "lr": _log(1e-3, 3, 7),
            "momentum": (0, 0.5, 0.9, 0.98),
            "weight_decay": _log(1e-6, 1e-1, 5),
            "width": (2, 4, 8, 16),
            "depth": (1, 2, 3),
        },
        (15, 30, 60, 120),
    ),
    "moons": Spec(
        "moons",
        "loss",
        {
            "lr": _log(1e-3, 3, 7),
            "gain": _log(0.1, 5, 5),
            "width": (2, 4, 8, 16),
            "depth": (1, 2, 3),
            "weight_decay": _log(1e-6, 1e-1, 4),
            "cosine": (0, 1),
        },
        (40, 80, 160),
    ),
    "teacher_cells": Spec("teacher", "error", {"lr": (0.01, 0.1), **_CELLS}, (120,)),
    "teacher_full": Spec(
        "teacher",
        "error",
        {
            "lr": _log(1e-3, 1, 5),
            "optimizer": OPTIMIZERS,
            "act": ("relu", "tanh", "identity"),
            "width": (4, 8, 16),
            "dropout": (0, 0.2, 0.4),
            "weight_decay": _log(1e-5, 1e-1, 3),
            "batch": (8, 32),
        },
        (40, 80, 160),
    ),
    "wine_mixed": Spec(
        "wine",
        "loss",
        {
            "lr": _log(1e-3, 1, 6),
            "batch": (2, 4, 8, 16, 32),
            "optimizer": OPTIMIZERS,
            "act": ACTIVATIONS,
            "cosine": (0, 1),
            "dropout": (0, 0.2, 0.5),
        },
        (15, 45, 90),
    ),
}


def load_data(name: str) -> tuple[Tensor, Tensor]:
    """Inputs ``(n, d)`` and targets ``(n,)``, in a random order that is always the same.

    Targets are labels, or numbers (float) where the task is a regression.
    """
    x, y = _raw_data(name)
    order = np.random.default_rng(0).permutation(len(x))
    target = torch.float32 if y.dtype.kind == "f" else torch.long
    return torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order], dtype=target)


def _raw_data(name: str) -> tuple[NDArray[np.float64], NDArray[np.generic]]:
    if name == "digits":
        x, y = datasets.load_digits(return_X_y=True)
        return x / 16, y
    if name == "cancer":
        x, y = datasets.load_breast_cancer(return_X_y=True)
        return _standardised(x), y
    if name == "wine":
        x, y = datasets.load_wine(return_X_y=True)
        return _standardised(x), y
    if name == "diabetes":
        x, y = datasets.load_diabetes(return_X_y=True)
        return x * 20, _standardised(y)
    if name == "teacher":
        x, y = datasets.make_classification(
            1500,
            20,
            n_informative=8,
            n_redundant=4,
            n_classes=4,
            n_clusters_per_class=3,
            flip_y=0.05,
            random_state=1,
        )
        return _standardised(x), y
    if name == "moons":
        x, y = datasets.make_moons(1200, noise=0.25, random_state=2)
        inert = np.random.default_rng(3).normal(size=(1200, 6))
        return np.concatenate([x, inert], 1), y
    raise ValueError(f"no data of name {name!r}")


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - values.mean(0)) / values.std(0))
