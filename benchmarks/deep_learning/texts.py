"""Text classification with a bag of embeddings or a convolutional network over words."""

from __future__ import annotations

import optuna
import torch
from torch import Tensor
from torch import nn

from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import conv1d
from benchmarks.deep_learning.layers import embedding
from benchmarks.deep_learning.layers import linear
from benchmarks.deep_learning.sources.ag_news import PADDING
from benchmarks.deep_learning.sources.ag_news import UNKNOWN
from benchmarks.deep_learning.sources.ag_news import load_ag_news
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import accuracy
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_optimisation


_N_CLASSES = 4
_N_EPOCHS = 4
_KERNELS = {"3": (3,), "1,3": (1, 3), "3,5": (3, 5)}


def suggest(trial: optuna.trial.BaseTrial) -> dict[str, Value]:
    """Suggest the 14 hyperparameters, three of them conditional."""
    params = suggest_optimisation(trial) | {
        "encoder": trial.suggest_categorical("encoder", ["bag", "convolution"]),
        "dim": trial.suggest_int("dim", 8, 32, step=8),
        "vocabulary": 1000 * trial.suggest_int("thousand_words", 1, 8),
        "n_words": trial.suggest_int("n_words", 8, 32, step=8),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        "word_dropout": trial.suggest_float("word_dropout", 0.0, 0.4, step=0.1),
    }
    if params["encoder"] == "convolution":
        params["n_filters"] = trial.suggest_int("n_filters", 4, 16, step=4)
        params["kernels"] = trial.suggest_categorical("kernels", list(_KERNELS))
    return params


def train(params: Params, part: Part, generator: torch.Generator) -> tuple[nn.Module, int]:
    """Train a network on word numbers ``(n, words)``."""
    model = _Network(params, generator)
    return model, fit(model, part, params, _N_EPOCHS, generator)


class _Network(nn.Module):
    """Word vectors and their mean (fastText), or the largest of each filter (Kim 2014)."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        dim = int(params["dim"])
        self._vocabulary, self._n_words = int(params["vocabulary"]), int(params["n_words"])
        self._vectors = embedding(self._vocabulary, dim, PADDING, generator)
        self._word_dropout = Dropout(float(params["word_dropout"]), generator, whole_rows=True)
        self._dropout = Dropout(float(params["dropout"]), generator)
        self._filters = nn.ModuleList()
        if params["encoder"] == "convolution":
            n_filters = int(params["n_filters"])
            kernels = _KERNELS[str(params["kernels"])]
            self._filters.extend(conv1d(dim, n_filters, kernel, generator) for kernel in kernels)
            dim = n_filters * len(kernels)
        self._head = linear(dim, _N_CLASSES, generator)

    def forward(self, words: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of word numbers ``(n, words)``."""
        words = words[:, : self._n_words]
        words = torch.where(words < self._vocabulary, words, UNKNOWN)
        vectors = self._word_dropout(self._vectors(words))
        if self._filters:
            maps = [layer(vectors.mT).relu().amax(2) for layer in self._filters]
            features = torch.cat(maps, 1)
        else:
            n_known = (words != PADDING).sum(1, keepdim=True).clamp(min=1)
            features = vectors.sum(1) / n_known
        return self._head(self._dropout(features))  # type: ignore[no-any-return]


AG_NEWS = Task(
    name="texts/ag_news",
    load=load_ag_news,
    suggest=suggest,
    train=train,
    measure=accuracy,
    # The mean of word vectors, all words, a rate that falls to 0, as published; Adam at the upper
    # end of its usual rates for SGD, which needs many more steps than these data give.
    expert={
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
    },
    source="A. Joulin et al., Bag of tricks for efficient text classification (2016)",
)
