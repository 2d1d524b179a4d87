"""Time-series classification with three kinds of convolutional network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import optuna
import torch
from torch import Tensor
from torch import nn

from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import conv1d
from benchmarks.deep_learning.layers import linear
from benchmarks.deep_learning.sources.series import load_series
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Augmentation
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import accuracy
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_log
from benchmarks.deep_learning.training import suggest_optimisation


def _suggest(shrinkages: tuple[int, ...], trial: optuna.trial.BaseTrial) -> dict[str, Value]:
    """Suggest the 15 hyperparameters, four of them conditional."""
    params = suggest_optimisation(trial, (3, 6)) | {
        "network": trial.suggest_categorical("network", list(_NETWORKS)),
        "width": trial.suggest_int("width", 4, 16, step=4),
        "kernel": trial.suggest_int("kernel", 3, 15, step=2),
        "shrinkage": trial.suggest_categorical("shrinkage", shrinkages),
        "batch_norm": trial.suggest_categorical("batch_norm", [False, True]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        "augment": trial.suggest_categorical("augment", ["none", "jitter", "stretch", "roll"]),
    }
    if params["augment"] in ("jitter", "stretch"):
        params["strength"] = suggest_log(trial, "strength", 1e-2, 1.0)
    elif params["augment"] == "roll":
        params["farthest"] = trial.suggest_float("farthest", 0.05, 0.5, step=0.05)
    return params


def _train(
    n_classes: int, params: Params, part: Part, generator: torch.Generator, n_epochs: int
) -> tuple[nn.Module, int]:
    """Train a network on series ``(n, channels, length)``."""
    shrinkage = int(params["shrinkage"])
    channels, length = part.inputs.shape[1], part.inputs.shape[2] // shrinkage
    body, n_features = _NETWORKS[str(params["network"])](params, channels, length, generator)
    model = nn.Sequential(
        nn.AvgPool1d(shrinkage),
        *body,
        nn.Flatten(),
        Dropout(float(params["dropout"]), generator),
        linear(n_features, n_classes, generator),
    )
    return model, fit(model, part, params, n_epochs, generator, _augmentation(params))


def _fully_convolutional(
    params: Params, channels: int, length: int, generator: torch.Generator
) -> tuple[list[nn.Module], int]:
    """Three convolutions and the mean over time (FCN, Wang et al. 2017)."""
    width, kernel = int(params["width"]), int(params["kernel"])
    sizes = ((channels, width, kernel), (width, 2 * width, 5), (2 * width, width, 3))
    layers: list[nn.Module] = []
    for n_in, n_out, size in sizes:
        layers += [*_convolution(params, n_in, n_out, size, generator), nn.ReLU()]
    return [*layers, nn.AdaptiveAvgPool1d(1)], width


def _residual(
    params: Params, channels: int, length: int, generator: torch.Generator
) -> tuple[list[nn.Module], int]:
    """Two residual blocks and the mean over time (after ResNet, Wang et al. 2017)."""
    width = int(params["width"])
    blocks = [
        _Block(params, channels, width, generator),
        _Block(params, width, 2 * width, generator),
    ]
    return [*blocks, nn.AdaptiveAvgPool1d(1)], 2 * width


def _flat(
    params: Params, channels: int, length: int, generator: torch.Generator
) -> tuple[list[nn.Module], int]:
    """Two convolutions, each halved in time, and a linear map (Zhao et al. 2017)."""
    width, kernel = int(params["width"]), int(params["kernel"])
    layers: list[nn.Module] = []
    for n_in, n_out in ((channels, width), (width, 2 * width)):
        convolution = _convolution(params, n_in, n_out, kernel, generator)
        layers += [*convolution, nn.ReLU(), nn.AvgPool1d(2)]
        length //= 2
    return layers, 2 * width * length


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, params: Params, n_in: int, n_out: int, generator: torch.Generator) -> None:
        super().__init__()
        kernel = int(params["kernel"])
        self._body = nn.Sequential(
            *_convolution(params, n_in, n_out, kernel, generator),
            nn.ReLU(),
            *_convolution(params, n_out, n_out, 3, generator),
        )
        self._shortcut = nn.Sequential(*_convolution(params, n_in, n_out, 1, generator))

    def forward(self, x: Tensor) -> Tensor:
        return (self._body(x) + self._shortcut(x)).relu()  # type: ignore[no-any-return]


def _convolution(
    params: Params, n_in: int, n_out: int, kernel: int, generator: torch.Generator
) -> list[nn.Module]:
    layer = conv1d(n_in, n_out, kernel, generator)
    return [layer, nn.BatchNorm1d(n_out)] if params["batch_norm"] else [layer]


_NETWORKS: dict[
    str, Callable[[Params, int, int, torch.Generator], tuple[list[nn.Module], int]]
] = {"fully_convolutional": _fully_convolutional, "residual": _residual, "flat": _flat}


def _augmentation(params: Params) -> Augmentation | None:
    """Changes of a batch (T. Um et al., Data augmentation of wearable sensor data, 2017)."""
    if params["augment"] == "none":
        return None
    if params["augment"] == "roll":
        return partial(_roll, float(params["farthest"]))
    change = _jitter if params["augment"] == "jitter" else _stretch
    return partial(change, float(params["strength"]))


def _jitter(strength: float, series: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise to every number."""
    return series + strength * torch.randn(series.shape, generator=generator)


