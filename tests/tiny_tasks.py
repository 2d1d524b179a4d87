"""Deep-learning tasks on a few made-up examples, so that every one is trained in moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.task import Task


N_TRAIN = 96
_N_EPOCHS = 4


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


def _segmentation(task: Task, n: int, generator: torch.Generator) -> Part:
    """A bright half of class 1, above, below, left or right."""
    masks = torch.zeros(n, 16, 16, dtype=torch.uint8)
    for number, mask in enumerate(masks):
        half = mask if number % 2 else mask.mT
        half[:8] = 1
        if number % 4 > 1:
            half.copy_(1 - half)
    n_channels = 3 if task.name == "segmentation/blood_foreground" else 1
    inputs = 0.3 * torch.randn(n, n_channels, 16, 16, generator=generator)
    return Part(inputs + 2 * masks[:, None], masks)


def _detection(task: Task, n: int, generator: torch.Generator) -> Part:
    """A bright square of class 0 somewhere."""
    n_channels = 1 if task.name.endswith("scenes") else 3
    inputs = 0.1 * torch.randn(n, n_channels, 16, 16, generator=generator)
    rows = torch.zeros(n, 2, 5)
    rows[:, 1, 0] = -1  # nothing
    for number in range(n):
        left, top = torch.randint(9, (2,), generator=generator).tolist()
        inputs[number, :, top : top + 8, left : left + 8] += 2
        rows[number, 0, 1:] = torch.tensor([left, top, left + 8, top + 8]) / 16
    return Part(inputs, rows)


def _series(task: Task, n: int, generator: torch.Generator) -> Part:
    """Slow and fast waves in noise."""
    labels = torch.arange(n) % 2
    phases = torch.linspace(0, 12, 48) * (1 + 2 * labels[:, None])
    return Part((phases.sin() + 0.1 * torch.randn(n, 48, generator=generator))[:, None], labels)


def _forecasting(task: Task, n: int, generator: torch.Generator) -> Part:
    """Waves of two kinds, which a naive forecast gets wrong."""
    periods = 10 + 7 * (torch.arange(n) % 2)[:, None]
    waves = (
        torch.arange(192) / periods * 6.28 + 6.28 * torch.rand(n, 1, generator=generator)
    ).sin()
    return Part(waves[:, :168], waves[:, 168:])


def _sequences(task: Task, n: int, generator: torch.Generator) -> Part:
    """By task: strings of one bright column, words with tags of their own, a text that repeats."""
    numbers = torch.randint(2, 10, (n, 24), generator=generator)
    if task.name.endswith("digit_strings"):
        images = 0.1 * torch.randn(n, 1, 18, 56, generator=generator)
        images[:, :, :, 20:30] += 1.0
        digits = torch.full((n, 4), -1)
        digits[:, 0] = 7
        return Part(images, digits)
    if task.name.endswith("shakespeare"):
        text = (numbers[:, :1] + torch.arange(49)) % 10
        return Part(text[:, :-1], text[:, 1:])
    characters = numbers[..., None].expand(-1, -1, 12)
    labels = 1 + 2 * (numbers % 2)  # "B-" of two kinds, or two parts of speech
    return Part(torch.cat([numbers[..., None], characters], 2), labels)


# By family: makes examples that the task's recipe learns.
_EXAMPLES: dict[str, Callable[[Task, int, torch.Generator], Part]] = {
    "images": _images,
    "audio": _audio,
    "forecasting": _forecasting,
    "sequences": _sequences,
    "series": _series,
    "texts": _texts,
    "segmentation": _segmentation,
    "detection": _detection,
}


def tiny(task: Task) -> Task:
    """The task with 96 made-up training examples and 40 in each other part, trained briefly."""
    train, validation, test = (
        _EXAMPLES[task.family](task, n, torch.Generator().manual_seed(seed))
        for seed, n in enumerate((N_TRAIN, 40, 40))
    )
    brief = task.train
    if isinstance(brief, partial) and "n_epochs" in brief.keywords:
        brief = partial(brief, n_epochs=_N_EPOCHS)
    return replace(task, load=lambda: Splits(train, validation, test), train=brief)
