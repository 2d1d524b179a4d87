"""Made-up scenes with several objects, a class for every pixel and a box for every object.

*Digit scenes*: one or two MNIST digits from 0 to 4, resized, on a canvas with noise and with
scraps of other digits, as in the cluttered MNIST of Mnih et al. (2014); the digits of a scene are
from the same part of MNIST-10k. *Shape scenes*: discs, squares, triangles, rings and crosses of
any size, angle and brightness with a gradient of light and noise; crowded ones have more, which
cover each other. All are drawn with seeds: 600 scenes for training, 300 for validation, 300 for
test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field

import numpy as np
from numpy.typing import NDArray
from PIL import Image
import torch

from benchmarks.deep_learning.sources.boxes import N_FIELDS
from benchmarks.deep_learning.sources.boxes import stack_rows
from benchmarks.deep_learning.sources.mnist import ARCHIVE
from benchmarks.deep_learning.sources.mnist import load_mnist
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import cached_arrays


SIDE = 32
N_DIGITS = 5
N_SHAPES = 5
N_SCENES = (600, 300, 300)  # training, validation, test
_N_SCRAPS, _SCRAP = 4, 6
_TRIES = 20

Stencil = NDArray[np.float32]
Arrays = dict[str, NDArray[np.generic]]


@dataclass
class Scene:
    """A canvas that objects are put on; later ones hide earlier ones.

    Attributes:
        picture: ``(SIDE, SIDE)`` brightness.
        mask: ``(SIDE, SIDE)`` 0 for the background, 1 + class for an object.
        rows: Objects, see ``boxes``.
    """

    picture: Stencil
    mask: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.uint8))
    rows: list[tuple[float, ...]] = field(default_factory=list)

    def put(
        self,
        kind: int,
        stencil: Stencil,
        brightness: float,
        most_overlap: float,
        rng: np.random.Generator,
    ) -> None:
        """Put an object at a random place; leave it out when there is no room.

        Args:
            kind: The class.
            stencil: ``(height, width)`` opacity in [0, 1], with no empty border.
            brightness: Of the object.
            most_overlap: Share of its box that boxes of others may cover.
            rng: Source of randomness.
        """
        height, width = stencil.shape
        for _ in range(_TRIES):
            top, left = rng.integers(SIDE - height + 1), rng.integers(SIDE - width + 1)
            sides = np.array([left, top, left + width, top + height]) / SIDE
            if self._covered(sides) <= most_overlap:
                break
        else:
            return
        window = (slice(top, top + height), slice(left, left + width))
        self.picture[window] += stencil * (brightness - self.picture[window])
        self.mask[window][stencil > 0.5] = 1 + kind
        self.rows.append((kind, *sides))

    def _covered(self, sides: NDArray[np.float64]) -> float:
        if not self.rows:
            return 0.0
        others = np.array(self.rows)[:, 1:]
        extent = np.minimum(others[:, 2:], sides[2:]) - np.maximum(others[:, :2], sides[:2])
        area = np.prod(sides[2:] - sides[:2])
        return float((extent.clip(0).prod(1) / area).max())


def load_digit_scenes(labels: str) -> Splits:
    """Return scenes ``(n, 1, SIDE, SIDE)`` of digits.

    Args:
        labels: ``masks`` for ``(n, SIDE, SIDE)`` classes, 0 the background, or ``rows`` for
            objects ``(n, k, N_FIELDS)``, see ``boxes``.

    Raises:
        DataError: If the archive is not to be had.
    """
    return _splits(cached_arrays("digit-scenes", ARCHIVE, _digit_arrays), labels)


def load_shape_scenes(labels: str, *, crowded: bool) -> Splits:
    """Return scenes ``(n, 1, SIDE, SIDE)`` of shapes.

    Args:
        labels: ``masks`` or ``rows``, as of digits.
        crowded: Whether there are many shapes that cover each other.
    """
    rng = np.random.default_rng(1 if crowded else 2)
    return _splits(_stack(lambda part: shape_scene(crowded, rng), N_SCENES), labels)


def digit_scene(part: Part, rng: np.random.Generator) -> Scene:
    """Draw one scene with digits of a part of MNIST."""
    scene = Scene(np.zeros((SIDE, SIDE), np.float32))
    for _ in range(_N_SCRAPS):
        digit = part.inputs[rng.integers(len(part)), 0].numpy()
        top, left = rng.integers(28 - _SCRAP, size=2)
        down, right = rng.integers(SIDE - _SCRAP, size=2)
        scrap = digit[top : top + _SCRAP, left : left + _SCRAP]
        scene.picture[down : down + _SCRAP, right : right + _SCRAP] += scrap
    for _ in range(rng.integers(1, 3)):
        row = rng.integers(len(part))
        side = int(rng.integers(17, 29))
        image = Image.fromarray(part.inputs[row, 0].numpy())
        resized = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)).clip(0, 1)
        scene.put(int(part.labels[row]), _trimmed(resized), rng.uniform(0.6, 1.2), 0.1, rng)
    scene.picture += rng.normal(0, rng.uniform(0.05, 0.25), scene.picture.shape)
    return scene


def shape_scene(crowded: bool, rng: np.random.Generator) -> Scene:
    """Draw one scene with shapes."""
    slope = rng.normal(0, 0.3, 2)
    places = (np.arange(SIDE) - SIDE / 2) / SIDE
    light = slope[0] * places[:, None] + slope[1] * places
    scene = Scene(light.astype(np.float32))
    for _ in range(rng.integers(3, 6) if crowded else rng.integers(1, 4)):
        kind = int(rng.integers(N_SHAPES))
        stencil = shape_stencil(kind, rng.uniform(4, 9), rng.uniform(0, 2 * np.pi))
        brightness = rng.choice([-1, 1]) * rng.uniform(0.4, 1.0)
        scene.put(kind, stencil, brightness, 0.7 if crowded else 0.2, rng)
    scene.picture += rng.normal(0, rng.uniform(0.05, 0.3), scene.picture.shape)
    return scene


def shape_stencil(kind: int, radius: float, angle: float) -> Stencil:
    """Draw a disc, square, triangle, ring or cross of some radius in pixels."""
    axis = np.arange(-radius - 2, radius + 3)
    x = np.cos(angle) * axis + np.sin(angle) * axis[:, None]
    y = np.cos(angle) * axis[:, None] - np.sin(angle) * axis
    distance = np.hypot(x, y)
    # How far a pixel is within the outline.
    inside = (
        radius - distance,
        0.8 * radius - np.maximum(abs(x), abs(y)),
        0.5 * radius - np.maximum.reduce([y, 0.866 * x - 0.5 * y, -0.866 * x - 0.5 * y]),
        0.25 * radius - abs(distance - 0.75 * radius),
        np.minimum(0.3 * radius - np.minimum(abs(x), abs(y)), radius - np.maximum(abs(x), abs(y))),
    )[kind]
    return _trimmed((inside + 0.5).clip(0, 1).astype(np.float32))


def _trimmed(stencil: Stencil) -> Stencil:
    rows, columns = (np.flatnonzero((stencil > 0.5).any(axis)) for axis in (1, 0))
    return stencil[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _digit_arrays() -> Arrays:
    mnist = load_mnist()
    parts = [
        part.take(np.flatnonzero(part.labels.numpy() < N_DIGITS))
        for part in (mnist.train, mnist.validation, mnist.test)
    ]
    rng = np.random.default_rng(0)
    return _stack(lambda part: digit_scene(parts[part], rng), N_SCENES)


def _stack(draw: Callable[[int], Scene], counts: tuple[int, ...]) -> Arrays:
    numbers = np.repeat(np.arange(len(counts)), counts)
    scenes = [draw(int(part)) for part in numbers]
    rows = [np.array(scene.rows, np.float32).reshape(-1, N_FIELDS) for scene in scenes]
    return {
        "pictures": np.stack([scene.picture for scene in scenes]).astype(np.float16),
        "masks": np.stack([scene.mask for scene in scenes]),
        "rows": stack_rows(rows),
        "parts": numbers,
    }


def _splits(stored: Arrays, labels: str) -> Splits:
    inputs = torch.as_tensor(stored["pictures"].astype(np.float32))[:, None]
    whole = Part(inputs, torch.as_tensor(stored[labels]))
    train, validation, test = (np.flatnonzero(stored["parts"] == part) for part in range(3))
    return Splits(whole.take(train), whole.take(validation), whole.take(test))
