"""Deep-learning tasks on a few made-up examples, so that every one is trained in moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.task import Task


N_TRAIN = 96


def _pictures(shape: tuple[int, ...], n: int, generator: torch.Generator) -> Part:
    """Two classes that a linear model tells apart."""
    labels = torch.arange(n) % 2
    inputs = 0.3 * torch.randn(n, *shape, generator=generator)
    inputs[..., :12, :] += labels[:, None, None, None]
    return Part(inputs, labels)


def _images(task: Task, n: int, generator: torch.Generator) -> Part:
    side = 8 if task.name == "images/digits" else 28
    return _pictures((1, side, side), n, generator)


def _audio(task: Task, n: int, generator: torch.Generator) -> Part:
    return _pictures((1, 24, 39), n, generator)


def _texts(task: Task, n: int, generator: torch.Generator) -> Part:
    """Two classes with words of their own."""
    labels = torch.arange(n) % 2
    words = torch.randint(2, 500, (n, 32), generator=generator)
    return Part(torch.where(labels[:, None] == 1, words, words + 500), labels)


# By family: makes examples that the task's recipe learns.
_EXAMPLES: dict[str, Callable[[Task, int, torch.Generator], Part]] = {
    "images": _images,
    "audio": _audio,
    "texts": _texts,
}


def tiny(task: Task) -> Task:
    """The task with 96 made-up training examples and 40 in each other part."""
    train, validation, test = (
        _EXAMPLES[task.family](task, n, torch.Generator().manual_seed(seed))
        for seed, n in enumerate((N_TRAIN, 40, 40))
    )
    return replace(task, load=lambda: Splits(train, validation, test))
