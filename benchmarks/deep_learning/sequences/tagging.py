"""A tag for every word, by a recurrent or a convolutional network over words and characters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import math

import optuna
from sklearn.metrics import accuracy_score
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional

from benchmarks.deep_learning.layers import Dropout
from benchmarks.deep_learning.layers import conv1d
from benchmarks.deep_learning.layers import embedding
from benchmarks.deep_learning.layers import gru
from benchmarks.deep_learning.layers import linear
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.tagged import ALPHABET
from benchmarks.deep_learning.sources.tagged import ENTITY_TAGS
from benchmarks.deep_learning.sources.tagged import NO_WORD
from benchmarks.deep_learning.sources.tagged import PARTS_OF_SPEECH
from benchmarks.deep_learning.sources.tagged import load_entities
from benchmarks.deep_learning.sources.tagged import load_parts_of_speech
from benchmarks.deep_learning.sources.words import PADDING
from benchmarks.deep_learning.sources.words import UNKNOWN
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_log
from benchmarks.deep_learning.training import suggest_optimisation


_PREDICTION_BATCH = 256


def _suggest(trial: optuna.trial.BaseTrial, *, with_entities: bool) -> dict[str, Value]:
    """Suggest the 18 hyperparameters, five of them conditional; one more with entities."""
    params = suggest_optimisation(trial) | {
        "clip": suggest_log(trial, "clip", 0.1, 10.0),
        "encoder": trial.suggest_categorical("encoder", ["recurrent", "convolution"]),
        "hidden": trial.suggest_int("hidden", 8, 40, step=8),
        "dim": trial.suggest_int("dim", 8, 40, step=8),
        "vocabulary": 1000 * trial.suggest_int("thousand_words", 1, 8),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        "word_dropout": trial.suggest_float("word_dropout", 0.0, 0.4, step=0.1),
        "characters": trial.suggest_categorical("characters", ["none", "bag", "convolution"]),
    }
    if params["encoder"] == "convolution":
        params["kernel"] = trial.suggest_int("kernel", 3, 7, step=2)
        params["depth"] = trial.suggest_int("depth", 1, 3)
    if params["characters"] != "none":
        params["character_dim"] = trial.suggest_int("character_dim", 4, 12, step=4)
    if params["characters"] == "convolution":
        params["n_filters"] = trial.suggest_int("n_filters", 4, 16, step=4)
    if with_entities:
        params["entity_weight"] = suggest_log(trial, "entity_weight", 1.0, 10.0)
    return params


def _train(
    params: Params, part: Part, generator: torch.Generator, *, n_tags: int, n_epochs: int
) -> tuple[nn.Module, int]:
    """Train a tagger on words with their characters ``(n, words, 1 + characters)``."""
    model = _Tagger(params, n_tags, generator)
    weights = torch.full((n_tags,), float(params.get("entity_weight", 1.0)))
    weights[0] = 1.0  # of "no entity"
    loss_of = partial(functional.cross_entropy, weight=weights, ignore_index=NO_WORD)
    return model, fit(model, part, params, n_epochs, generator, loss_of=loss_of)


def _word_accuracy(model: nn.Module, part: Part) -> float:
    """Share of words with the right tag; NaN for a failure."""
    tags = _predicted(model, part)
    known = part.labels != NO_WORD
    return math.nan if tags is None else float(accuracy_score(part.labels[known], tags[known]))


def _entity_f1(model: nn.Module, part: Part) -> float:
    """F1 of whole entities with their kind, as CoNLL counts them; NaN for a failure."""
    from seqeval.metrics import f1_score  # only this task needs it

    tags = _predicted(model, part)
    if tags is None:
        return math.nan
    names = [
        [
            [ENTITY_TAGS[number] for number in row[own != NO_WORD]]
            for row, own in zip(rows, part.labels, strict=True)
        ]
        for rows in (part.labels, tags)
    ]
    return float(f1_score(*names, zero_division=0))


@torch.no_grad()
def _predicted(model: nn.Module, part: Part) -> Tensor | None:
    """The likeliest tags ``(n, words)``; None when a logit is not finite."""
    model.eval()
    logits = torch.cat([model(inputs) for inputs in part.inputs.split(_PREDICTION_BATCH)])
    return logits.argmax(1) if torch.isfinite(logits).all() else None


class _Tagger(nn.Module):
    """Word vectors beside what characters tell, a network over them, and a linear map."""

    def __init__(self, params: Params, n_tags: int, generator: torch.Generator) -> None:
        super().__init__()
        dim, hidden = int(params["dim"]), int(params["hidden"])
        self._vocabulary = int(params["vocabulary"])
        self._vectors = embedding(self._vocabulary, dim, PADDING, generator)
        self._word_dropout = Dropout(float(params["word_dropout"]), generator, whole_rows=True)
        self._dropout = Dropout(float(params["dropout"]), generator)
        self._characters: nn.Module | None = None
        if params["characters"] != "none":
            self._characters = _Characters(params, generator)
            dim += self._characters.n_features
        build = _Recurrent if params["encoder"] == "recurrent" else _Convolution
        self._encoder = build(params, dim, generator)
        self._head = linear(2 * hidden, n_tags, generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits ``(n, tags, words)`` of words with characters ``(n, words, 1 + characters)``."""
        words = inputs[..., 0]
        known = words != PADDING
        words = torch.where(words < self._vocabulary, words, UNKNOWN)
        vectors = self._word_dropout(self._vectors(words))
        if self._characters is not None:
            features = self._characters(inputs[..., 1:][known])
            spread = features.new_zeros(*known.shape, features.shape[1])
            vectors = torch.cat([vectors, spread.masked_scatter(known[..., None], features)], 2)
        states = self._encoder(self._dropout(vectors))
        return self._head(self._dropout(states)).mT  # type: ignore[no-any-return]


