"""Train many small networks side by side, one configuration each.

The networks of a call share the split of the data and the mini-batches; what differs is their
hyperparameters and their initial weights. A smaller batch is the first rows of the common one.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from itertools import pairwise
import math

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from benchmarks.small_network_specs import ACTIVATIONS
from benchmarks.small_network_specs import CONNECTIONS
from benchmarks.small_network_specs import OPTIMIZERS
from benchmarks.small_network_specs import load_data


_WIDTH = 16  # of the hidden layers; a narrower network has the other units masked
_N_HIDDEN = 3
_TRAINING_SHARE = 0.6
_MAX_VALIDATION = 400
_WORST_LOSS = 1e6
_GAIN = 1.4
# Adam moves by about its rate whatever the gradient: a tenth makes one range of rates fit all.
_ADAM_RATE = 0.1
_BETAS = (0.9, 0.99)
_MLP = -1.0  # instead of a connection: an ordinary network of ``depth`` layers
_DEFAULTS = {
    "lr": 1e-2,
    "momentum": 0.9,
    "weight_decay": 1e-5,
    "width": float(_WIDTH),
    "depth": 2.0,
    "batch": 32.0,
    "dropout": 0.0,
    "optimizer": float(OPTIMIZERS.index("momentum")),
    "act": float(ACTIVATIONS.index("relu")),
    "gain": 1.0,
    "cosine": 0.0,
    "smoothing": 0.0,
    "conn1": _MLP,
    "conn2": _MLP,
}
_LAYERS = tuple(f"act{layer}" for layer in range(_N_HIDDEN))  # instead of one activation for all


def train(
    configurations: Mapping[str, NDArray[np.float64]],
    data: str,
    metric: str,
    checkpoints: Sequence[int],
    seed: int,
) -> NDArray[np.float64]:
    """Train ``C`` networks.

    Args:
        configurations: Hyperparameter to its value in every network ``(C,)``; what is missing has
            its default.
        data: Name of the data.
        metric: ``error`` or ``loss``.
        checkpoints: ``S`` numbers of steps, rising.
        seed: Of split, initial weights, mini-batches and dropout.

    Returns:
        The metric on validation data after so many steps ``(C, S)``; at most 1e6.
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = load_data(data)
    order = torch.randperm(len(x), generator=generator)
    x, y = x[order], y[order]
    n_train = int(_TRAINING_SHARE * len(x))
    validation = slice(n_train, n_train + _MAX_VALIDATION)
    settings = _complete(configurations)
    n_outputs = 1 if y.is_floating_point() else int(y.max()) + 1
    networks = _Networks(settings, x.shape[1], n_outputs, generator)
    optimizer = _Optimizer(settings, networks.parameters, max(checkpoints))
    batch, n_rows = settings["batch"], int(settings["batch"].max())
    used = (torch.arange(n_rows)[None] < batch[:, None]).float()
    results = []
    for step in range(max(checkpoints)):
        rows = torch.randint(0, n_train, (n_rows,), generator=generator)
        outputs = networks.outputs(x[rows], generator)
        losses = _losses(outputs, y[rows], settings["smoothing"])
        total = ((losses * used).sum(-1) / batch).sum()
        optimizer.step(step, torch.autograd.grad(total, networks.parameters))
        if step + 1 in checkpoints:
            with torch.no_grad():
                outputs = networks.outputs(x[validation])
                results.append(_measure(metric, outputs, y[validation], settings["smoothing"]))
    return np.asarray(torch.stack(results, -1).numpy())


def _complete(configurations: Mapping[str, NDArray[np.float64]]) -> dict[str, Tensor]:
    """All hyperparameters ``(C,)``; every layer has its activation."""
    unknown = configurations.keys() - _DEFAULTS.keys() - set(_LAYERS)
    if unknown:
        raise ValueError(f"unknown hyperparameters: {sorted(unknown)}")
    n_networks = len(next(iter(configurations.values())))
    settings = {name: torch.full((n_networks,), value) for name, value in _DEFAULTS.items()}
    for name, values in configurations.items():
        settings[name] = torch.as_tensor(values, dtype=torch.float32)
    return {layer: settings["act"] for layer in _LAYERS} | settings


