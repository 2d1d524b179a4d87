"""Detection: boxes around objects, with a centre-point network; the score is the mAP at IoU .5."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from functools import partial
import io
import math
from typing import Any

import numpy as np
import optuna
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
import torch
from torch import Tensor
from torch import nn

from benchmarks.deep_learning.detector import MOST_FOUND
from benchmarks.deep_learning.detector import Detector
from benchmarks.deep_learning.detector import decode
from benchmarks.deep_learning.detector import detection_loss
from benchmarks.deep_learning.sources.blood_cells import CLASSES
from benchmarks.deep_learning.sources.blood_cells import load_blood_boxes
from benchmarks.deep_learning.sources.boxes import NOTHING
from benchmarks.deep_learning.sources.raccoons import load_raccoons
from benchmarks.deep_learning.sources.scenes import N_DIGITS
from benchmarks.deep_learning.sources.scenes import N_SHAPES
from benchmarks.deep_learning.sources.scenes import load_digit_scenes
from benchmarks.deep_learning.sources.scenes import load_shape_scenes
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value
from benchmarks.deep_learning.training import fit
from benchmarks.deep_learning.training import suggest_log
from benchmarks.deep_learning.training import suggest_optimisation


_LEAST_IOU = 0.5


def suggest(trial: optuna.trial.BaseTrial) -> dict[str, Value]:
    """Suggest the 19 hyperparameters, two of them conditional."""
    params = suggest_optimisation(trial, log2_batch_sizes=(3, 5)) | {
        "width": trial.suggest_int("width", 8, 16, step=4),
        "n_blocks": trial.suggest_int("n_blocks", 1, 3),
        "n_levels": trial.suggest_int("n_levels", 0, 2),
        "norm": trial.suggest_categorical("norm", ["none", "batch", "group"]),
        # In parts of the box's side: its bump's standard deviation.
        "heat_spread": trial.suggest_float("heat_spread", 0.05, 0.3, step=0.05),
        "focal_alpha": trial.suggest_float("focal_alpha", 1.0, 3.0, step=0.5),
        "focal_beta": trial.suggest_int("focal_beta", 2, 6),
        "size_coding": trial.suggest_categorical("size_coding", ["linear", "log"]),
        "size_weight": suggest_log(trial, "size_weight", 1e-2, 1e1),
        "offsets": trial.suggest_categorical("offsets", [False, True]),
        "peak_window": trial.suggest_int("peak_window", 1, 5, step=2),
        "flips": trial.suggest_categorical("flips", [False, True]),
    }
    if params["offsets"]:
        params["offset_weight"] = suggest_log(trial, "offset_weight", 1e-1, 1e1)
    return params


class _Predictor(nn.Module):
    """A network that decodes what it gives unless it is in training."""

    def __init__(self, params: Params, network: nn.Module) -> None:
        super().__init__()
        self._params, self._network = params, network

    def forward(self, pictures: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Maps in training, otherwise objects and their scores; see ``detector``."""
        maps = self._network(pictures)
        return maps if self.training else decode(self._params, maps)


def _train(
    n_classes: int, n_epochs: int, params: Params, part: Part, generator: torch.Generator
) -> tuple[nn.Module, int]:
    """Train a network on pictures ``(n, channels, height, width)``."""
    network = Detector(params, part.inputs.shape[1], n_classes, generator)
    model = _Predictor(params, network)
    loss_of = partial(detection_loss, params)
    flips = _flip if params["flips"] else None
    return model, fit(
        model, part, params, n_epochs, generator, loss_of=loss_of, augment_both=flips
    )


def _flip(part: Part, generator: torch.Generator) -> Part:
    """Mirror a batch left to right, or not, all alike."""
    if torch.randint(2, (1,), generator=generator):
        return part
    rows = part.labels.clone()
    rows[..., [1, 3]] = 1 - rows[..., [3, 1]]
    return Part(part.inputs.flip(-1), rows)


@torch.no_grad()
def mean_average_precision(model: nn.Module, part: Part) -> float:
    """Mean over the classes of the average precision; NaN when a number is not finite."""
    model.eval()
    rows, scores = model(part.inputs)
    if not (torch.isfinite(rows).all() and torch.isfinite(scores).all()):
        return math.nan
    truth = _coco(part.labels, None)
    found = _coco(rows, scores)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_indexed(truth), _indexed(found), "bbox")
        evaluation.params.iouThrs = np.array([_LEAST_IOU])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, math.inf]], ["all"]
        evaluation.params.maxDets = [MOST_FOUND]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    return float(precision[precision >= 0].mean())


def _coco(rows: Tensor, scores: Tensor | None) -> dict[str, Any]:
    """Objects of every picture as the annotations of a COCO data set."""
    annotations: list[dict[str, Any]] = []
    for picture, row in (rows[..., 0] != NOTHING).nonzero().tolist():
        kind, left, top, right, bottom = rows[picture, row].tolist()
        box = [left, top, right - left, bottom - top]
        annotation = {"id": len(annotations) + 1, "image_id": picture, "category_id": int(kind)}
        annotation |= {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        if scores is not None:
            annotation["score"] = float(scores[picture, row])
        annotations.append(annotation)
    kinds = sorted({annotation["category_id"] for annotation in annotations})
    return {
        "images": [{"id": picture} for picture in range(len(rows))],
        "categories": [{"id": kind} for kind in kinds],
        "annotations": annotations,
    }


def _indexed(dataset: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _task(
    name: str,
    load: Callable[[], Splits],
    n_classes: int,
    n_epochs: int,
    expert: Params,
    min_fraction: float = 1 / 9,
) -> Task:
    return Task(
        name=f"detection/{name}",
        load=load,
        suggest=suggest,
        train=partial(_train, n_classes, n_epochs),
        measure=mean_average_precision,
        expert=expert,
        source="X. Zhou et al., Objects as points (2019)",
        min_fraction=min_fraction,
    )


# Loss, weights, offsets, window and mirrored pictures as published; one cycle of a higher rate, as
# these trainings are short.
_EXPERT: dict[str, Value] = {
    "optimizer": "adamw",
    "lr": 1e-2,
    "weight_decay": 1e-4,
    "batch_size": 8,
    "schedule": "warmup",
    "width": 16,
    "n_blocks": 2,
    "n_levels": 2,
    "norm": "batch",
    "heat_spread": 0.1,
    "focal_alpha": 2.0,
    "focal_beta": 4,
    "size_coding": "linear",
    "size_weight": 0.1,
    "offsets": True,
    "offset_weight": 1.0,
    "peak_window": 3,
    "flips": True,
}
BLOOD_CELLS = _task("blood_cells", load_blood_boxes, len(CLASSES), 8, _EXPERT)
RACCOONS = _task("raccoons", load_raccoons, 1, 16, _EXPERT, min_fraction=1 / 3)
DIGIT_SCENES = _task(
    "digit_scenes",
    partial(load_digit_scenes, "rows"),
    N_DIGITS,
    6,
    {**_EXPERT, "flips": False},  # digits have a left and a right
)
SHAPE_SCENES = _task(
    "shape_scenes", partial(load_shape_scenes, "rows", crowded=False), N_SHAPES, 6, _EXPERT
)
