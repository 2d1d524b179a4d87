"""Forecasting of a day's worth of values with a linear, a feed-forward or a sequence network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import math

import optuna
from sklearn.metrics import mean_absolute_error
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional
from torch.nn.utils import skip_init

from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import gru
from benchmarks.deep_learning.layers import linear
from benchmarks.deep_learning.sources.forecasting import FUTURE
from benchmarks.deep_learning.sources.forecasting import load_forecasting
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Loss
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_optimisation


_LOSSES: dict[str, Loss] = {
    "squared": functional.mse_loss,
    "absolute": functional.l1_loss,
    "huber": functional.smooth_l1_loss,
}
_LEAST_SPREAD = 0.05  # of a past, in standard deviations of the training part


def suggest(trial: optuna.trial.BaseTrial) -> dict[str, Value]:
    """Suggest the 15 hyperparameters, six of them conditional."""
    params = suggest_optimisation(trial) | {
        "network": trial.suggest_categorical("network", list(_NETWORKS)),
        "past": trial.suggest_categorical("past", [24, 48, 96, 168]),
        "loss": trial.suggest_categorical("loss", list(_LOSSES)),
        "origin": trial.suggest_categorical("origin", ["none", "last", "mean", "standard"]),
    }
    if params["network"] == "linear":
        params["trend"] = trial.suggest_int("trend", 5, 45, step=8)
        return params
    params["width"] = 2 ** trial.suggest_int("log2_width", 4, 6)
    params["dropout"] = trial.suggest_float("dropout", 0.0, 0.5, step=0.1)
    if params["network"] != "recurrent":
        params["n_blocks"] = trial.suggest_int("n_blocks", 1, 4)
    if params["network"] != "residual":
        params["segment"] = trial.suggest_categorical("segment", [12, 24])
    return params


def _train(
    params: Params, part: Part, generator: torch.Generator, n_epochs: int
) -> tuple[nn.Module, int]:
    """Train a network on pasts ``(n, hours)`` and futures ``(n, FUTURE)``."""
    model = _Forecaster(params, generator)
    loss_of = _LOSSES[str(params["loss"])]
    return model, fit(model, part, params, n_epochs, generator, loss_of=loss_of)


@torch.no_grad()
def _skill(season: int, model: nn.Module, part: Part) -> float:
    """One minus the absolute error relative to that of the seasonal naive forecast.

    It repeats the last season. 1 is perfect, 0 is as good as naive (relative mean absolute error,
    Hyndman and Koehler 2006).
    """
    model.eval()
    forecasts = model(part.inputs)
    if not torch.isfinite(forecasts).all():
        return math.nan
    repeated = part.inputs[:, -season:][:, torch.arange(FUTURE) % season]
    error = mean_absolute_error(part.labels, forecasts)
    return 1 - float(error / mean_absolute_error(part.labels, repeated))


class _Forecaster(nn.Module):
    """A network that sees the end of the past relative to an origin."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        self._past, self._origin = int(params["past"]), str(params["origin"])
        self._network = _NETWORKS[str(params["network"])](params, generator)

    def forward(self, past: Tensor) -> Tensor:
        """Futures ``(n, FUTURE)`` of pasts ``(n, hours)``."""
        past = past[:, -self._past :]
        origin, spread = past.new_zeros(1), past.new_ones(1)
        if self._origin == "last":  # NLinear, Zeng et al. 2023
            origin = past[:, -1:]
        elif self._origin != "none":  # reversible normalisation, Kim et al. 2022
            origin = past.mean(1, keepdim=True)
        if self._origin == "standard":
            spread = past.std(1, keepdim=True) + _LEAST_SPREAD
        return origin + spread * self._network((past - origin) / spread)  # type: ignore[no-any-return]


class _Linear(nn.Module):
    """One linear map of the smoothed past, one of the rest (DLinear, Zeng et al. 2023)."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        past, self._kernel = int(params["past"]), int(params["trend"])
        self._of_trend = _last_layer(past, FUTURE)
        self._of_rest = _last_layer(past, FUTURE)

    def forward(self, past: Tensor) -> Tensor:
        padding = (self._kernel // 2,) * 2
        padded = functional.pad(past[:, None], padding, mode="replicate")
        trend = functional.avg_pool1d(padded, self._kernel, stride=1)[:, 0]
        return self._of_trend(trend) + self._of_rest(past - trend)  # type: ignore[no-any-return]


class _Residual(nn.Module):
    """Blocks that each explain a part of the past and of the future (N-BEATS, Oreshkin 2020)."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        self._past, width = int(params["past"]), int(params["width"])
        self._blocks = nn.ModuleList(
            nn.Sequential(
                linear(self._past, width, generator),
                nn.ReLU(),
                linear(width, width, generator),
                nn.ReLU(),
                Dropout(float(params["dropout"]), generator),
                _last_layer(width, self._past + FUTURE),
            )
            for _ in range(int(params["n_blocks"]))
        )

    def forward(self, past: Tensor) -> Tensor:
        future = past.new_zeros(len(past), FUTURE)
        for block in self._blocks:
            explained, added = block(past).split([self._past, FUTURE], 1)
            past, future = past - explained, future + added
        return future


