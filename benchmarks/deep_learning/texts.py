"""Text classification: a bag of word vectors, filters, a recurrent network or attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import math

import optuna
from sklearn.metrics import f1_score
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import conv1d
from benchmarks.deep_learning.layers import embedding
from benchmarks.deep_learning.layers import gru
from benchmarks.deep_learning.layers import linear
from benchmarks.deep_learning.sources.ag_news import load_ag_news
from benchmarks.deep_learning.sources.polarity import load_polarity
from benchmarks.deep_learning.sources.sms_spam import load_sms_spam
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.ud_english import load_web_genre
from benchmarks.deep_learning.sources.words import MAX_WORDS
from benchmarks.deep_learning.sources.words import PADDING
from benchmarks.deep_learning.sources.words import UNKNOWN
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import accuracy
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_log
from benchmarks.deep_learning.training import suggest_optimisation


_KERNELS = {"3": (3,), "1,3": (1, 3), "3,5": (3, 5)}
_ENCODERS = ("bag", "convolution", "recurrent", "attention")


def _suggest(encoders: tuple[str, ...], trial: optuna.trial.BaseTrial) -> dict[str, Value]:
    """Suggest the 14 to 19 hyperparameters, three to eight of them conditional."""
    params = suggest_optimisation(trial) | {
        "encoder": trial.suggest_categorical("encoder", encoders),
        "dim": trial.suggest_int("dim", 8, 32, step=8),
        "vocabulary": 1000 * trial.suggest_int("thousand_words", 1, 8),
        "n_words": trial.suggest_int("n_words", 8, 32, step=8),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        "word_dropout": trial.suggest_float("word_dropout", 0.0, 0.4, step=0.1),
    }
    if params["encoder"] == "convolution":
        params["n_filters"] = trial.suggest_int("n_filters", 4, 16, step=4)
        params["kernels"] = trial.suggest_categorical("kernels", list(_KERNELS))
    elif params["encoder"] == "recurrent":
        params["hidden"] = trial.suggest_int("hidden", 8, 32, step=8)
        params["pooling"] = trial.suggest_categorical("pooling", ["last", "mean", "largest"])
        params["clip"] = suggest_log(trial, "clip", 0.1, 10.0)
    elif params["encoder"] == "attention":
        params["n_heads"] = trial.suggest_categorical("n_heads", [1, 2, 4])
        params["positions"] = trial.suggest_categorical("positions", [False, True])
    return params


def _train(
    params: Params, part: Part, generator: torch.Generator, *, n_classes: int, n_epochs: int
) -> tuple[nn.Module, int]:
    """Train a network on word numbers ``(n, words)``."""
    model = _Network(params, n_classes, generator)
    return model, fit(model, part, params, n_epochs, generator)


@torch.no_grad()
def _f1(average: str, model: nn.Module, part: Part) -> float:
    """F1 of class 1 (``binary``) or the mean over classes (``macro``); NaN for a failure."""
    model.eval()
    logits = model(part.inputs)
    if not torch.isfinite(logits).all():
        return math.nan
    return float(f1_score(part.labels, logits.argmax(1), average=average, zero_division=0))


class _Network(nn.Module):
    """Word vectors, an encoder of them as one vector, and a linear map."""

    def __init__(self, params: Params, n_classes: int, generator: torch.Generator) -> None:
        super().__init__()
        dim = int(params["dim"])
        self._vocabulary, self._n_words = int(params["vocabulary"]), int(params["n_words"])
        self._vectors = embedding(self._vocabulary, dim, PADDING, generator)
        self._word_dropout = Dropout(float(params["word_dropout"]), generator, whole_rows=True)
        self._dropout = Dropout(float(params["dropout"]), generator)
        self._encoder, n_features = _ENCODER_OF[str(params["encoder"])](params, dim, generator)
        self._head = linear(n_features, n_classes, generator)

    def forward(self, words: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of word numbers ``(n, words)``."""
        words = words[:, : self._n_words]
        words = torch.where(words < self._vocabulary, words, UNKNOWN)
        vectors = self._word_dropout(self._vectors(words))
        features = self._encoder(vectors, words != PADDING)
        return self._head(self._dropout(features))  # type: ignore[no-any-return]


class _Bag(nn.Module):
    """The mean of the vectors (fastText, Joulin et al. 2016)."""

    def forward(self, vectors: Tensor, known: Tensor) -> Tensor:
        return vectors.sum(1) / known.sum(1, keepdim=True).clamp(min=1)


class _Convolution(nn.Module):
    """The largest value of each filter (Kim 2014)."""

    def __init__(self, filters: list[nn.Module]) -> None:
        super().__init__()
        self._filters = nn.ModuleList(filters)

    def forward(self, vectors: Tensor, known: Tensor) -> Tensor:
        return torch.cat([layer(vectors.mT).relu().amax(2) for layer in self._filters], 1)


