"""The next character of a text, by a recurrent or a causal convolutional network."""

from __future__ import annotations

from functools import partial
import math

import optuna
from sklearn.metrics import accuracy_score
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import gru
from benchmarks.deep_learning.layers import linear
from benchmarks.deep_learning.sources.shakespeare import N_CHARACTERS
from benchmarks.deep_learning.sources.shakespeare import load_shakespeare
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_log
from benchmarks.deep_learning.training import suggest_optimisation


def _suggest(trial: optuna.trial.BaseTrial) -> dict[str, Value]:
    """Suggest the 14 hyperparameters, three of them conditional."""
    params = suggest_optimisation(trial) | {
        "clip": suggest_log(trial, "clip", 0.1, 10.0),
        "encoder": trial.suggest_categorical("encoder", ["recurrent", "convolution"]),
        "hidden": trial.suggest_int("hidden", 16, 64, step=16),
        "dim": trial.suggest_int("dim", 8, 32, step=8),
        "dropout": trial.suggest_float("dropout", 0.0, 0.5, step=0.1),
        "shortcut": trial.suggest_categorical("shortcut", [False, True]),
    }
    if params["encoder"] == "convolution":
        params["depth"] = trial.suggest_int("depth", 1, 4)
        params["activation"] = trial.suggest_categorical("activation", ["relu", "gated"])
    return params


def _train(
    params: Params, part: Part, generator: torch.Generator, *, n_epochs: int
) -> tuple[nn.Module, int]:
    """Train a network on characters ``(n, length)``."""
    model = _LanguageModel(params, generator)
    return model, fit(model, part, params, n_epochs, generator)


@torch.no_grad()
def _character_accuracy(model: nn.Module, part: Part) -> float:
    """Share of characters that are the likeliest one; NaN for a failure."""
    model.eval()
    logits = model(part.inputs)
    if not torch.isfinite(logits).all():
        return math.nan
    return float(accuracy_score(part.labels.flatten(), logits.argmax(1).flatten()))


class _LanguageModel(nn.Module):
    """Character vectors, a network that sees the past alone, and a linear map."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        dim, hidden = int(params["dim"]), int(params["hidden"])
        self._vectors = nn.Parameter(torch.randn(N_CHARACTERS, dim, generator=generator))
        build = _Recurrent if params["encoder"] == "recurrent" else _Convolution
        self._encoder = build(params, generator)
        self._dropout = Dropout(float(params["dropout"]), generator)
        self._shortcut = bool(params["shortcut"])
        self._head = linear(hidden + dim * self._shortcut, N_CHARACTERS, generator)

    def forward(self, characters: Tensor) -> Tensor:
        """Logits ``(n, characters, length)`` of what follows each of ``(n, length)``."""
        vectors = functional.embedding(characters, self._vectors)
        states = self._encoder(vectors)
        if self._shortcut:
            states = torch.cat([states, vectors], 2)
        return self._head(self._dropout(states)).mT  # type: ignore[no-any-return]


class _Recurrent(nn.Module):
    """A gated recurrent unit (char-rnn)."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        self._layer = gru(int(params["dim"]), int(params["hidden"]), generator)

    def forward(self, vectors: Tensor) -> Tensor:
        return self._layer(vectors)[0]  # type: ignore[no-any-return]


class _Convolution(nn.Module):
    """Pairs of characters 1, 2, 4, 8 apart, rectified or gated (WaveNet, van den Oord 2016)."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        hidden, self._gated = int(params["hidden"]), params["activation"] == "gated"
        n_out = 2 * hidden if self._gated else hidden
        sizes = [int(params["dim"])] + [hidden] * (int(params["depth"]) - 1)
        self._layers = nn.ModuleList(linear(2 * n_in, n_out, generator) for n_in in sizes)

    def forward(self, maps: Tensor) -> Tensor:
        for number, layer in enumerate(self._layers):
            earlier = functional.pad(maps, (0, 0, 2**number, 0))[:, : maps.shape[1]]
            new = layer(torch.cat([earlier, maps], 2))
            new = functional.glu(new, 2) if self._gated else new.relu()
            maps = maps + new if maps.shape == new.shape else new
        return maps


SHAKESPEARE = Task(
    name="sequences/shakespeare",
    load=load_shakespeare,
    suggest=_suggest,
    train=partial(_train, n_epochs=3),
    measure=_character_accuracy,
    # A recurrent network on chunks of about 50 characters in batches of about 50, an adaptive
    # rate, gradients of 5 at most, no dropout, as published; one layer, and as there are few
    # steps, at five times the rate, which falls to 0.
    expert={
        "optimizer": "adamw",
        "lr": 1e-2,
        "weight_decay": 1e-6,
        "batch_size": 64,
        "schedule": "cosine",
        "clip": 4.64,
        "encoder": "recurrent",
        "hidden": 64,
        "dim": 32,
        "dropout": 0.0,
        "shortcut": False,
    },
    source="A. Karpathy, char-rnn (2015), the defaults of train.lua",
)
