"""BCCD: 364 pictures of blood smears with boxes around red cells, white cells and platelets.

Split of all tasks: the cells of 164 pictures are for training, of 100 for validation and of 100
for test, drawn with seed 0, so that no picture is in two parts. The official split has 205, 87
and 72, which makes for coarse scores.

*Crops* are the boxes, each resized to 24 × 24 pixels and grey, as colour alone tells the stained
nuclei of white cells from the rest. *Foreground* is what lies in an ellipse inscribed in a box:
there are no masks, and cells are round. It is a weak label: cells that nobody marked, most of them
at the border, count as background.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image
import torch

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.boxes import NOTHING
from benchmarks.deep_learning.sources.boxes import Rows
from benchmarks.deep_learning.sources.boxes import read_picture
from benchmarks.deep_learning.sources.boxes import read_rows
from benchmarks.deep_learning.sources.boxes import stack_rows
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import cached_arrays
from benchmarks.deep_learning.sources.splits import standardised
from benchmarks.deep_learning.sources.splits import stratified_cuts


ARCHIVE = Archive(
    name="BCCD_Dataset",
    repository="Shenggan/BCCD_Dataset",
    commit="d272fb14cdff6e473fafeeeba32aba5f560e9e43",
    files=r"BCCD/(JPEGImages|Annotations)/BloodImage_\d+\.(jpg|xml)",
    digest="507371e8d8413eb4cd70a2ac14c60f1e51e0894079f97b7a700e06fff383feea",
    licence="MIT",
)
CLASSES = ("RBC", "WBC", "Platelets")
HEIGHT, WIDTH = 72, 96
CROP_SIDE = 24
_SIZES = (100, 100)  # validation, test

Arrays = dict[str, NDArray[np.generic]]


def load_blood_crops() -> Splits:
    """Return standardised grey cells ``(n, 1, CROP_SIDE, CROP_SIDE)`` and their classes.

    Raises:
        DataError: If the archive is not to be had.
    """
    stored = _stored()
    inputs = torch.as_tensor(stored["crops"].astype(np.float32))[:, None] / 255
    whole = Part(inputs, torch.as_tensor(stored["crop_classes"].astype(np.int64)))
    validation, test, train = (
        np.flatnonzero(np.isin(stored["crop_pictures"], pictures))
        for pictures in _cuts(len(stored["pictures"]))
    )
    return standardised(Splits(whole.take(train), whole.take(validation), whole.take(test)))


def load_blood_foreground() -> Splits:
    """Return standardised pictures ``(n, 3, HEIGHT, WIDTH)`` and masks ``(n, HEIGHT, WIDTH)``.

    Raises:
        DataError: If the archive is not to be had.
    """
    stored = _stored()
    masks = ellipses(stored["rows"].astype(np.float32), HEIGHT, WIDTH)
    return _picture_splits(stored, masks.astype(np.int64))


def load_blood_boxes() -> Splits:
    """Return standardised pictures ``(n, 3, HEIGHT, WIDTH)`` and rows of objects (``boxes``).

    Raises:
        DataError: If the archive is not to be had.
    """
    stored = _stored()
    return _picture_splits(stored, stored["rows"])


def parse(files: Mapping[str, bytes]) -> Arrays:
    """Return ``pictures``, their ``rows``, and ``crops`` with their classes and pictures."""
    pictures, rows, crops, crop_rows, owners = [], [], [], [], []
    for number, path in enumerate(sorted(path for path in files if path.endswith(".jpg"))):
        picture = read_picture(files[path])
        stem = PurePosixPath(path).stem
        rows.append(read_rows(files[f"BCCD/Annotations/{stem}.xml"], CLASSES))
        pictures.append(np.asarray(picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX)))
        for row in rows[-1]:
            crops.append(_crop(picture, row))
            crop_rows.append(int(row[0]))
            owners.append(number)
    return {
        "pictures": np.stack(pictures),
        "rows": stack_rows(rows),
        "crops": np.stack(crops),
        "crop_classes": np.array(crop_rows, dtype=np.uint8),
        "crop_pictures": np.array(owners, dtype=np.int16),
    }


def ellipses(rows: Rows, height: int, width: int) -> NDArray[np.bool_]:
    """Whether the centre of a pixel lies in an ellipse inscribed in a box.

    Args:
        rows: ``(n, k, N_FIELDS)`` objects.
        height: Of the masks, in pixels.
        width: Of the masks, in pixels.

    Returns:
        ``(n, height, width)``.
    """
    y = (np.arange(height)[:, None] + 0.5) / height
    x = (np.arange(width) + 0.5) / width
    masks = np.zeros((len(rows), height, width), dtype=bool)
    for mask, some in zip(masks, rows, strict=True):
        for kind, left, top, right, bottom in some:
            if kind != NOTHING:
                across = (2 * x - left - right) / (right - left)
                down = (2 * y - top - bottom) / (bottom - top)
                mask |= across**2 + down**2 <= 1
    return masks


def _crop(picture: Image.Image, row: Rows) -> NDArray[np.uint8]:
    sides = tuple(row[1:] * [picture.width, picture.height, picture.width, picture.height])
    size = (CROP_SIDE, CROP_SIDE)
    return np.asarray(picture.convert("L").resize(size, Image.Resampling.BOX, box=sides))


def _stored() -> Arrays:
    return cached_arrays("blood-cells", ARCHIVE, lambda: parse(read_archive(ARCHIVE)))


def _cuts(n: int) -> list[NDArray[np.int64]]:
    return stratified_cuts(np.zeros(n, dtype=np.int64), _SIZES, seed=0)


def _picture_splits(stored: Arrays, labels: NDArray[np.generic]) -> Splits:
    pictures = torch.as_tensor(stored["pictures"].astype(np.float32)).permute(0, 3, 1, 2) / 255
    whole = Part(pictures.contiguous(), torch.as_tensor(labels))
    validation, test, train = _cuts(len(whole))
    return standardised(Splits(whole.take(train), whole.take(validation), whole.take(test)))
