"""Objects as points (Zhou et al. 2019): a map of centres per class, and a size at each centre."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from benchmarks.deep_learning.layers import conv2d
from benchmarks.deep_learning.layers import norm2d
from benchmarks.deep_learning.sources.boxes import N_FIELDS
from benchmarks.deep_learning.sources.boxes import NOTHING
from benchmarks.deep_learning.training import Params


MOST_FOUND = 40  # objects per picture
_STRIDE = 4
_LOG_ODDS = -2.2  # of a centre at first: a tenth, as published
_FEWEST_CELLS, _MOST_CELLS = 0.1, 64.0  # sides of a box
_EPSILON = 1e-4


class Detector(nn.Module):
    """A convolutional network that gives ``(n, classes + 4, height / 4, width / 4)``.

    The channels are logits of centres per class, then width and height of the box, then how far
    its centre is right of and below the middle of the cell.

    Args:
        params: ``width``, ``n_blocks``, ``norm``; ``n_levels`` of half the resolution each, which
            widen the view.
        n_in: Channels of the pictures.
        n_classes: Classes of objects.
        generator: Source of randomness.
    """

    def __init__(
        self, params: Params, n_in: int, n_classes: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        width, norm = int(params["width"]), str(params["norm"])
        block = partial(_block, norm=norm, generator=generator)
        self._stem = nn.Sequential(block(n_in, width, stride=2), block(width, 2 * width, stride=2))
        self._blocks = nn.Sequential(
            *(block(2 * width, 2 * width, stride=1) for _ in range(int(params["n_blocks"])))
        )
        self._levels = nn.ModuleList(
            block(2 * width, 2 * width, stride=2) for _ in range(int(params["n_levels"]))
        )
        last = conv2d(2 * width, n_classes + 4, 1, generator, stride=1)
        assert isinstance(last.bias, Tensor)
        with torch.no_grad():
            last.bias[:n_classes] = _LOG_ODDS
        self._head = nn.Sequential(block(2 * width, 2 * width, stride=1), last)
        # Twice as fast as the default with few channels on a processor.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> Tensor:
        """See the class."""
        x = self._stem(pictures.contiguous(memory_format=torch.channels_last))
        x = self._blocks(x)
        maps = [x]
        for level in self._levels:
            maps.append(level(maps[-1]))
        for coarse in maps[1:]:
            x = x + functional.interpolate(coarse, size=x.shape[-2:], mode="nearest")
        return self._head(x)  # type: ignore[no-any-return]


def detection_loss(params: Params, maps: Tensor, rows: Tensor) -> Tensor:
    """The loss of a batch.

    Args:
        params: ``focal_alpha``, ``focal_beta`` and ``heat_spread`` of the map of centres;
            ``size_weight`` and ``size_coding``, ``linear`` or ``log``; ``offsets`` and if so
            ``offset_weight``.
        maps: Of the network.
        rows: ``(b, k, N_FIELDS)`` objects, see ``boxes``.
    """
    logits, boxes = maps[:, :-4], maps[:, -4:]
    height, width = maps.shape[-2:]
    is_object = rows[..., 0] != NOTHING
    scale = rows.new_tensor([width, height])
    sizes = (rows[..., 3:] - rows[..., 1:3]) * scale
    centres = (rows[..., 1:3] + rows[..., 3:]) / 2 * scale
    cells = torch.minimum(centres.floor(), scale - 1)
    n_objects = is_object.sum().clamp(min=1)

    heat = _heat(rows, cells, float(params["heat_spread"]) * sizes, logits.shape)
    loss = _focal_loss(params, logits, heat) / n_objects
    columns, lines = cells.long().unbind(-1)
    places = (lines * width + columns)[:, None].expand(-1, 4, -1)
    found = boxes.flatten(2).gather(2, places).mT[is_object]
    wanted = sizes[is_object].clamp(min=_FEWEST_CELLS)
    if params["size_coding"] == "log":
        wanted = wanted.log()
    loss = loss + float(params["size_weight"]) * (found[:, :2] - wanted).abs().sum() / n_objects
    if params["offsets"]:
        offsets = (centres - cells - 0.5)[is_object]
        off = (found[:, 2:] - offsets).abs().sum() / n_objects
        loss = loss + float(params["offset_weight"]) * off
    return loss


def decode(params: Params, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Objects at the peaks of the maps of centres.

    Args:
        params: As of the loss, and ``peak_window``, within which there is one peak.
        maps: Of the network.

    Returns:
        ``(n, MOST_FOUND, N_FIELDS)`` objects, the surest first, and their scores.
    """
    chances = maps[:, :-4].sigmoid()
    window = int(params["peak_window"])
    is_peak = functional.max_pool2d(chances, window, 1, window // 2) == chances
    _, n_classes, height, width = chances.shape
    n_found = min(MOST_FOUND, n_classes * height * width)
    scores, places = (chances * is_peak).flatten(1).topk(n_found)
    kinds, cells = places // (height * width), places % (height * width)
    found = maps[:, -4:].flatten(2).gather(2, cells[:, None].expand(-1, 4, -1)).mT
    sizes = found[..., :2].exp() if params["size_coding"] == "log" else found[..., :2]
    sizes = sizes.clamp(_FEWEST_CELLS, _MOST_CELLS)
    centres = torch.stack([cells % width, cells // width], -1) + 0.5
    if params["offsets"]:
        centres = centres + found[..., 2:]
    scale = maps.new_tensor([width, height])
    corners = [(centres - sizes / 2) / scale, (centres + sizes / 2) / scale]
    rows = torch.cat([kinds[..., None], *corners], -1)
    assert rows.shape[-1] == N_FIELDS
    return rows, scores


def _heat(rows: Tensor, cells: Tensor, spreads: Tensor, shape: torch.Size) -> Tensor:
    """Bumps of height 1 around the cells of centres, for every class."""
    _, n_classes, height, width = shape
    x, y = torch.arange(width) - cells[..., :1], torch.arange(height) - cells[..., 1:]
    spread_x, spread_y = spreads.clamp(min=_FEWEST_CELLS).split(1, -1)
    across, down = (-((x / spread_x) ** 2) / 2).exp(), (-((y / spread_y) ** 2) / 2).exp()
    bumps = down[..., :, None] * across[..., None, :]  # (b, k, height, width)
    of_class = rows[..., :1] == torch.arange(n_classes)  # (b, k, classes)
    maps = [(bumps * of_class[..., kind, None, None]).amax(1) for kind in range(n_classes)]
    return torch.stack(maps, 1)


def _focal_loss(params: Params, logits: Tensor, heat: Tensor) -> Tensor:
    """The sum over cells of the focal loss with fewer penalties near a centre."""
    alpha, beta = float(params["focal_alpha"]), float(params["focal_beta"])
    chances = logits.sigmoid().clamp(_EPSILON, 1 - _EPSILON)
    at_centre = (1 - chances) ** alpha * chances.log()
    elsewhere = (1 - heat) ** beta * chances**alpha * (1 - chances).log()
    return -torch.where(heat == 1, at_centre, elsewhere).sum()


def _block(
    n_in: int, n_out: int, *, norm: str, generator: torch.Generator, stride: int
) -> nn.Module:
    convolution = conv2d(n_in, n_out, 3, generator, stride=stride)
    return nn.Sequential(convolution, norm2d(norm, n_out), nn.ReLU())