class _Characters(nn.Module):
    """The mean of character vectors, or the largest value of filters (Ma and Hovy 2016)."""

    def __init__(self, params: Params, generator: torch.Generator) -> None:
        super().__init__()
        self.n_features = dim = int(params["character_dim"])
        self._vectors = embedding(ALPHABET, dim, 0, generator)
        self._filters: nn.Module | None = None
        if params["characters"] == "convolution":
            self.n_features = int(params["n_filters"])
            self._filters = conv1d(dim, self.n_features, 3, generator)

    def forward(self, characters: Tensor) -> Tensor:
        vectors = self._vectors(characters)
        if self._filters is None:
            n_known = (characters != 0).sum(1, keepdim=True).clamp(min=1)
            return vectors.sum(1) / n_known  # type: ignore[no-any-return]
        return self._filters(vectors.mT).relu().amax(2)  # type: ignore[no-any-return]


class _Recurrent(nn.Module):
    """Both directions of a recurrent network."""

    def __init__(self, params: Params, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self._layer = gru(dim, int(params["hidden"]), generator, both=True)

    def forward(self, vectors: Tensor) -> Tensor:
        return self._layer(vectors)[0]  # type: ignore[no-any-return]


class _Convolution(nn.Module):
    """Convolutions over neighbouring words (Collobert et al. 2011), each beside a shortcut."""

    def __init__(self, params: Params, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        width, kernel = 2 * int(params["hidden"]), int(params["kernel"])
        self._first = conv1d(dim, width, kernel, generator)
        self._others = nn.ModuleList(
            conv1d(width, width, kernel, generator) for _ in range(int(params["depth"]) - 1)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        maps = self._first(vectors.mT).relu()
        for layer in self._others:
            maps = maps + layer(maps).relu()
        return maps.mT  # type: ignore[no-any-return]


def _task(
    name: str,
    load: Callable[[], Splits],
    measure: Callable[[nn.Module, Part], float],
    n_tags: int,
    source: str,
    expert: Params,
) -> Task:
    return Task(
        name=f"sequences/{name}",
        load=load,
        suggest=partial(_suggest, with_entities="entity_weight" in expert),
        train=partial(_train, n_tags=n_tags, n_epochs=3),
        measure=measure,
        expert=expert,
        source=source,
    )


_COMMON: dict[str, Value] = {
    "optimizer": "adamw",
    "lr": 2.15e-2,
    "weight_decay": 1e-4,
    "batch_size": 64,
    "schedule": "cosine",
    "clip": 1.0,
    "hidden": 40,
    "dim": 40,
    "vocabulary": 8000,
    "dropout": 0.2,
    "word_dropout": 0.0,
    "characters": "convolution",
    "character_dim": 12,
    "n_filters": 16,
}
PART_OF_SPEECH = _task(
    "part_of_speech",
    load_parts_of_speech,
    _word_accuracy,
    len(PARTS_OF_SPEECH),
    "N. Reimers and I. Gurevych, Optimal hyperparameters for deep LSTM-networks for sequence "
    "labeling tasks (2017)",
    # An adaptive rate, gradients of norm 1 at most, both directions of a recurrent network,
    # filters over characters, a dropout of about 0.2, as recommended there; smaller, and as there
    # are few epochs, at a larger rate that falls to 0.
    _COMMON | {"encoder": "recurrent"},
)
ENTITIES = _task(
    "entities",
    load_entities,
    _entity_f1,
    len(ENTITY_TAGS),
    "E. Strubell et al., Fast and accurate entity recognition with iterated dilated convolutions "
    "(2017)",
    # Convolutions of width 3 and Adam as there, without the dilation, as posts are short; the
    # rest as for parts of speech. It beats the recurrent network in this few epochs.
    _COMMON | {"encoder": "convolution", "kernel": 3, "depth": 2, "entity_weight": 1.0},
)
