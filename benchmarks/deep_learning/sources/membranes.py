"""Membranes of nerve cells: 30 electron-microscope slices of 512 × 512 pixels with masks.

The data of the ISBI challenge of 2012 (Arganda-Carreras et al. 2015), at half the resolution and
cut into 16 tiles of 64 × 64 each. Split: slices 0 to 17 are for training (288 tiles), 18 to 23 for
validation and 24 to 29 for test (96 each). Slices are neighbours in the tissue, so that a part is
a block of them. Subsets have their share of every slice.
"""

from __future__ import annotations

from collections.abc import Mapping
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
import torch

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import cached_arrays
from benchmarks.deep_learning.sources.splits import standardised


ARCHIVE = Archive(
    name="unet",
    repository="zhixuhao/unet",
    commit="b45af4d458437d8281cc218a07fd4380818ece4a",
    files=r"data/membrane/train/(image|label)/\d+\.png",
    digest="e128ffcd0348c28ff5d679444a6263aede2600c4d2517fc2db62aea7044ad91c",
    licence="MIT",
)
TILE = 64
_SIDE = 256
_CUTS = (18, 24)  # first slice of the validation and of the test part
_FOLDER = "data/membrane/train"


def load_membranes() -> Splits:
    """Return standardised tiles ``(n, 1, TILE, TILE)`` and masks, 1 where a membrane is.

    Raises:
        DataError: If the archive is not to be had.
    """
    stored = cached_arrays("membranes", ARCHIVE, lambda: parse(read_archive(ARCHIVE)))
    tiles, masks = (_tiles(stored[name]) for name in ("slices", "membranes"))
    whole = Part(torch.as_tensor(tiles.astype(np.float32))[:, None], torch.as_tensor(masks))
    slices = np.repeat(np.arange(len(stored["slices"])), len(tiles) // len(stored["slices"]))
    parts = np.digitize(slices, _CUTS)
    train, validation, test = (np.flatnonzero(parts == part) for part in range(3))
    splits = Splits(whole.take(train), whole.take(validation), whole.take(test), slices[train])
    return standardised(splits)


def parse(files: Mapping[str, bytes]) -> dict[str, NDArray[np.generic]]:
    """Return ``slices`` and ``membranes`` ``(n, 256, 256)`` as bytes, in order."""
    numbers = range(len(files) // 2)
    slices, cells = (
        np.stack([_halved(files[f"{_FOLDER}/{kind}/{number}.png"]) for number in numbers])
        for kind in ("image", "label")
    )
    return {"slices": slices, "membranes": (cells < 128).astype(np.uint8)}  # cells are white


def _halved(content: bytes) -> NDArray[np.uint8]:
    picture = Image.open(io.BytesIO(content)).convert("L")
    return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX))


def _tiles(pictures: NDArray[np.generic]) -> NDArray[np.generic]:
    """Cut ``(n, 256, 256)`` into ``(16 n, TILE, TILE)``, those of a picture in a row."""
    k = _SIDE // TILE
    cut = pictures.reshape(-1, k, TILE, k, TILE).swapaxes(2, 3)
    return np.ascontiguousarray(cut).reshape(-1, TILE, TILE)
