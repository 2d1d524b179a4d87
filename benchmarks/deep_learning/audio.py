"""Audio classification with a convolutional network on log-mel spectrograms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import optuna
import torch
from torch import Tensor
from torch import nn

from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import conv1d
from benchmarks.deep_learning.layers import conv2d
from benchmarks.deep_learning.layers import linear
from benchmarks.deep_learning.sources.instruments import INSTRUMENTS
from benchmarks.deep_learning.sources.instruments import load_instruments
from benchmarks.deep_learning.sources.speech import load_noisy_digits
from benchmarks.deep_learning.sources.speech import load_speakers
from benchmarks.deep_learning.sources.speech import load_spoken_digits
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import accuracy
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_optimisation


def suggest(trial: optuna.trial.BaseTrial) -> dict[str, Value]:
    """Suggest the 14 hyperparameters, four of them conditional."""
    params = suggest_optimisation(trial) | {
        "network": trial.suggest_categorical("network", ["image", "sequence"]),
        "width": trial.suggest_int("width", 4, 8, step=2),
        "batch_norm": trial.suggest_categorical("batch_norm", [False, True]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        "masking": trial.suggest_categorical("masking", [False, True]),
    }
    if params["network"] == "sequence":
        params["kernel"] = trial.suggest_int("kernel", 3, 9, step=2)
    if params["masking"]:
        params["mask_frames"] = trial.suggest_int("mask_frames", 2, 14, step=2)
        params["mask_bands"] = trial.suggest_int("mask_bands", 1, 9, step=2)
    return params


def _train(
    n_classes: int, n_epochs: int, params: Params, part: Part, generator: torch.Generator
) -> tuple[nn.Module, int]:
    """Train a network on spectrograms ``(n, 1, bands, frames)``."""
    build = _image_network if params["network"] == "image" else _sequence_network
    model = build(params, part.inputs.shape[-2:], n_classes, generator)
    augment = None
    if params["masking"]:
        augment = partial(_mask, int(params["mask_frames"]), int(params["mask_bands"]))
    return model, fit(model, part, params, n_epochs, generator, augment)


def _image_network(
    params: Params, shape: torch.Size, n_classes: int, generator: torch.Generator
) -> nn.Module:
    """Three convolutions over bands and frames that halve both."""
    width, (height, length) = int(params["width"]), shape
    layers: list[nn.Module] = []
    for n_in, n_out in ((1, width), (width, 2 * width), (2 * width, 4 * width)):
        layers.append(conv2d(n_in, n_out, 3, generator))
        if params["batch_norm"]:
            layers.append(nn.BatchNorm2d(n_out))
        layers.append(nn.ReLU())
        height, length = (height + 1) // 2, (length + 1) // 2
    return nn.Sequential(
        *layers, *_head(params, 4 * width * height * length, n_classes, generator)
    )


def _sequence_network(
    params: Params, shape: torch.Size, n_classes: int, generator: torch.Generator
) -> nn.Module:
    """Two convolutions over frames, whose channels are the bands, then the largest over time."""
    width, kernel = 2 * int(params["width"]), int(params["kernel"])
    layers: list[nn.Module] = [nn.Flatten(1, 2)]
    for n_in, n_out in ((shape[0], width), (width, width)):
        layers.append(conv1d(n_in, n_out, kernel, generator))
        if params["batch_norm"]:
            layers.append(nn.BatchNorm1d(n_out))
        layers += [nn.MaxPool1d(2), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveMaxPool1d(1), *_head(params, width, n_classes, generator)
    )


def _head(
    params: Params, n_features: int, n_classes: int, generator: torch.Generator
) -> list[nn.Module]:
    dropout = Dropout(float(params["dropout"]), generator)
    return [nn.Flatten(), dropout, linear(n_features, n_classes, generator)]


def _mask(n_frames: int, n_bands: int, spectra: Tensor, generator: torch.Generator) -> Tensor:
    """Hide a stretch of frames and one of bands in a batch (SpecAugment, Park et al. 2019)."""
    masked = spectra.clone()
    for dim, most in ((-1, n_frames), (-2, n_bands)):
        size = int(torch.randint(most + 1, (1,), generator=generator))
        start = int(torch.randint(spectra.shape[dim] - size + 1, (1,), generator=generator))
        masked.narrow(dim, start, size).zero_()  # the mean, as the bands are standardised
    return masked


def _task(
    name: str,
    load: Callable[[], Splits],
    n_epochs: int,
    min_fraction: float,
    expert: Params,
    n_classes: int = 10,
) -> Task:
    return Task(
        name=f"audio/{name}",
        load=load,
        suggest=suggest,
        train=partial(_train, n_classes, n_epochs),
        measure=accuracy,
        expert=expert,
        # Batch-normalised convolutions of doubling width on log-mel bands as in these tutorials;
        # one cycle of the rate, as these trainings are short.
        source="speech-command tutorials of TensorFlow and PyTorch; one-cycle schedule of "
        "L. Smith and N. Topin, Super-convergence (2018)",
        min_fraction=min_fraction,
    )


_EXPERT: dict[str, Value] = {
    "optimizer": "adamw",
    "lr": 1e-2,
    "weight_decay": 1e-4,
    "batch_size": 64,
    "schedule": "warmup",
    "network": "image",
    "width": 8,
    "batch_norm": True,
    "dropout": 0.1,
    "masking": False,
}
# Below 1/9 there are fewer than ten recordings of a digit.
SPOKEN_DIGITS = _task("spoken_digits", load_spoken_digits, 5, 1 / 9, _EXPERT)
NOISY_DIGITS = _task("noisy_digits", load_noisy_digits, 2, 1 / 27, _EXPERT)
SPEAKERS = _task("speakers", load_speakers, 12, 1 / 9, _EXPERT, n_classes=6)
INSTRUMENT_NOTES = _task(
    "instruments", load_instruments, 5, 1 / 9, _EXPERT, n_classes=len(INSTRUMENTS)
)
