"""Pictures with boxes around objects, as Pascal VOC stores them, and as tensors.

A row of a label is an object: ``class, left, top, right, bottom``, the sides relative to those of
the picture; rows of class -1 fill up.
"""

from __future__ import annotations

from collections.abc import Sequence
import io
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image


NOTHING = -1.0
N_FIELDS = 5

Pixels = NDArray[np.uint8]
Rows = NDArray[np.float32]


def read_picture(content: bytes) -> Image.Image:
    """Decode a picture to red, green and blue."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def read_rows(content: bytes, classes: Sequence[str]) -> Rows:
    """Return the objects ``(k, N_FIELDS)`` of an annotation; boxes without an area are left out.

    Args:
        content: The XML file; it is trusted, as its checksum is known.
        classes: Names of the classes, in order.
    """
    names = ("xmin", "ymin", "xmax", "ymax")
    root = ElementTree.fromstring(content)
    width, height = (float(root.findtext(f"size/{side}", "nan")) for side in ("width", "height"))
    rows = []
    for item in root.iter("object"):
        left, top, right, bottom = (
            float(item.findtext(f"bndbox/{name}", "nan")) for name in names
        )
        if right > left and bottom > top:
            number = classes.index(item.findtext("name", ""))
            sides = (left / width, top / height, right / width, bottom / height)
            rows.append((number, *np.clip(sides, 0, 1)))
    return np.array(rows, dtype=np.float32).reshape(-1, N_FIELDS)


def stack_rows(rows: Sequence[Rows]) -> Rows:
    """Return ``(n, most, N_FIELDS)``, filled up with rows of class ``NOTHING``."""
    stacked = np.zeros((len(rows), max(map(len, rows)), N_FIELDS), dtype=np.float32)
    stacked[..., 0] = NOTHING
    for number, some in enumerate(rows):
        stacked[number, : len(some)] = some
    return stacked
