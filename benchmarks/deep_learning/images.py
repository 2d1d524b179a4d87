"""Image classification with a small convolutional network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import math

import numpy as np
import optuna
from sklearn.metrics import recall_score
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from benchmarks.deep_learning.layers import ACTIVATIONS
from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import conv2d
from benchmarks.deep_learning.layers import linear
from benchmarks.deep_learning.sources.blood_cells import load_blood_crops
from benchmarks.deep_learning.sources.mnist import load_long_tailed_digits
from benchmarks.deep_learning.sources.mnist import load_mnist
from benchmarks.deep_learning.sources.small_digits import load_small_digits
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Loss
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import accuracy
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_optimisation


def suggest(
    trial: optuna.trial.BaseTrial, log2_batch_sizes: tuple[int, int], balances: bool
) -> dict[str, Value]:
    """Suggest the hyperparameters.

    Args:
        trial: Is asked.
        log2_batch_sizes: Range of the batch size.
        balances: Whether classes may be balanced.

    Returns:
        14, two of them conditional; with balance 16, three of them conditional.
    """
    params = suggest_optimisation(trial, log2_batch_sizes) | {
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
    if balances:
        params["balance"] = trial.suggest_categorical("balance", ["none", "weights", "logits"])
        if params["balance"] != "none":
            params["balance_strength"] = trial.suggest_float(
                "balance_strength", 0.25, 1.5, step=0.25
            )
    return params


def _train(
    n_classes: int, n_epochs: int, params: Params, part: Part, generator: torch.Generator
) -> tuple[nn.Module, int]:
    """Train a network on images ``(n, 1, height, width)``."""
    model = _network(params, part.inputs.shape[-1], n_classes, generator)
    augment = partial(_shift, int(params["shift"])) if params["augment"] else None
    loss_of = _balanced_loss(params, part.labels, n_classes)
    return model, fit(model, part, params, n_epochs, generator, augment, loss_of)


def _network(params: Params, side: int, n_classes: int, generator: torch.Generator) -> nn.Module:
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
    head = linear(2 * width * side * side, n_classes, generator)
    return nn.Sequential(*layers, nn.Flatten(), dropout, head)


def _shift(most: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """Move a batch of images by up to ``most`` pixels, all alike, with zeros moving in."""
    down, right = torch.randint(2 * most + 1, (2,), generator=generator).tolist()
    height, width = images.shape[-2:]
    padded = functional.pad(images, (most,) * 4)
    return padded[..., down : down + height, right : right + width]


def _balanced_loss(params: Params, labels: Tensor, n_classes: int) -> Loss | None:
    """Cross entropy for classes of unequal size, None for the ordinary one.

    ``weights`` divides a class's loss by a power of its frequency; ``logits`` adds the logarithm
    of that power to the logits in training (logit adjustment, Menon et al. 2021).
    """
    if params.get("balance", "none") == "none":
        return None
    counts = torch.bincount(labels, minlength=n_classes).clamp(min=1).float()
    log_prior = float(params["balance_strength"]) * (counts / counts.sum()).log()
    loss = partial(functional.cross_entropy, label_smoothing=float(params["label_smoothing"]))
    if params["balance"] == "weights":
        return partial(loss, weight=(-log_prior).softmax(0) * n_classes)
    return lambda logits, labels: loss(logits + log_prior, labels)


@torch.no_grad()
def _balanced_accuracy(model: nn.Module, part: Part) -> float:
    """Mean over the classes of the share of right answers; NaN when a logit is not finite."""
    model.eval()
    logits = model(part.inputs)
    if not torch.isfinite(logits).all():
        return math.nan
    labels = part.labels.numpy()
    present = np.unique(labels).tolist()
    return float(recall_score(labels, logits.argmax(1).numpy(), labels=present, average="macro"))


def _task(
    name: str,
    load: Callable[[], Splits],
    expert: Params,
    source: str,
    *,
    n_epochs: int,
    n_classes: int = 10,
    log2_batch_sizes: tuple[int, int] = (5, 7),
    balances: bool = False,
    min_fraction: float = 1 / 9,
) -> Task:
    return Task(
        name=f"images/{name}",
        load=load,
        suggest=partial(suggest, log2_batch_sizes=log2_batch_sizes, balances=balances),
        train=partial(_train, n_classes, n_epochs),
        measure=_balanced_accuracy if balances else accuracy,
        expert=expert,
        source=source,
        min_fraction=min_fraction,
    )


# Convolutions of stride 2 with batch normalisation, ReLU, Adam with a decay of 1e-2, one cycle
# of the rate, all as published there; batches of 64 instead of 512, and the rate with them.
_EXPERT: dict[str, Value] = {
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
}
_SOURCE = "J. Howard and S. Gugger, Deep learning for coders (2020), chapter 13"

MNIST = _task(
    "mnist",
    load_mnist,
    _EXPERT,
    _SOURCE,
    n_epochs=2,
    log2_batch_sizes=(6, 8),
    min_fraction=1 / 27,
)
DIGITS = _task("digits", load_small_digits, _EXPERT, _SOURCE, n_epochs=25)
BLOOD_CROPS = _task(
    "blood_crops",
    load_blood_crops,
    {**_EXPERT, "balance": "weights", "balance_strength": 1.0},
    f"{_SOURCE}; balanced class weights of scikit-learn",
    n_epochs=8,
    n_classes=3,
    balances=True,
)
# Balance, optimiser, rate, decay and moved pictures as published for long-tailed CIFAR.
LONG_TAILED_DIGITS = _task(
    "long_tailed_digits",
    load_long_tailed_digits,
    {
        **_EXPERT,
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 0.1,
        "weight_decay": 1e-4,
        "augment": True,
        "shift": 2,
        "balance": "logits",
        "balance_strength": 1.0,
    },
    f"{_SOURCE}; A. Menon et al., Long-tail learning via logit adjustment (2021)",
    n_epochs=10,
    balances=True,
)