class _Recurrent(nn.Module):
    """A recurrent network over segments of the past (SegRNN, Lin et al. 2023)."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        self._segment, width = int(params["segment"]), int(params["width"])
        self._embed = linear(self._segment, width, generator)
        self._gru = gru(width, width, generator)
        self._dropout = Dropout(float(params["dropout"]), generator)
        self._head = _last_layer(width, FUTURE)

    def forward(self, past: Tensor) -> Tensor:
        segments = past.unflatten(1, (-1, self._segment))
        _, last = self._gru(self._embed(segments).relu())
        return self._head(self._dropout(last[0]))  # type: ignore[no-any-return]


class _Convolutional(nn.Module):
    """Causal convolutions, ever wider apart, over segments of the past (TCN, Bai et al. 2018)."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        self._segment, width = int(params["segment"]), int(params["width"])
        self._embed = linear(self._segment, width, generator)
        n_blocks = int(params["n_blocks"])
        # Two taps that are 1, 2, 4, 8 segments apart; what is kept is the newest output.
        self._layers = nn.ModuleList(linear(2 * width, width, generator) for _ in range(n_blocks))
        self._dropout = Dropout(float(params["dropout"]), generator)
        self._head = _last_layer(width, FUTURE)

    def forward(self, past: Tensor) -> Tensor:
        maps = self._embed(past.unflatten(1, (-1, self._segment))).relu()
        for number, layer in enumerate(self._layers):
            earlier = functional.pad(maps, (0, 0, 2**number, 0))[:, : maps.shape[1]]
            maps = maps + layer(torch.cat([earlier, maps], 2)).relu()
        return self._head(self._dropout(maps[:, -1]))  # type: ignore[no-any-return]


def _last_layer(n_in: int, n_out: int) -> nn.Module:
    """A linear map that is 0 at first, so that training starts at the origin."""
    layer: nn.Linear = skip_init(nn.Linear, n_in, n_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


_NETWORKS: dict[str, Callable[[Params, torch.Generator], nn.Module]] = {
    "linear": _Linear,
    "residual": _Residual,
    "recurrent": _Recurrent,
    "convolutional": _Convolutional,
}


def _task(name: str, season: int, n_epochs: int, source: str, expert: Params) -> Task:
    return Task(
        name=f"forecasting/{name}",
        load=partial(load_forecasting, name),
        suggest=suggest,
        train=partial(_train, n_epochs=n_epochs),
        measure=partial(_skill, season),
        expert=expert,
        source=source,
    )


_DLINEAR = "A. Zeng et al., Are transformers effective for time series forecasting? (2023)"
_NBEATS = "B. Oreshkin et al., N-BEATS (2020)"
# DLinear on the longest past, squared loss, Adam at a rate between those of its scripts, which
# falls to 0; batches of 64 for 32. On series whose level drifts NLinear of the same paper: the
# last value is the origin.
_EXPERT_LINEAR: dict[str, Value] = {
    "optimizer": "adamw",
    "lr": 2.15e-3,
    "weight_decay": 1e-6,
    "batch_size": 64,
    "schedule": "cosine",
    "network": "linear",
    "past": 168,
    "loss": "squared",
    "origin": "none",
    "trend": 21,
}
# The generic architecture on seven times the future, absolute loss, Adam; narrower and with fewer
# steps than published, hence at twice the rate, which falls to 0.
_EXPERT_RESIDUAL: dict[str, Value] = {
    "optimizer": "adamw",
    "lr": 2.15e-3,
    "weight_decay": 1e-6,
    "batch_size": 64,
    "schedule": "cosine",
    "network": "residual",
    "past": 168,
    "loss": "absolute",
    "origin": "none",
    "width": 64,
    "dropout": 0.0,
    "n_blocks": 4,
}
_EXPERT_SHIFTED = _EXPERT_LINEAR | {"origin": "last"}
ETTH1 = _task("etth1", 24, 5, _DLINEAR, _EXPERT_LINEAR)
ETTH2 = _task("etth2", 24, 5, _DLINEAR, _EXPERT_SHIFTED)
EXCHANGE_RATE = _task("exchange_rate", 1, 5, _DLINEAR, _EXPERT_SHIFTED | {"past": 96})
TAXI = _task("taxi", 168, 10, _NBEATS, _EXPERT_RESIDUAL)
