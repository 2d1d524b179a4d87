"""MNIST-10k: 10,000 handwritten digits of 28 × 28 pixels.

The repository keeps one JSON file per class, which holds the pixels of 1,000 or so digits in a
row, in [0, 1]. Split: 8,000 for training, 1,000 for validation, 1,000 for test, stratified by
class with seed 0. (MNIST's own test part is not marked in this repository.)

*Long-tailed digits*: the same digits, but 100 of each class for validation and for test, and for
training 600 zeros down to 6 nines in a geometric row, a hundredth as in Cao et al. (2019).
"""

from __future__ import annotations

from collections.abc import Mapping
import json

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import cached_arrays
from benchmarks.deep_learning.sources.splits import stratified_cuts


ARCHIVE = Archive(
    name="mnist-10k",
    repository="cazala/mnist",
    commit="76157793a26e2eed9313a6cde6ee60d8167a04fd",
    files=r"src/digits/\d\.json",
    digest="b3194b667593f1451211049f4948b44d124c4010ae67da85bc9a66d0a1b235fe",
    licence="MIT",
)
_SIDE = 28
_SIZES = (1000, 1000)  # validation, test
_TAIL = (600, 6)  # training examples of the first and the last class
_PER_CLASS = 100  # in each other part


def load_mnist() -> Splits:
    """Return inputs ``(n, 1, 28, 28)`` in [0, 1] and the digits.

    Raises:
        DataError: If the archive is not to be had.
    """
    whole = _whole()
    validation, test, train = stratified_cuts(whole.labels.numpy(), _SIZES, seed=0)
    return Splits(whole.take(train), whole.take(validation), whole.take(test))


def load_long_tailed_digits() -> Splits:
    """Return what ``load_mnist`` does, with few examples of most classes in the training part.

    Raises:
        DataError: If the archive is not to be had.
    """
    whole = _whole()
    train, validation, test = long_tailed_cuts(whole.labels.numpy())
    return Splits(whole.take(train), whole.take(validation), whole.take(test))


def long_tailed_cuts(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows of the training, the validation and the test part of long-tailed digits."""
    rng = np.random.default_rng(0)
    counts = np.geomspace(*_TAIL, 10).round().astype(int)
    cuts = [
        np.split(rng.permutation(np.flatnonzero(labels == digit)), [_PER_CLASS, 2 * _PER_CLASS])
        for digit in range(10)
    ]
    train = [rest[:count] for (*_, rest), count in zip(cuts, counts, strict=True)]
    parts = [train, [cut[0] for cut in cuts], [cut[1] for cut in cuts]]
    return [np.sort(np.concatenate(part)) for part in parts]


def parse(files: Mapping[str, bytes]) -> dict[str, NDArray[np.generic]]:
    """Return ``images`` ``(n, 28, 28)`` and ``labels`` ``(n,)`` as bytes."""
    images, labels = [], []
    for path, content in sorted(files.items()):
        pixels = np.array(json.loads(content)["data"], dtype=np.float64)
        digits = np.round(255 * pixels.reshape(-1, _SIDE, _SIDE)).astype(np.uint8)
        images.append(digits)
        labels.append(np.full(len(digits), int(path[-len("0.json")]), dtype=np.uint8))
    return {"images": np.concatenate(images), "labels": np.concatenate(labels)}


def _whole() -> Part:
    stored = cached_arrays("mnist", ARCHIVE, lambda: parse(read_archive(ARCHIVE)))
    images = torch.as_tensor(stored["images"].astype(np.float32)) / 255
    return Part(images[:, None], torch.as_tensor(stored["labels"].astype(np.int64)))
