"""Training: the hyperparameters that all of them share, and the loop."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from functools import partial
import math

import optuna
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from benchmarks.deep_learning.sources.splits import Part


Value = float | int | str | bool
Params = Mapping[str, Value]
# Changes a batch of inputs ``(b, ...)`` in training.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]
# Changes a batch of inputs together with its labels.
JointAugmentation = Callable[[Part, torch.Generator], Part]
# From what the model gives for a batch and its labels.
Loss = Callable[[Tensor, Tensor], Tensor]

_LEVELS_PER_DECADE = 6
_PREDICTION_BATCH = 512
_FINAL_RATE = 0.01  # of a cosine schedule, relative to its start


def suggest_log(trial: optuna.trial.BaseTrial, name: str, low: float, high: float) -> float:
    """Suggest a number on a log scale; it is trained with the nearest of six per decade.

    Rates closer than that are the same in practice, and methods meet each other's configurations.
    """
    suggested = trial.suggest_float(name, low, high, log=True)
    exponent = round(math.log10(suggested) * _LEVELS_PER_DECADE) / _LEVELS_PER_DECADE
    return float(f"{10**exponent:.3g}")


def suggest_optimisation(
    trial: optuna.trial.BaseTrial, log2_batch_sizes: tuple[int, int] = (6, 8)
) -> dict[str, Value]:
    """Suggest what every training has: the optimiser, its rate and schedule, the batch size.

    Args:
        trial: The trial.
        log2_batch_sizes: Smallest and largest batch, as powers of 2.
    """
    params: dict[str, Value] = {
        "optimizer": trial.suggest_categorical("optimizer", ["adamw", "sgd"]),
        "lr": suggest_log(trial, "lr", 1e-4, 1.0),
        "weight_decay": suggest_log(trial, "weight_decay", 1e-6, 1e-1),
        "batch_size": 2 ** trial.suggest_int("log2_batch_size", *log2_batch_sizes),
        "schedule": trial.suggest_categorical("schedule", ["constant", "cosine", "warmup"]),
    }
    if params["optimizer"] == "sgd":
        params["momentum"] = trial.suggest_float("momentum", 0.0, 0.95, step=0.05)
    return params


def fit(
    model: nn.Module,
    part: Part,
    params: Params,
    n_epochs: int,
    generator: torch.Generator,
    augment: Augmentation | None = None,
    loss_of: Loss | None = None,
    augment_both: JointAugmentation | None = None,
) -> int:
    """Train a model; stop at once when the loss is no longer finite.

    Where smaller subsets come first, each of them and then the whole part have an optimiser and a
    schedule of their own, and go on until as many examples have been processed as training on
    that subset alone would take: what a smaller one cost, a larger one saves.

    Args:
        model: Gives logits ``(b, classes)``, or whatever ``loss_of`` takes.
        part: The examples, and the smaller subsets that come first.
        params: Hyperparameters, see ``suggest_optimisation``; ``label_smoothing`` and ``clip``,
            the largest norm of a gradient, if there are such.
        n_epochs: How often every example is seen.
        generator: Of the order of the examples and the augmentation.
        augment: Changes the inputs of a batch.
        loss_of: The mean loss of a batch; the cross entropy of classes by default.
        augment_both: Changes a batch where its labels change with the inputs, before ``augment``.

    Returns:
        Number of examples processed.
    """
    if loss_of is None:
        smoothing = float(params.get("label_smoothing", 0.0))
        loss_of = partial(functional.cross_entropy, label_smoothing=smoothing)
    n_processed = 0
    model.train()
    for stage in _stages(part):
        n_examples = n_epochs * len(stage) - n_processed
        for batch, optimizer in _steps(model, stage, params, n_examples, generator):
            if augment_both is not None:
                batch = augment_both(batch, generator)
            inputs = batch.inputs if augment is None else augment(batch.inputs, generator)
            loss = loss_of(model(inputs), batch.labels)
            n_processed += len(batch)
            if not torch.isfinite(loss):
                return n_processed
            optimizer.zero_grad()
            loss.backward()
            if "clip" in params:
                nn.utils.clip_grad_norm_(model.parameters(), float(params["clip"]))
            optimizer.step()
    return n_processed


@torch.no_grad()
def accuracy(model: nn.Module, part: Part) -> float:
    """Share of right answers; NaN when a logit is not finite."""
    model.eval()
    n_right = 0
    for start in range(0, len(part), _PREDICTION_BATCH):
        rows = slice(start, start + _PREDICTION_BATCH)
        logits = model(part.inputs[rows])
        if not torch.isfinite(logits).all():
            return math.nan
        n_right += int((logits.argmax(1) == part.labels[rows]).sum())
    return n_right / len(part)


def _stages(part: Part) -> Iterator[Part]:
    for rows in part.earlier:
        yield Part(part.inputs[rows], part.labels[rows])
    yield part


def _steps(
    model: nn.Module, part: Part, params: Params, n_examples: int, generator: torch.Generator
) -> Iterator[tuple[Part, torch.optim.Optimizer]]:
    """Batches of so many examples, and the optimiser with the rate of each step."""
    batch_size = int(params["batch_size"])
    optimizer = _optimizer(model, params)
    n_epochs, rest = divmod(n_examples, len(part))
    n_steps = n_epochs * math.ceil(len(part) / batch_size) + math.ceil(rest / batch_size)
    for step, batch in enumerate(_batches(part, batch_size, n_examples, generator)):
        for group in optimizer.param_groups:
            group["lr"] = float(params["lr"]) * _rate(str(params["schedule"]), step, n_steps)
        yield batch, optimizer


def _batches(
    part: Part, batch_size: int, n_examples: int, generator: torch.Generator
) -> Iterator[Part]:
    for before in range(0, n_examples, len(part)):
        order = torch.randperm(len(part), generator=generator)[: n_examples - before]
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield Part(part.inputs[rows], part.labels[rows])


def _optimizer(model: nn.Module, params: Params) -> torch.optim.Optimizer:
    lr, decay = float(params["lr"]), float(params["weight_decay"])
    if params["optimizer"] == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay)
    momentum = float(params["momentum"])
    return torch.optim.SGD(
        model.parameters(), lr=lr, momentum=momentum, nesterov=momentum > 0, weight_decay=decay
    )


def _rate(schedule: str, step: int, n_steps: int) -> float:
    """Learning rate relative to its nominal value."""
    if schedule == "constant":
        return 1.0
    n_warmup = n_steps // 5 if schedule == "warmup" else 0
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done))
