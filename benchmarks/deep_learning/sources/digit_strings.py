"""Strings of two to four MNIST digits side by side, overlapping, in noise.

The digits are halved to 14 × 14 pixels, moved up or down, and each begins before the one before
it ends. Strings of a part are made of that part's digits (see ``mnist``): 3,000 for training,
1,000 for validation, 1,000 for test, drawn with seed 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.deep_learning.sources.mnist import load_mnist
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits


HEIGHT, WIDTH = 18, 56
MAX_DIGITS = 4
NO_DIGIT = -1  # after the end of a string
_MIN_DIGITS = 2
_N_STRINGS = (3000, 1000, 1000)
_SIDE = 14
_MOST_OVERLAP = 4
_NOISE = 0.2

Array = NDArray[np.float32]


def load_digit_strings() -> Splits:
    """Return images ``(n, 1, HEIGHT, WIDTH)`` and their digits ``(n, MAX_DIGITS)``.

    A subset has its share of every length.

    Raises:
        DataError: If the archive of the digits is not to be had.
    """
    mnist = load_mnist()
    rng = np.random.default_rng(0)
    parts = []
    for digits, n in zip((mnist.train, mnist.validation, mnist.test), _N_STRINGS, strict=True):
        small = torch.nn.functional.avg_pool2d(digits.inputs, 2)[:, 0].numpy()
        images, labels = draw_strings(small, digits.labels.numpy(), n, rng)
        parts.append(Part(torch.as_tensor(images), torch.as_tensor(labels)))
    train, validation, test = parts
    lengths = (train.labels != NO_DIGIT).sum(1).numpy()
    return Splits(train, validation, test, lengths)


def draw_strings(
    digits: Array, classes: NDArray[np.int64], n: int, rng: np.random.Generator
) -> tuple[Array, NDArray[np.int64]]:
    """Paste random digits side by side.

    Args:
        digits: ``(k, 14, 14)`` in [0, 1].
        classes: ``(k,)``.
        n: Number of strings.
        rng: Source of randomness.

    Returns:
        Images ``(n, 1, HEIGHT, WIDTH)`` and classes ``(n, MAX_DIGITS)``.
    """
    images = np.zeros((n, 1, HEIGHT, WIDTH), dtype=np.float32)
    labels = np.full((n, MAX_DIGITS), NO_DIGIT, dtype=np.int64)
    for image, label in zip(images[:, 0], labels, strict=True):
        left = 0
        for place in range(int(rng.integers(_MIN_DIGITS, MAX_DIGITS + 1))):
            row = rng.integers(len(digits))
            top = rng.integers(HEIGHT - _SIDE + 1)
            image[top : top + _SIDE, left : left + _SIDE] += digits[row]
            label[place] = classes[row]
            left += _SIDE - int(rng.integers(_MOST_OVERLAP + 1))
    noise = rng.normal(scale=_NOISE, size=images.shape)
    return np.minimum(images, 1) + noise.astype(np.float32), labels
