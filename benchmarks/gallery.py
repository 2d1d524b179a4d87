"""Pictures of what tuned models do beside the experts': ``python -m benchmarks.gallery``.

One picture per family and more of some in ``results/gallery``: the final answer of a study of
``benchmarks.expert_level`` and the expert's recipe, both trained with the study's seed, on the
test part.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay
import torch
from torch import Tensor

from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.deep_learning.training import Params
from benchmarks.expert_level import PATH
from benchmarks.gallery_drawing import Trained
from benchmarks.gallery_drawing import panels
from benchmarks.gallery_drawing import show
from benchmarks.gallery_drawing import spread
from benchmarks.gallery_sequences import sentences
from benchmarks.gallery_sequences import strings
from benchmarks.gallery_sequences import texts
from benchmarks.records import read_lines


FOLDER = Path("benchmarks/results/gallery")
METHOD = "rocket+rocket"
# By the name of the picture.
SHOWN = {
    "images": "images/long_tailed_digits",
    "segmentation": "segmentation/membranes",
    "shapes": "segmentation/shapes",
    "detection": "detection/blood_cells",
    "raccoons": "detection/raccoons",
    "texts": "texts/web_genre",
    "parts_of_speech": "sequences/part_of_speech",
    "digit_strings": "sequences/digit_strings",
    "entities": "sequences/entities",
    "shakespeare": "sequences/shakespeare",
    "series": "series/osu_leaf",
    "forecasting": "forecasting/taxi",
    "audio": "audio/noisy_digits",
}
_N_EXAMPLES = 3
_N_PAST = 72  # hours before a forecast that are shown
_LEAST_SCORE = 0.3  # of a box that is drawn
_COLOURS = ("#d55e00", "#0072b2", "#009e73")
_DPI = 64


def train(task: Task, name: str, params: Params, seed: int) -> Trained:
    """Train a model on the full data and score it on the test part."""
    generator = torch.Generator().manual_seed(seed)
    model, _ = task.train(params, task.splits.train, generator)
    score = task.measure(model, task.splits.test)
    return Trained(f"{name}: {score:.3f}", model.eval())


@torch.no_grad()
def confusion(task: Task, models: Sequence[Trained]) -> Figure:
    """Matrices of true against predicted classes, in shares of the true ones."""
    figure, axes = panels(1, len(models), 3.6, 3.4)
    part = task.splits.test
    known = part.labels.flatten() >= 0  # padding of sequences is below
    for panel, trained in zip(axes[0], models, strict=True):
        answers = torch.cat([trained.model(x).argmax(1) for x in part.inputs.split(256)])
        ConfusionMatrixDisplay.from_predictions(
            part.labels.flatten()[known].numpy(),
            answers.flatten()[known].numpy(),
            normalize="true",
            include_values=False,
            colorbar=False,
            cmap="Blues",
            ax=panel,
        )
        panel.set_title(trained.name)
        panel.tick_params(labelsize=7)
    return figure


@torch.no_grad()
def masks(task: Task, models: Sequence[Trained]) -> Figure:
    """Pictures, true masks and predicted ones."""
    part = task.splits.test
    figure, axes = panels(_N_EXAMPLES, 2 + len(models), 1.7, 1.7)
    for row, i in zip(axes, spread(len(part), _N_EXAMPLES), strict=True):
        show(row[0], part.inputs[i], "picture")
        show(row[1], part.labels[i], "truth")
        for panel, trained in zip(row[2:], models, strict=True):
            show(panel, trained.model(part.inputs[i : i + 1]).argmax(1)[0], trained.name)
    return figure


@torch.no_grad()
def boxes(task: Task, models: Sequence[Trained]) -> Figure:
    """Pictures with true boxes and with those of which a model is sure enough."""
    part = task.splits.test
    figure, axes = panels(_N_EXAMPLES, 1 + len(models), 1.8, 1.6)
    for row, i in zip(axes, spread(len(part), _N_EXAMPLES), strict=True):
        truth = part.labels[i]
        show(row[0], part.inputs[i], "truth")
        _draw_boxes(row[0], truth[truth[:, 0] >= 0], part.inputs.shape)
        for panel, trained in zip(row[1:], models, strict=True):
            found, scores = trained.model(part.inputs[i : i + 1])
            show(panel, part.inputs[i], trained.name)
            _draw_boxes(panel, found[0][scores[0] > _LEAST_SCORE], part.inputs.shape)
    return figure


@torch.no_grad()
def forecasts(task: Task, models: Sequence[Trained]) -> Figure:
    """The end of the past, the future, and what was forecast."""
    part = task.splits.test
    figure, axes = panels(1, _N_EXAMPLES, 3.2, 2.6)
    for panel, i in zip(axes[0], spread(len(part), _N_EXAMPLES), strict=True):
        past, future = part.inputs[i].flatten(), part.labels[i].flatten()
        ahead = np.arange(len(future))
        panel.plot(np.arange(-_N_PAST, 0), past[-_N_PAST:], color="#8c8c8c")
        panel.plot(ahead, future, color="black", label="truth")
        for trained, colour in zip(models, _COLOURS, strict=False):
            forecast = trained.model(part.inputs[i : i + 1]).flatten()
            panel.plot(ahead, forecast, color=colour, label=trained.name)
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


# By family or task; for all others ``confusion``.
DRAWINGS: dict[str, Callable[[Task, Sequence[Trained]], Figure]] = {
    "segmentation": masks,
    "detection": boxes,
    "forecasting": forecasts,
    "sequences/digit_strings": strings,
    "sequences/entities": sentences,
    "sequences/shakespeare": texts,
}


def _draw_boxes(panel: Axes, rows: Tensor, shape: torch.Size) -> None:
    height, width = shape[-2:]
    for kind, left, top, right, bottom in rows.tolist():
        colour = _COLOURS[int(kind) % len(_COLOURS)]
        corner, size = (left * width, top * height), (right - left, bottom - top)
        box = Rectangle(corner, size[0] * width, size[1] * height, fill=False, color=colour)
        panel.add_patch(box)


def answer(path: Path, task: str, method: str) -> tuple[Params, int]:
    """Hyperparameters of a study's final answer, and its seed.

    Raises:
        SystemExit: If the file holds no such study.
    """
    for line in read_lines(path):
        if (line["task"], line["method"]) == (task, method) and line["answer"]:
            return line["answer"], line["seed"]
    raise SystemExit(f"{path} holds no answer of {method} to {task}: benchmarks.expert_level.")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: one picture after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery", description=__doc__)
    parser.add_argument("--pictures", nargs="+", default=list(SHOWN), choices=list(SHOWN))
    parser.add_argument("--method", default=METHOD, help="whose answers are shown")
    parser.add_argument("--raw", type=Path, default=PATH)
    parser.add_argument("--out", type=Path, default=FOLDER)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.pictures:
        task = TASKS[SHOWN[name]]
        params, seed = answer(args.raw, task.name, args.method)
        models = [train(task, "expert", task.expert, seed), train(task, "tuned", params, seed)]
        drawing = DRAWINGS.get(task.name) or DRAWINGS.get(task.family, confusion)
        drawing(task, models).savefig(
            args.out / f"{name}.png",
            dpi=_DPI,
            metadata={"Software": None},
            pil_kwargs={"optimize": True},
        )
        print(args.out / f"{name}.png", *(trained.name for trained in models))


if __name__ == "__main__":
    main()
