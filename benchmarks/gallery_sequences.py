"""Pictures of sequences for ``benchmarks.gallery``: strings, tagged sentences, written text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import torch
from torch import Tensor
from torch import nn

from benchmarks.deep_learning.sequences.strings import read
from benchmarks.deep_learning.sequences.strings import written
from benchmarks.deep_learning.sources.shakespeare import ALPHABET
from benchmarks.deep_learning.sources.shakespeare import LENGTH
from benchmarks.deep_learning.sources.tagged import ENTITY_TAGS
from benchmarks.deep_learning.sources.tagged import NO_WORD
from benchmarks.deep_learning.sources.tagged import spelled
from benchmarks.deep_learning.task import Task
from benchmarks.gallery_drawing import Trained
from benchmarks.gallery_drawing import panels
from benchmarks.gallery_drawing import show
from benchmarks.gallery_drawing import spread


_RIGHT, _WRONG = "#009e73", "#d55e00"
_N_STRINGS = (4, 3)  # rows and columns of pictures
_N_SENTENCES = 5
_N_WRITTEN = 160  # characters that a model writes
_LINE = 56  # characters in a line of a picture
_MEMORY = LENGTH  # characters that a model is shown when it writes the next
_LETTERS = 133  # of size 9 beside one another in a picture of sentences
_KIND_COLOURS = ("#0072b2", "#e69f00", "#cc79a7", "#d55e00", "#009e73", "#56b4e9")


@torch.no_grad()
def strings(task: Task, models: Sequence[Trained]) -> Figure:
    """Images, what is written there, and what each model reads."""
    part = task.splits.test
    n_rows, n_columns = _N_STRINGS
    figure, axes = panels(n_rows, n_columns, 1.9, 1.0)
    shown = spread(len(part), n_rows * n_columns)
    truth = written(part.labels[shown])
    answers = [read(trained.model(part.inputs[shown])) for trained in models]
    for number, panel in enumerate(axes.flat):
        show(panel, part.inputs[shown[number]], truth[number])
        for line, own in enumerate(answers):
            colour = _RIGHT if own[number] == truth[number] else _WRONG
            style = {"size": 8, "color": colour, "va": "top", "transform": panel.transAxes}
            panel.text(line / len(answers), -0.05, own[number] or "nothing", **style)
    names = ", ".join(trained.name for trained in models)
    figure.suptitle(f"above: truth; below: {names}", size=8)
    return figure


@torch.no_grad()
def sentences(task: Task, models: Sequence[Trained]) -> Figure:
    """Sentences with their entities, the true ones and each model's, coloured by kind."""
    part = task.splits.test
    n_entities = (part.labels > 0).sum(1)
    # Those with the most entities first: most posts have none.
    rows = n_entities.argsort(descending=True, stable=True)[:40].tolist()
    shown = [rows[i] for i in spread(len(rows), _N_SENTENCES)]
    inputs, truth = part.inputs[shown], part.labels[shown]
    known = truth != NO_WORD
    tagged = [truth, *(trained.model(inputs).argmax(1) for trained in models)]
    figure, axes = panels(_N_SENTENCES, 1, 10.0, 0.85)
    for number, panel in enumerate(axes[:, 0]):
        panel.set_axis_off()
        words = [spelled(word) for word in inputs[number, known[number], 1:].tolist()]
        for line, tags in enumerate(tagged):
            _draw_words(panel, 0.75 - line / len(tagged), words, tags[number, known[number]])
    names = ", ".join(trained.name for trained in models)
    figure.suptitle(f"truth, then {names}", size=9)
    kinds = [tag.removeprefix("B-") for tag in ENTITY_TAGS[1::2]]
    handles = [panel.plot([], [], "s", color=c)[0] for c in _KIND_COLOURS]
    figure.legend(
        handles, kinds, loc="outside lower center", ncols=len(kinds), frameon=False, fontsize=8
    )
    return figure


def _draw_words(panel: Axes, height: float, words: Sequence[str], tags: Tensor) -> None:
    """A line of words in type of fixed width; those of an entity are coloured by its kind."""
    place = 0
    # Long lines are cut at the picture's edge, not made room for.
    style: dict[str, Any] = {"family": "monospace", "size": 9, "parse_math": False}
    style |= {"transform": panel.transAxes, "in_layout": False}
    for word, tag in zip(words, tags.tolist(), strict=True):
        colour = "#b0b0b0" if tag == 0 else _KIND_COLOURS[(tag - 1) // 2]
        panel.text(place / _LETTERS, height, word, color=colour, **style)
        place += len(word) + 1


def texts(task: Task, models: Sequence[Trained]) -> Figure:
    """What each model writes after the same words, as it is drawn from its own probabilities."""
    start = task.splits.test.inputs[0]
    figure, axes = panels(len(models), 1, 5.6, 1.05)
    for panel, trained in zip(axes[:, 0], models, strict=True):
        more = write(trained.model, start, _N_WRITTEN, torch.Generator().manual_seed(0))
        text = "".join(ALPHABET[number] for number in [*start.tolist(), *more])
        text = text.replace("\n", " / ")
        lines = [text[i : i + _LINE] for i in range(0, len(text), _LINE)]
        panel.set_title(trained.name, size=9, loc="left")
        panel.set_axis_off()
        style: dict[str, Any] = {"family": "monospace", "size": 9, "va": "top"}
        panel.text(0, 1, "\n".join(lines), transform=panel.transAxes, parse_math=False, **style)
    return figure


@torch.no_grad()
def write(model: nn.Module, start: Tensor, n: int, generator: torch.Generator) -> list[int]:
    """Characters that a language model draws one after the other.

    Args:
        model: Gives logits ``(1, characters, length)`` of what follows each of ``(1, length)``.
        start: ``(length,)`` what is there already.
        n: How many characters follow.
        generator: Of the draws.
    """
    text = start.tolist()
    for _ in range(n):
        logits = model(torch.tensor([text[-_MEMORY:]]))[0, :, -1]
        text.append(int(torch.multinomial(logits.softmax(0), 1, generator=generator)))
    return text[len(start) :]
