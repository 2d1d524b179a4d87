"""Segmentation: a class for every pixel, with a small U-Net; the score is the mean IoU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import math

import numpy as np
from numpy.typing import NDArray
import optuna
from sklearn.metrics import jaccard_score
import torch
from torch import nn

from benchmarks.deep_learning.layers import ACTIVATIONS
from benchmarks.deep_learning.sources.blood_cells import load_blood_foreground
from benchmarks.deep_learning.sources.membranes import load_membranes
from benchmarks.deep_learning.sources.scenes import N_DIGITS
from benchmarks.deep_learning.sources.scenes import N_SHAPES
from benchmarks.deep_learning.sources.scenes import load_digit_scenes
from benchmarks.deep_learning.sources.scenes import load_shape_scenes
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_optimisation
from benchmarks.deep_learning.unet import UNet
from benchmarks.deep_learning.unet import pixel_loss


_BATCH = 100  # in prediction


def suggest(trial: optuna.trial.BaseTrial) -> dict[str, Value]:
    """Suggest the 19 hyperparameters, three of them conditional."""
    params = suggest_optimisation(trial, log2_batch_sizes=(3, 5)) | {
        "width": trial.suggest_int("width", 8, 16, step=4),
        "depth": trial.suggest_int("depth", 1, 2),
        "n_convolutions": trial.suggest_int("n_convolutions", 1, 2),
        "norm": trial.suggest_categorical("norm", ["none", "batch", "group"]),
        "activation": trial.suggest_categorical("activation", list(ACTIVATIONS)),
        "doubling": trial.suggest_categorical("doubling", ["nearest", "bilinear", "transposed"]),
        "skip": trial.suggest_categorical("skip", ["none", "add", "concat"]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.4, step=0.1),
        "loss": trial.suggest_categorical("loss", ["ce", "focal", "dice", "ce_dice"]),
        "class_balance": trial.suggest_float("class_balance", 0.0, 1.0, step=0.25),
        "flips": trial.suggest_categorical("flips", [False, True]),
    }
    if params["loss"] == "focal":
        params["focal_gamma"] = trial.suggest_float("focal_gamma", 0.5, 4.0, step=0.5)
    if params["loss"] == "ce_dice":
        params["dice_weight"] = trial.suggest_float("dice_weight", 0.25, 4.0, step=0.25)
    return params


def _train(
    n_classes: int, n_epochs: int, params: Params, part: Part, generator: torch.Generator
) -> tuple[nn.Module, int]:
    """Train a network on pictures ``(n, channels, height, width)``."""
    model = UNet(params, part.inputs.shape[1], n_classes, generator)
    counts = torch.bincount(part.labels.flatten(), minlength=n_classes).clamp(min=1).float()
    weight = (-float(params["class_balance"]) * counts.log()).softmax(0) * n_classes
    loss_of = partial(pixel_loss, params, weight)
    flips = _flip if params["flips"] else None
    return model, fit(
        model, part, params, n_epochs, generator, loss_of=loss_of, augment_both=flips
    )


def _flip(part: Part, generator: torch.Generator) -> Part:
    """Mirror a batch left to right, upside down, both or not, all alike."""
    dims = [dim for dim in (-2, -1) if torch.randint(2, (1,), generator=generator)]
    return Part(part.inputs.flip(dims), part.labels.flip(dims))


@torch.no_grad()
def mean_iou(model: nn.Module, part: Part) -> float:
    """Mean over the classes of intersection over union; NaN when a logit is not finite."""
    answers = predict(model, part)
    if answers is None:
        return math.nan
    truth = part.labels.flatten().numpy()
    present = np.unique(truth).tolist()
    return float(jaccard_score(truth, answers.flatten(), labels=present, average="macro"))


@torch.no_grad()
def predict(model: nn.Module, part: Part) -> NDArray[np.int64] | None:
    """Classes ``(n, height, width)``; None when a logit is not finite."""
    model.eval()
    pieces = []
    for pictures in part.inputs.split(_BATCH):
        logits = model(pictures)
        if not torch.isfinite(logits).all():
            return None
        pieces.append(logits.argmax(1).numpy())
    return np.concatenate(pieces)


def _task(
    name: str, load: Callable[[], Splits], n_classes: int, n_epochs: int, expert: Params
) -> Task:
    return Task(
        name=f"segmentation/{name}",
        load=load,
        suggest=suggest,
        train=partial(_train, n_classes, n_epochs),
        measure=mean_iou,
        expert=expert,
        source=_SOURCE,
        min_fraction=1 / 9,
    )


# Concatenated levels, two convolutions each, and mirrored pictures as in the paper; its weights of
# classes where they are of very unequal size; batch normalisation and the sum of cross entropy and
# Dice as in its later standard form; one cycle of the rate, as these trainings are short.
_SOURCE = "O. Ronneberger et al., U-Net (2015); F. Isensee et al., nnU-Net (2021)"
_EXPERT: dict[str, Value] = {
    "optimizer": "adamw",
    "lr": 1e-2,
    "weight_decay": 1e-2,
    "batch_size": 8,
    "schedule": "warmup",
    "width": 16,
    "depth": 2,
    "n_convolutions": 2,
    "norm": "batch",
    "activation": "relu",
    "doubling": "bilinear",
    "skip": "concat",
    "dropout": 0.0,
    "loss": "ce_dice",
    "dice_weight": 1.0,
    "class_balance": 0.0,
    "flips": True,
}
MEMBRANES = _task("membranes", load_membranes, 2, 3, _EXPERT)
DIGIT_SCENES = _task(
    "digit_scenes",
    partial(load_digit_scenes, "masks"),
    1 + N_DIGITS,
    4,
    # Digits have a left and a right, and cover a twelfth of the picture.
    {**_EXPERT, "batch_size": 16, "class_balance": 0.5, "flips": False},
)
SHAPES = _task(
    "shapes",
    partial(load_shape_scenes, "masks", crowded=True),
    1 + N_SHAPES,
    5,
    {**_EXPERT, "batch_size": 16, "class_balance": 0.5},
)
BLOOD_FOREGROUND = _task("blood_foreground", load_blood_foreground, 2, 3, _EXPERT)