class _Networks:
    """``C`` networks of three hidden layers.

    Args:
        settings: Hyperparameters ``(C,)``.
        n_inputs: Number of inputs.
        n_outputs: Number of outputs.
        generator: Randomness of the initial weights.
    """

    def __init__(
        self,
        settings: Mapping[str, Tensor],
        n_inputs: int,
        n_outputs: int,
        generator: torch.Generator,
    ) -> None:
        self._settings = settings
        width, gain = settings["width"], settings["gain"]
        self._n = len(width)
        self._mask = (torch.arange(_WIDTH)[None] < width[:, None]).float()[:, None]
        sizes = [n_inputs] + [_WIDTH] * _N_HIDDEN + [n_outputs]
        weights = [
            torch.randn(self._n, a, b, generator=generator) / math.sqrt(a)
            for a, b in pairwise(sizes)
        ]
        # Units that are masked do not count as inputs of the next layer.
        weights[1:] = [w * _wide((_WIDTH / width).sqrt()) for w in weights[1:]]
        weights = [
            w * _wide(gain) * (_GAIN if layer < _N_HIDDEN else 1)
            for layer, w in enumerate(weights)
        ]
        self._weights = weights
        self._biases = [torch.zeros(self._n, 1, size) for size in sizes[1:]]
        self.parameters = [p.requires_grad_() for p in self._weights + self._biases]

    def outputs(self, x: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """Outputs ``(C, n, k)`` of inputs ``(n, d)``, with dropout if given its randomness."""
        hidden = x[None].expand(self._n, -1, -1)
        for layer in range(_N_HIDDEN):
            z = torch.baddbmm(self._biases[layer], hidden, self._weights[layer])
            z = _activate(self._settings[f"act{layer}"], z) * self._mask
            if dropout is not None and float(self._settings["dropout"].max()) > 0:
                rate = _wide(self._settings["dropout"])
                z = z * ((torch.rand(z.shape, generator=dropout) >= rate).float() / (1 - rate))
            hidden = z if layer == 0 else self._connect(layer, z, hidden)
        return torch.baddbmm(self._biases[_N_HIDDEN], hidden, self._weights[_N_HIDDEN])

    def _connect(self, layer: int, z: Tensor, hidden: Tensor) -> Tensor:
        """What comes after a layer whose activations are ``z`` and which was given ``hidden``."""
        kind = _wide(self._settings[f"conn{layer}"])
        cell = torch.where(kind == CONNECTIONS.index("none"), hidden, z)
        cell = torch.where(kind == CONNECTIONS.index("skip"), z + hidden, cell)
        plain = torch.where(_wide(self._settings["depth"]) > layer, z, hidden)
        return torch.where(kind == _MLP, plain, cell)


class _Optimizer:
    """Gradient descent with momentum or Adam, and decoupled weight decay.

    Args:
        settings: Hyperparameters ``(C,)``.
        parameters: What is trained, ``(C, ..., ...)`` each.
        n_steps: Length of the cosine schedule.
    """

    def __init__(
        self, settings: Mapping[str, Tensor], parameters: Sequence[Tensor], n_steps: int
    ) -> None:
        self._settings = settings
        self._parameters = parameters
        self._n_steps = n_steps
        self._is_adam = settings["optimizer"] == OPTIMIZERS.index("adam")
        is_plain = settings["optimizer"] == OPTIMIZERS.index("sgd")
        decay = torch.where(self._is_adam, _BETAS[0], settings["momentum"])
        self._decay = torch.where(is_plain, 0.0, decay)
        self._share = torch.where(self._is_adam, 1 - _BETAS[0], 1.0)
        self._first = [torch.zeros_like(p) for p in parameters]
        self._second = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self, number: int, gradients: Sequence[Tensor]) -> None:
        """Take step ``number`` (from 0)."""
        settings, count = self._settings, number + 1
        factor = 0.5 * (1 + math.cos(math.pi * number / self._n_steps))
        rate = settings["lr"] * torch.where(settings["cosine"] > 0, factor, 1.0)
        moments = zip(self._first, self._second, strict=True)
        for p, gradient, (first, second) in zip(self._parameters, gradients, moments, strict=True):
            finite = gradient.nan_to_num(0, 0, 0)
            first.mul_(_wide(self._decay)).add_(finite * _wide(self._share))
            second.mul_(_BETAS[1]).addcmul_(finite, finite, value=1 - _BETAS[1])
            spread = (second / (1 - _BETAS[1] ** count)).sqrt() + 1e-8
            adam = first / (1 - _BETAS[0] ** count) / spread * _ADAM_RATE
            update = torch.where(_wide(self._is_adam), adam, first)
            p.sub_(_wide(rate) * (update + _wide(settings["weight_decay"]) * p))
            p.clamp_(-1e6, 1e6)


def _losses(outputs: Tensor, y: Tensor, smoothing: Tensor) -> Tensor:
    """Loss ``(C, n)``: squared error, or cross-entropy with smoothed labels."""
    if y.is_floating_point():
        return (outputs[..., 0] - y[None]).square()
    log_prob = outputs.log_softmax(-1)
    labels = y[None, :, None].expand(len(outputs), -1, -1)
    right = -log_prob.gather(-1, labels)[..., 0]
    return (1 - smoothing[:, None]) * right - smoothing[:, None] * log_prob.mean(-1)


def _measure(metric: str, outputs: Tensor, y: Tensor, smoothing: Tensor) -> Tensor:
    """The metric ``(C,)``, in double precision; networks that diverged have the worst one."""
    if metric == "loss":
        mean = _losses(outputs, y, smoothing).mean(-1).double()
        return mean.nan_to_num(_WORST_LOSS, _WORST_LOSS).clamp(max=_WORST_LOSS)
    error = (outputs.argmax(-1) != y[None]).float().mean(-1)
    finite = torch.isfinite(outputs).all(-1).all(-1)
    return torch.where(finite, error, error.max()).double()


def _activate(kind: Tensor, z: Tensor) -> Tensor:
    kind = _wide(kind)
    smooth = torch.nn.functional.gelu(z, approximate="tanh")
    result = torch.where(kind == ACTIVATIONS.index("gelu"), smooth, z)
    result = torch.where(kind == ACTIVATIONS.index("tanh"), z.tanh(), result)
    return torch.where(kind == ACTIVATIONS.index("relu"), z.relu(), result)


def _wide(values: Tensor) -> Tensor:
    """One number per network, to go with weights and activations."""
    return values[:, None, None]
