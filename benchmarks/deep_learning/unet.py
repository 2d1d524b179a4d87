"""A small U-Net (Ronneberger et al. 2015) and the losses it is trained with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from benchmarks.deep_learning.layers import ACTIVATIONS
from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import conv2d
from benchmarks.deep_learning.layers import doubling2d
from benchmarks.deep_learning.layers import norm2d
from benchmarks.deep_learning.training import Params


class UNet(nn.Module):
    """Convolutions that halve a picture and double it again, with what was there on the way down.

    The first level is at half the resolution of the picture: four times as fast.

    Args:
        params: ``width`` of the first level, which doubles with each of ``depth`` further ones;
            ``n_convolutions`` per block; ``norm``, ``activation``, ``dropout`` at the bottom;
            ``doubling`` by ``nearest``, ``bilinear`` or ``transposed``; ``skip`` by ``none``,
            ``add`` or ``concat``.
        n_in: Channels of the pictures; their sides are multiples of two to the ``depth + 1``.
        n_classes: Classes of a pixel.
        generator: Source of randomness.
    """

    def __init__(
        self, params: Params, n_in: int, n_classes: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._skip, self._doubling = str(params["skip"]), str(params["doubling"])
        widths = [int(params["width"]) * 2**level for level in range(int(params["depth"]) + 1)]
        self._stem = conv2d(n_in, widths[0], 3, generator)
        n_in = widths[0]
        self._down, self._up, self._doublings = (nn.ModuleList() for _ in range(3))
        for width in widths:
            self._down.append(_block(params, n_in, width, generator))
            n_in = width
        self._dropout = Dropout(float(params["dropout"]), generator)
        for width in reversed(widths[:-1]):
            if self._doubling == "transposed":
                self._doublings.append(doubling2d(2 * width, width, generator))
            else:
                self._doublings.append(conv2d(2 * width, width, 1, generator, stride=1))
            n_joined = 2 * width if self._skip == "concat" else width
            self._up.append(_block(params, n_joined, width, generator))
        self._head = conv2d(widths[0], n_classes, 1, generator, stride=1)
        # Twice as fast as the default with few channels on a processor.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits ``(n, classes, height, width)`` of ``(n, channels, height, width)``."""
        x = self._stem(pictures.contiguous(memory_format=torch.channels_last))
        skipped: list[Tensor] = []
        for block in self._down:
            if skipped:
                x = functional.max_pool2d(x, 2)
            x = block(x)
            skipped.append(x)
        x = self._dropout(skipped.pop())
        for doubling, block in zip(self._doublings, self._up, strict=True):
            x = doubling(x)
            if self._doubling != "transposed":
                x = functional.interpolate(x, scale_factor=2, mode=self._doubling)
            other = skipped.pop()
            if self._skip == "concat":
                x = torch.cat([x, other], 1)
            elif self._skip == "add":
                x = x + other
            x = block(x)
        mode = "nearest" if self._doubling == "nearest" else "bilinear"
        return functional.interpolate(self._head(x), scale_factor=2, mode=mode)


def pixel_loss(params: Params, weight: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of a batch.

    Args:
        params: ``loss`` is ``ce`` (cross entropy), ``focal`` (Lin et al. 2017, with
            ``focal_gamma``), ``dice`` (Milletari et al. 2016), or ``ce_dice``, their sum with
            ``dice_weight``.
        weight: ``(classes,)`` of cross entropy and focal loss.
        logits: ``(b, classes, height, width)``.
        labels: ``(b, height, width)``.
    """
    labels = labels.long()
    if params["loss"] == "ce":
        return functional.cross_entropy(logits, labels, weight)
    if params["loss"] == "focal":
        loss = functional.cross_entropy(logits, labels, weight, reduction="none")
        missed = 1 - logits.softmax(1).gather(1, labels[:, None])[:, 0]
        return (missed ** float(params["focal_gamma"]) * loss).mean()
    if params["loss"] == "dice":
        return _dice_loss(logits, labels)
    dice = float(params["dice_weight"]) * _dice_loss(logits, labels)
    return functional.cross_entropy(logits, labels, weight) + dice


def _dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    chances = logits.softmax(1)
    truth = functional.one_hot(labels, logits.shape[1]).permute(0, 3, 1, 2).to(chances.dtype)
    dims = (0, 2, 3)
    both = (chances * truth).sum(dims)
    return 1 - ((2 * both + 1) / (chances.sum(dims) + truth.sum(dims) + 1)).mean()


def _block(params: Params, n_in: int, n_out: int, generator: torch.Generator) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(int(params["n_convolutions"])):
        layers.append(conv2d(n_in, n_out, 3, generator, stride=1))
        layers.append(norm2d(str(params["norm"]), n_out))
        layers.append(ACTIVATIONS[str(params["activation"])]())
        n_in = n_out
    return nn.Sequential(*layers)