def _stretch(strength: float, series: Tensor, generator: torch.Generator) -> Tensor:
    """Multiply every series by a number of its own."""
    return series * (1 + strength * torch.randn(len(series), 1, 1, generator=generator))


def _roll(farthest: float, series: Tensor, generator: torch.Generator) -> Tensor:
    """Turn a batch by a random share of its length, as one turns a closed outline."""
    most = int(farthest * series.shape[-1])
    return series.roll(int(torch.randint(-most, most + 1, (1,), generator=generator)), -1)


def _task(
    name: str, source: str, n_classes: int, n_epochs: int, min_fraction: float, **expert: Value
) -> Task:
    shrinkages = (1, 2) if expert["shrinkage"] == 1 else (2, 4, 8)
    return Task(
        name=f"series/{name}",
        load=partial(load_series, source),
        suggest=partial(_suggest, shrinkages),
        train=partial(_train, n_classes, n_epochs=n_epochs),
        measure=accuracy,
        expert=_EXPERT | expert,
        source="Z. Wang, W. Yan and T. Oates, Time series classification from scratch with deep "
        "neural networks (2017)",
        min_fraction=min_fraction,
    )


# Three convolutions with batch normalisation and the mean over time, kernels of 7 (for 8), 5 and
# 3, Adam, batches of 16, no dropout, as published; narrower, and as there are a hundredth of the
# epochs, the rate is ten times as large and falls to 0. Outlines are halved to save time.
_EXPERT: dict[str, Value] = {
    "optimizer": "adamw",
    "lr": 1e-2,
    "weight_decay": 1e-4,
    "batch_size": 16,
    "schedule": "cosine",
    "network": "fully_convolutional",
    "width": 16,
    "kernel": 7,
    "batch_norm": True,
    "dropout": 0.0,
    "augment": "none",
}
ARROW_HEAD = _task("arrow_head", "ArrowHead", 3, 50, 1 / 3, shrinkage=2)
ITALY_POWER_DEMAND = _task("italy_power_demand", "ItalyPowerDemand", 2, 50, 1 / 3, shrinkage=1)
JAPANESE_VOWELS = _task("japanese_vowels", "JapaneseVowels", 9, 30, 1 / 3, shrinkage=1)
OSU_LEAF = _task("osu_leaf", "OSULeaf", 6, 20, 1 / 3, shrinkage=2)
