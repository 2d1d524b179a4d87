"""What all pictures of ``benchmarks.gallery`` need: models with names, panels, examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np
from torch import Tensor
from torch import nn


@dataclass(frozen=True)
class Trained:
    """A model with what it was trained with.

    Attributes:
        name: Of the recipe, with its score on the test part.
        model: In evaluation mode.
    """

    name: str
    model: nn.Module


def panels(n_rows: int, n_columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """A figure and its axes ``(n_rows, n_columns)``, each of a width and a height in inches."""
    figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def spread(n: int, n_examples: int) -> list[int]:
    """Examples that are spread over a part of ``n``."""
    return [int(i) for i in np.linspace(0, n - 1, n_examples + 2)[1:-1]]


def show(panel: Axes, picture: Tensor, title: str) -> None:
    """Draw ``(height, width)`` or ``(channels, height, width)``, from black to white."""
    values = picture.float()
    if values.ndim == 3:  # channels first
        values = values[0] if len(values) == 1 else values.movedim(0, -1)
    low, high = values.min(), values.max()
    panel.imshow(((values - low) / (high - low).clamp_min(1e-6)).numpy(), cmap="gray")
    panel.set_title(title, fontsize=8)
    panel.set_axis_off()
