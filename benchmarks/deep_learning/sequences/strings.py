"""Strings of digits in an image, read without knowing where they are (CTC)."""

from __future__ import annotations

from functools import partial
import math

import optuna
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import conv1d
from benchmarks.deep_learning.layers import conv2d
from benchmarks.deep_learning.layers import gru
from benchmarks.deep_learning.layers import linear
from benchmarks.deep_learning.sources.digit_strings import HEIGHT
from benchmarks.deep_learning.sources.digit_strings import NO_DIGIT
from benchmarks.deep_learning.sources.digit_strings import load_digit_strings
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_log
from benchmarks.deep_learning.training import suggest_optimisation


_N_CLASSES = 11
_BLANK = 10


def _suggest(trial: optuna.trial.BaseTrial) -> dict[str, Value]:
    """Suggest the 15 hyperparameters, four of them conditional."""
    params = suggest_optimisation(trial) | {
        "clip": suggest_log(trial, "clip", 0.1, 10.0),
        "width": trial.suggest_int("width", 4, 8, step=2),
        "kernel": trial.suggest_categorical("kernel", [3, 5]),
        "batch_norm": trial.suggest_categorical("batch_norm", [False, True]),
        "hidden": trial.suggest_int("hidden", 8, 32, step=8),
        "context": trial.suggest_categorical("context", ["none", "convolution", "recurrent"]),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5, step=0.1),
    }
    if params["context"] == "convolution":
        params["reach"] = trial.suggest_int("reach", 3, 7, step=2)
    elif params["context"] == "recurrent":
        params["directions"] = trial.suggest_int("directions", 1, 2)
    return params


def _train(
    params: Params, part: Part, generator: torch.Generator, *, n_epochs: int
) -> tuple[nn.Module, int]:
    """Train a network on images ``(n, 1, height, width)`` and digits ``(n, most)``."""
    model = _Reader(params, generator)
    return model, fit(model, part, params, n_epochs, generator, loss_of=_loss)


def _loss(log_probabilities: Tensor, digits: Tensor) -> Tensor:
    """Connectionist temporal classification (Graves et al. 2006), mean over digits."""
    n, n_frames = log_probabilities.shape[:2]
    return functional.ctc_loss(
        log_probabilities.transpose(0, 1),
        digits,
        torch.full((n,), n_frames),
        (digits != NO_DIGIT).sum(1),
        blank=_BLANK,
    )


@torch.no_grad()
def _right_characters(model: nn.Module, part: Part) -> float:
    """One minus the character error rate of the likeliest path; NaN for a failure."""
    from torchmetrics.functional.text import char_error_rate  # only this task needs it

    model.eval()
    log_probabilities = model(part.inputs)
    if not torch.isfinite(log_probabilities).all():
        return math.nan
    return 1 - float(char_error_rate(read(log_probabilities), written(part.labels)))


def read(log_probabilities: Tensor) -> list[str]:
    """The strings of the likeliest paths ``(n, frames, classes)``."""
    return [_collapsed(path) for path in log_probabilities.argmax(2).tolist()]


def written(labels: Tensor) -> list[str]:
    """The strings that labels ``(n, most)`` stand for."""
    return ["".join(str(x) for x in row if x != NO_DIGIT) for row in labels.tolist()]


def _collapsed(path: list[int]) -> str:
    """The string of a path: repeats count once, then blanks are left out."""
    previous = [_BLANK, *path]
    kept = [x for x, before in zip(path, previous, strict=False) if x not in (before, _BLANK)]
    return "".join(map(str, kept))


class _Reader(nn.Module):
    """Convolutions, the columns in order, their context, and a linear map (CRNN, Shi 2015)."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        width, kernel = int(params["width"]), int(params["kernel"])
        layers: list[nn.Module] = []
        height = HEIGHT
        for n_in, n_out in ((1, width), (width, 2 * width)):
            layers.append(conv2d(n_in, n_out, kernel, generator))
            if params["batch_norm"]:
                layers.append(nn.BatchNorm2d(n_out))
            layers.append(nn.ReLU())
            height = (height + 1) // 2
        self._images = nn.Sequential(*layers, nn.Flatten(1, 2))
        hidden = int(params["hidden"])
        self._columns = conv1d(2 * width * height, hidden, 3, generator)
        self._convolution, self._recurrent = None, None
        if params["context"] == "convolution":
            self._convolution = conv1d(hidden, hidden, int(params["reach"]), generator)
        elif params["context"] == "recurrent":
            both = params["directions"] == 2
            self._recurrent = gru(hidden, hidden, generator, both=both)
            hidden *= 1 + both
        self._dropout = Dropout(float(params["dropout"]), generator)
        self._head = linear(hidden, _N_CLASSES, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Log probabilities ``(n, frames, classes)`` of images ``(n, 1, height, width)``."""
        maps = self._columns(self._images(images)).relu()
        if self._convolution is not None:
            maps = maps + self._convolution(maps).relu()
        frames = maps.mT
        if self._recurrent is not None:
            frames = self._recurrent(frames)[0]
        return self._head(self._dropout(frames)).log_softmax(2)  # type: ignore[no-any-return]


DIGIT_STRINGS = Task(
    name="sequences/digit_strings",
    load=load_digit_strings,
    suggest=_suggest,
    train=partial(_train, n_epochs=7),
    measure=_right_characters,
    # Batch-normalised convolutions, both directions of a recurrent network on their columns, an
    # adaptive rate without decay, as published; smaller, and as there are few steps, Adam at a
    # rate that rises and falls.
    expert={
        "optimizer": "adamw",
        "lr": 2.15e-2,
        "weight_decay": 1e-6,
        "batch_size": 64,
        "schedule": "warmup",
        "clip": 4.64,
        "width": 8,
        "kernel": 3,
        "batch_norm": True,
        "hidden": 32,
        "context": "recurrent",
        "dropout": 0.0,
        "directions": 2,
    },
    source="B. Shi, X. Bai and C. Yao, An end-to-end trainable neural network for image-based "
    "sequence recognition (2015)",
)