class _Recurrent(nn.Module):
    """A recurrent network's last, mean or largest state."""

    def __init__(self, layer: nn.Module, pooling: str) -> None:
        super().__init__()
        self._layer, self._pooling = layer, pooling

    def forward(self, vectors: Tensor, known: Tensor) -> Tensor:
        states, n_known = self._layer(vectors)[0], known.sum(1).clamp(min=1)
        if self._pooling == "last":
            return states[torch.arange(len(states)), n_known - 1]  # type: ignore[no-any-return]
        if self._pooling == "mean":
            return (states * known[..., None]).sum(1) / n_known[:, None]  # type: ignore[no-any-return]
        return states.masked_fill(~known[..., None], -1.0).amax(1)  # type: ignore[no-any-return]


class _Attention(nn.Module):
    """Words attend to each other once; the mean of the outcome (Vaswani et al. 2017)."""

    def __init__(self, params: Params, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self._n_heads = int(params["n_heads"])
        self._in, self._out = linear(dim, 3 * dim, generator), linear(dim, dim, generator)
        self._positions = None
        if params["positions"]:
            drawn = torch.randn(MAX_WORDS, dim, generator=generator)
            self._positions = nn.Parameter(drawn * dim**-0.5)

    def forward(self, vectors: Tensor, known: Tensor) -> Tensor:
        n_words = vectors.shape[1]
        if self._positions is not None:
            vectors = vectors + self._positions[:n_words]
        heads = self._in(vectors).unflatten(2, (3, self._n_heads, -1)).transpose(1, 3)
        query, key, value = heads.unbind(2)
        seen = known[:, None, None, :]
        seen = seen | ~seen.any(-1, keepdim=True)  # a text without words sees its padding
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        states: Tensor = vectors + self._out(attended.transpose(1, 2).flatten(2))
        return (states * known[..., None]).sum(1) / known.sum(1, keepdim=True).clamp(min=1)


def _bag(params: Params, dim: int, generator: torch.Generator) -> tuple[nn.Module, int]:
    return _Bag(), dim


def _convolution(params: Params, dim: int, generator: torch.Generator) -> tuple[nn.Module, int]:
    n_filters, kernels = int(params["n_filters"]), _KERNELS[str(params["kernels"])]
    filters = [conv1d(dim, n_filters, kernel, generator) for kernel in kernels]
    return _Convolution(filters), n_filters * len(kernels)


def _recurrent(params: Params, dim: int, generator: torch.Generator) -> tuple[nn.Module, int]:
    hidden = int(params["hidden"])
    return _Recurrent(gru(dim, hidden, generator), str(params["pooling"])), hidden


def _attention(params: Params, dim: int, generator: torch.Generator) -> tuple[nn.Module, int]:
    return _Attention(params, dim, generator), dim


_ENCODER_OF: dict[str, Callable[[Params, int, torch.Generator], tuple[nn.Module, int]]] = dict(
    zip(_ENCODERS, (_bag, _convolution, _recurrent, _attention), strict=True)
)


def _task(
    name: str,
    load: Callable[[], Splits],
    measure: Callable[[nn.Module, Part], float],
    n_classes: int,
    n_epochs: int,
    source: str,
    expert: Params,
    encoders: tuple[str, ...] = _ENCODERS,
    min_fraction: float = 1 / 27,
) -> Task:
    return Task(
        name=f"texts/{name}",
        load=load,
        suggest=partial(_suggest, encoders),
        train=partial(_train, n_classes=n_classes, n_epochs=n_epochs),
        measure=measure,
        expert=expert,
        source=source,
        min_fraction=min_fraction,
    )


_FAST_TEXT = "A. Joulin et al., Bag of tricks for efficient text classification (2016)"
_KIM = "Y. Kim, Convolutional neural networks for sentence classification (2014)"
# The mean of word vectors, all words, a rate that falls to 0, as published; Adam at the upper end
# of its usual rates for SGD, which needs many more steps than these data give.
_EXPERT_BAG: dict[str, Value] = {
    "optimizer": "adamw",
    "lr": 1e-2,
    "weight_decay": 1e-4,
    "batch_size": 64,
    "schedule": "cosine",
    "encoder": "bag",
    "dim": 32,
    "vocabulary": 8000,
    "n_words": 32,
    "dropout": 0.2,
    "word_dropout": 0.0,
}
# The largest value of filters over several widths, half of them dropped, batches of about 50, an
# adaptive rate; word vectors are learned, as the ones published there are not to be had here.
_EXPERT_CONVOLUTION = _EXPERT_BAG | {
    "encoder": "convolution",
    "dropout": 0.5,
    "n_filters": 16,
    "kernels": "3,5",
}
AG_NEWS = _task(
    "ag_news", load_ag_news, accuracy, 4, 4, _FAST_TEXT, _EXPERT_BAG, ("bag", "convolution")
)
SMS_SPAM = _task("sms_spam", load_sms_spam, partial(_f1, "binary"), 2, 8, _FAST_TEXT, _EXPERT_BAG)
POLARITY = _task("polarity", load_polarity, accuracy, 2, 4, _KIM, _EXPERT_CONVOLUTION)
WEB_GENRE = _task(
    "web_genre", load_web_genre, partial(_f1, "macro"), 5, 8, _FAST_TEXT, _EXPERT_BAG
)
