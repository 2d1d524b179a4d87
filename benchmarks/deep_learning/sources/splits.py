"""Training, validation and test parts, and seeded stratified ways to make them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import os

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import cache_folder


Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Some examples.

    Attributes:
        inputs: ``(n, ...)`` what the model is given.
        labels: ``(n, ...)`` what it shall give: ``(n,)`` classes from 0, int64, or whatever the
            family's loss and score compare with.
        earlier: Rows ``(k,)`` of the smaller subsets that training begins with, in order of size.
    """

    inputs: Tensor
    labels: Tensor
    earlier: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Indices, earlier: Sequence[Indices] = ()) -> Part:
        """The examples of some rising rows; ``earlier`` are rows among these."""
        rows = torch.as_tensor(indices)
        within = (torch.as_tensor(np.searchsorted(indices, smaller)) for smaller in earlier)
        return Part(self.inputs[rows], self.labels[rows], tuple(within))


@dataclass(frozen=True)
class Splits:
    """The fixed parts of a data set; ``test`` is for final answers only.

    Attributes:
        strata: ``(n,)`` stratum of every training example, of which each subset gets its share;
            None for the classes, and where the labels are none, for no strata.
    """

    train: Part
    validation: Part
    test: Part
    strata: Indices | None = None

    @property
    def subset_strata(self) -> Indices | int:
        """What ``SubsetEvaluator`` cuts: strata, classes, or the number of examples."""
        if self.strata is not None:
            return self.strata
        labels = self.train.labels
        return (
            labels.numpy() if labels.ndim == 1 and not labels.is_floating_point() else len(labels)
        )


def stratified_cuts(strata: Indices, counts: tuple[int, ...], seed: int) -> list[Indices]:
    """Draw disjoint parts in which every stratum has its share.

    Args:
        strata: ``(n,)`` stratum of every example.
        counts: Sizes of the parts; what is left over is one more part, the last.
        seed: Of the draw.

    Returns:
        The rows of every part, rising.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(strata))
    _, stratum, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    turn = np.empty(len(strata))
    for number, size in enumerate(sizes):
        members = order[stratum[order] == number]
        turn[members] = (np.arange(size) + rng.random()) / size
    pieces = np.split(np.argsort(turn, kind="stable"), np.cumsum(counts))
    return [np.sort(piece) for piece in pieces]


def standardised(splits: Splits) -> Splits:
    """Give every channel of inputs ``(n, channels, ...)`` mean 0 and spread 1 in training."""
    inputs = splits.train.inputs
    dims = [0, *range(2, inputs.ndim)]
    mean, spread = inputs.mean(dims, keepdim=True), inputs.std(dims, keepdim=True)
    train, validation, test = (
        Part((part.inputs - mean) / spread, part.labels)
        for part in (splits.train, splits.validation, splits.test)
    )
    return Splits(train, validation, test, splits.strata)


def cached_arrays(
    name: str, archive: Archive | None, make: Callable[[], Mapping[str, NDArray[np.generic]]]
) -> dict[str, NDArray[np.generic]]:
    """Return arrays that are slow to make, from the cache folder if it has them.

    Args:
        name: Of the file; it changes whenever ``make`` does.
        archive: Whose data they are made of, None for those of a seed alone.
        make: Makes them.
    """
    origin = "made" if archive is None else archive.digest[:12]
    path = cache_folder() / f"{name}-{origin}.npz"
    if not path.exists():
        partial = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(partial, **make())  # type: ignore[arg-type]
        partial.replace(path)
    with np.load(path, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}
