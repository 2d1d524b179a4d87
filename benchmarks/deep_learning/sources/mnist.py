"""MNIST-10k: 10,000 handwritten digits of 28 × 28 pixels.

The repository keeps one JSON file per class, which holds the pixels of 1,000 or so digits in a
row, in [0, 1]. Split: 8,000 for training, 1,000 for validation, 1,000 for test, stratified by
class with seed 0. (MNIST's own test part is not marked in this repository.)
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


def load_mnist() -> Splits:
    """Return inputs ``(n, 1, 28, 28)`` in [0, 1] and the digits.

    Raises:
        DataError: If the archive is not to be had.
    """
    stored = cached_arrays("mnist", ARCHIVE, lambda: parse(read_archive(ARCHIVE)))
    labels = torch.as_tensor(stored["labels"].astype(np.int64))
    images = torch.as_tensor(stored["images"].astype(np.float32)) / 255
    whole = Part(images[:, None], labels)
    validation, test, train = stratified_cuts(labels.numpy(), _SIZES, seed=0)
    return Splits(whole.take(train), whole.take(validation), whole.take(test))


def parse(files: Mapping[str, bytes]) -> dict[str, NDArray[np.generic]]:
    """Return ``images`` ``(n, 28, 28)`` and ``labels`` ``(n,)`` as bytes."""
    images, labels = [], []
    for path, content in sorted(files.items()):
        pixels = np.array(json.loads(content)["data"], dtype=np.float64)
        digits = np.round(255 * pixels.reshape(-1, _SIDE, _SIDE)).astype(np.uint8)
        images.append(digits)
        labels.append(np.full(len(digits), int(path[-len("0.json")]), dtype=np.uint8))
    return {"images": np.concatenate(images), "labels": np.concatenate(labels)}
