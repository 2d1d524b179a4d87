"""Four labelled sets of time series of the UCR and UEA archives.

*ArrowHead*: outlines of arrow heads as the distance from the centre, 3 classes. *OSULeaf*:
outlines of leaves, 6 species. *ItalyPowerDemand*: 24 hours of electricity demand, summer or
winter. *JapaneseVowels*: two vowels by 9 speakers, 12 cepstral coefficients in 7 to 29 frames.

Split: the published training parts are small (36 to 270 series), and cut once more they leave no
validation part that tells two models apart. So both published parts are put together and cut
anew, stratified by class with seed 0; sizes in ``_SIZES``. Results are not comparable with
published ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import stratified_cuts


ARCHIVE = Archive(
    name="aeon-series",
    repository="aeon-toolkit/aeon",
    commit="a101ddc8b35a65441609b45c9bcce5aeafa0c131",
    files=r"aeon/datasets/data/(ArrowHead|ItalyPowerDemand|JapaneseVowels|OSULeaf)/"
    r"[A-Za-z]+_(TRAIN|TEST)\.ts",
    digest="1f67b969c80c8d84fc1a5e479e402a9a11b7b8fada275845d7f23cbad1aa1fa8",
    licence="BSD-3-Clause",
)

Series = NDArray[np.float32]

# Validation and test; the rest is for training.
_SIZES = {
    "ArrowHead": (65, 65),
    "ItalyPowerDemand": (500, 500),
    "JapaneseVowels": (240, 240),
    "OSULeaf": (130, 130),
}


def load_series(name: str) -> Splits:
    """Return series ``(n, channels, length)`` and their classes.

    Channels are standardised over the training part; shorter series end in zeros.

    Args:
        name: Of the set, as in the archive.

    Raises:
        DataError: If the archive is not to be had.
    """
    files = read_archive(ARCHIVE)
    folder = f"aeon/datasets/data/{name}/{name}"
    published = [parse(files[f"{folder}_{part}.ts"].decode()) for part in ("TRAIN", "TEST")]
    series = [one for part, _ in published for one in part]
    labels = np.concatenate([classes for _, classes in published])
    validation, test, train = stratified_cuts(labels, _SIZES[name], seed=0)
    frames = np.concatenate([series[row] for row in train], axis=1)
    mean, spread = frames.mean(1, keepdims=True), frames.std(1, keepdims=True)
    inputs = padded([(one - mean) / spread for one in series])
    whole = Part(torch.as_tensor(inputs), torch.as_tensor(labels))
    return Splits(whole.take(train), whole.take(validation), whole.take(test))


def parse(content: str) -> tuple[list[Series], NDArray[np.int64]]:
    """Return the series ``(channels, length)`` of a file and their classes from 0.

    Args:
        content: Of a ``.ts`` file: a line per series, its channels and class parted by colons.
    """
    lines = content.splitlines()
    names = next(line.split()[2:] for line in lines if line.startswith("@classLabel"))
    rows = [line.split(":") for line in lines if line.strip() and line[0] not in "#@"]
    series = [np.array([channel.split(",") for channel in row[:-1]], np.float32) for row in rows]
    return series, np.array([names.index(row[-1].strip()) for row in rows], dtype=np.int64)


def padded(series: Sequence[Series]) -> Series:
    """Return ``(n, channels, longest)`` with zeros at the ends."""
    longest = max(one.shape[1] for one in series)
    return np.stack([np.pad(one, ((0, 0), (0, longest - one.shape[1]))) for one in series])
