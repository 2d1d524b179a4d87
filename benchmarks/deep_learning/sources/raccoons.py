"""Raccoons: 200 photographs with boxes around their one to three raccoons.

All are resized to 64 × 64 pixels, whatever their shape; boxes are relative, so that they follow.
Split: 100 photographs for training, 50 for validation, 50 for test, drawn with seed 0.
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
from benchmarks.deep_learning.sources.boxes import read_picture
from benchmarks.deep_learning.sources.boxes import read_rows
from benchmarks.deep_learning.sources.boxes import stack_rows
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import cached_arrays
from benchmarks.deep_learning.sources.splits import standardised
from benchmarks.deep_learning.sources.splits import stratified_cuts


ARCHIVE = Archive(
    name="raccoon_dataset",
    repository="datitran/raccoon_dataset",
    commit="93938849301895fb73909842ba04af9b602f677a",
    files=r"(images/raccoon-\d+\.jpg|annotations/raccoon-\d+\.xml)",
    digest="b8e21a69372ba14fe23a38bcd893c0c57c6871105da1104ea73ed12e34c4560a",
    licence="MIT",
)
SIDE = 64
_SIZES = (50, 50)  # validation, test


def load_raccoons() -> Splits:
    """Return standardised pictures ``(n, 3, SIDE, SIDE)`` and rows of objects, see ``boxes``.

    Raises:
        DataError: If the archive is not to be had.
    """
    stored = cached_arrays("raccoons", ARCHIVE, lambda: parse(read_archive(ARCHIVE)))
    pictures = torch.as_tensor(stored["pictures"].astype(np.float32)).permute(0, 3, 1, 2)
    whole = Part(pictures.contiguous(), torch.as_tensor(stored["rows"]))
    strata = np.zeros(len(whole), dtype=np.int64)
    validation, test, train = stratified_cuts(strata, _SIZES, seed=0)
    return standardised(Splits(whole.take(train), whole.take(validation), whole.take(test)))


def parse(files: Mapping[str, bytes]) -> dict[str, NDArray[np.generic]]:
    """Return ``pictures`` ``(n, SIDE, SIDE, 3)`` as bytes and their ``rows``."""
    pictures, rows = [], []
    for path in sorted(path for path in files if path.endswith(".jpg")):
        picture = read_picture(files[path])
        pictures.append(np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX)))
        stem = PurePosixPath(path).stem
        rows.append(read_rows(files[f"annotations/{stem}.xml"], ("raccoon",)))
    return {"pictures": np.stack(pictures), "rows": stack_rows(rows)}
