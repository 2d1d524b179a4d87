"""Image classification with a small convolutional network."""

from __future__ import annotations

from functools import partial

import optuna
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from benchmarks.deep_learning.layers import ACTIVATIONS
from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import conv2d
from benchmarks.deep_learning.layers import linear
from benchmarks.deep_learning.sources.mnist import load_mnist
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import accuracy
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_optimisation


_N_CLASSES = 10
_N_EPOCHS = 2


def suggest(trial: optuna.trial.BaseTrial) -> dict[str, Value]:
    """Suggest the 14 hyperparameters, two of them conditional."""
    params = suggest_optimisation(trial) | {
        "width": trial.suggest_int("width", 4, 8, step=2),
        "kernel": trial.suggest_categorical("kernel", [3, 5]),
        "activation": trial.suggest_categorical("activation", list(ACTIVATIONS)),
        "batch_norm": trial.suggest_categorical("batch_norm", [False, True]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2, step=0.05),
        "augment": trial.suggest_categorical("augment", [False, True]),
    }
    if params["augment"]:
        params["shift"] = trial.suggest_int("shift", 1, 3)
    return params


def train(params: Params, part: Part, generator: torch.Generator) -> tuple[nn.Module, int]:
    """Train a network on images ``(n, 1, height, width)``."""
    model = _network(params, part.inputs.shape[-1], generator)
    augment = partial(_shift, int(params["shift"])) if params["augment"] else None
    return model, fit(model, part, params, _N_EPOCHS, generator, augment)


def _network(params: Params, side: int, generator: torch.Generator) -> nn.Module:
    """Two convolutions that halve the image (all-convolutional, Springenberg et al. 2014)."""
    width, kernel = int(params["width"]), int(params["kernel"])
    layers: list[nn.Module] = []
    for n_in, n_out in ((1, width), (width, 2 * width)):
        layers.append(conv2d(n_in, n_out, kernel, generator))
        if params["batch_norm"]:
            layers.append(nn.BatchNorm2d(n_out))
        layers.append(ACTIVATIONS[str(params["activation"])]())
        side = (side + 1) // 2
    dropout = Dropout(float(params["dropout"]), generator)
    head = linear(2 * width * side * side, _N_CLASSES, generator)
    return nn.Sequential(*layers, nn.Flatten(), dropout, head)


def _shift(most: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """Move a batch of images by up to ``most`` pixels, all alike, with zeros moving in."""
    down, right = torch.randint(2 * most + 1, (2,), generator=generator).tolist()
    height, width = images.shape[-2:]
    padded = functional.pad(images, (most,) * 4)
    return padded[..., down : down + height, right : right + width]


MNIST = Task(
    name="images/mnist",
    load=load_mnist,
    suggest=suggest,
    train=train,
    measure=accuracy,
    # Convolutions of stride 2 with batch normalisation, ReLU, Adam with a decay of 1e-2, one cycle
    # of the rate, all as published there; batches of 64 instead of 512, and the rate with them.
    expert={
        "optimizer": "adamw",
        "lr": 1e-2,
        "weight_decay": 1e-2,
        "batch_size": 64,
        "schedule": "warmup",
        "width": 8,
        "kernel": 3,
        "activation": "relu",
        "batch_norm": True,
        "dropout": 0.0,
        "label_smoothing": 0.0,
        "augment": False,
    },
    source="J. Howard and S. Gugger, Deep learning for coders (2020), chapter 13",
)
