"""Layers whose weights and dropout come from a generator of their own.

PyTorch's own constructors and dropout draw from the global generator, which belongs to whoever
runs this process.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn
from torch.nn.utils import skip_init


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


def conv1d(n_in: int, n_out: int, kernel: int, generator: torch.Generator) -> nn.Module:
    """A convolution over ``(n, n_in, length)`` that keeps the length where the kernel is odd."""
    layer = skip_init(nn.Conv1d, n_in, n_out, kernel, padding=kernel // 2)
    return _initialised(layer, generator)


def conv2d(
    n_in: int, n_out: int, kernel: int, generator: torch.Generator, *, stride: int = 2
) -> nn.Module:
    """A convolution over ``(n, n_in, height, width)`` that halves both, rounded up.

    With a stride of 1 it keeps them where the kernel is odd.
    """
    layer = skip_init(nn.Conv2d, n_in, n_out, kernel, stride=stride, padding=kernel // 2)
    return _initialised(layer, generator)


def doubling2d(n_in: int, n_out: int, generator: torch.Generator) -> nn.Module:
    """A transposed convolution over ``(n, n_in, height, width)`` that doubles both."""
    return _initialised(skip_init(nn.ConvTranspose2d, n_in, n_out, 2, stride=2), generator)


def norm2d(kind: str, n: int) -> nn.Module:
    """Normalisation of ``(n, channels, height, width)``: ``none``, ``batch``, ``group`` of 4."""
    if kind == "group":
        return nn.GroupNorm(n // 4, n)
    return nn.BatchNorm2d(n) if kind == "batch" else nn.Identity()


def linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Module:
    """A linear map of ``(n, n_in)``."""
    return _initialised(skip_init(nn.Linear, n_in, n_out), generator)


def embedding(n: int, dim: int, padding: int, generator: torch.Generator) -> nn.Module:
    """Vectors of ``n`` words; that of ``padding`` stays zero."""
    layer: nn.Embedding = skip_init(nn.Embedding, n, dim, padding_idx=padding)
    with torch.no_grad():
        nn.init.normal_(layer.weight, std=dim**-0.5, generator=generator)
        layer.weight[padding] = 0
    return layer


def gru(
    n_in: int, n_out: int, generator: torch.Generator, *, n_layers: int = 1, both: bool = False
) -> nn.GRU:
    """A recurrent layer over ``(n, length, n_in)``.

    Args:
        n_in: Size of an input.
        n_out: Size of the recurrent state, per direction.
        generator: Of the weights, which are drawn as PyTorch does.
        n_layers: Layers on top of each other.
        both: Whether it also reads backwards, which doubles the output.
    """
    sizes = {"num_layers": n_layers, "batch_first": True, "bidirectional": both}
    layer = nn.GRU(n_in, n_out, **sizes, device="meta").to_empty(device="cpu")  # as skip_init
    for weight in layer.parameters():
        nn.init.uniform_(weight, -(n_out**-0.5), n_out**-0.5, generator=generator)
    return layer


class Dropout(nn.Module):
    """Dropout.

    Args:
        rate: Share of the inputs that become 0 in training, in [0, 1).
        generator: Source of randomness.
        whole_rows: Whether all of the last dimension is kept or dropped together.
    """

    def __init__(
        self, rate: float, generator: torch.Generator, *, whole_rows: bool = False
    ) -> None:
        super().__init__()
        self._rate, self._generator, self._whole_rows = rate, generator, whole_rows

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, thinned out in training."""
        if not self.training or self._rate == 0:
            return x
        shape = (*x.shape[:-1], 1) if self._whole_rows else x.shape
        kept = torch.rand(shape, generator=self._generator) >= self._rate
        return x * (kept / (1 - self._rate))


def _initialised(layer: nn.Module, generator: torch.Generator) -> nn.Module:
    """He's initialisation for rectifiers, biases 0."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
