"""Deep-learning tasks as fitted functions: extra trees over the trainings that were kept.

A study on such a function has the space and much of the landscape of real training at a
thousandth of its time. Trees average: the function is smoother than training is.
"""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.deep_learning.training import Params
from benchmarks.evaluations import FOLDER
from benchmarks.records import read_lines


_LOGARITHMIC = ("clip", "lr", "weight_decay")
_MISSING = -1.0  # of a parameter that a configuration does not have
_LEAST_ERROR = 0.002
_N_TREES = 100

# Nodes of a tree, each with the feature it looks at, its threshold, both children and its value.
_Tree = tuple[list[int], list[float], list[int], list[int], list[float]]


class FittedTask:
    """The validation score on the full data of a task whose score is a share of right answers.

    Trainings that went on from smaller subsets are left out: they are others, on the same data.

    Args:
        task: ``FAMILY.BENCHMARK``, the name of a file of evaluations.
        folder: Where it is.
    """

    def __init__(self, task: str, folder: Path = FOLDER) -> None:
        lines = [
            line
            for line in read_lines(folder / f"{task}.jsonl")
            if line["score"] is not None and "earlier" not in line
        ]
        full = max(line["size"] for line in lines)
        scores: dict[str, list[float]] = {}
        for line in lines:
            if line["size"] == full and line["part"] == "validation":
                key = json.dumps(line["params"], sort_keys=True)
                scores.setdefault(key, []).append(line["score"])
        configurations = [json.loads(key) for key in scores]
        self._columns = _columns(configurations)
        inputs = np.array([self._row(params) for params in configurations], np.float32)
        trees = ExtraTreesRegressor(_N_TREES, min_samples_leaf=2, random_state=0, n_jobs=1)
        trees.fit(inputs, [_logit(float(np.mean(values))) for values in scores.values()])
        self._trees = [_nodes(tree) for tree in trees.estimators_]

    def logit(self, params: Params) -> float:
        """Logarithm of the odds of a right answer."""
        row = self._row(params)
        # One row at a time, which scikit-learn takes twenty times as long for.
        return math.fsum(_leaf(tree, row) for tree in self._trees) / len(self._trees)

    def _row(self, params: Params) -> list[float]:
        return [_number(params, name, choice) for name, choice in self._columns]


def luck(params: Params, seed: int) -> float:
    """A standard normal number that belongs to a configuration and a seed, as training's does."""
    text = json.dumps([dict(params), seed], sort_keys=True)
    digest = hashlib.sha256(text.encode()).digest()
    return float(np.random.default_rng(list(digest)).standard_normal())


def _columns(configurations: Sequence[Params]) -> list[tuple[str, object]]:
    """A column for every number and for every choice."""
    columns: list[tuple[str, object]] = []
    for name in sorted({name for params in configurations for name in params}):
        values = {params[name] for params in configurations if name in params}
        if any(isinstance(value, (str, bool)) for value in values):
            columns += [(name, value) for value in sorted(values, key=str)]
        else:
            columns.append((name, None))
    return columns


def _number(params: Params, name: str, choice: object) -> float:
    if name not in params:
        return _MISSING
    if choice is not None:
        return float(params[name] == choice)
    value = float(params[name])
    return math.log10(value) if name in _LOGARITHMIC else value


def _logit(score: float) -> float:
    error = min(max(1 - score, _LEAST_ERROR), 1 - _LEAST_ERROR)
    return math.log((1 - error) / error)


def _nodes(estimator: object) -> _Tree:
    tree = estimator.tree_  # type: ignore[attr-defined]
    arrays: list[NDArray[np.float64]] = [
        tree.feature,
        tree.threshold,
        tree.children_left,
        tree.children_right,
        tree.value[:, 0, 0],
    ]
    features, thresholds, left, right, values = (array.tolist() for array in arrays)
    return features, thresholds, left, right, values


def _leaf(tree: _Tree, row: Sequence[float]) -> float:
    features, thresholds, left, right, values = tree
    node = 0
    while left[node] >= 0:
        node = left[node] if row[features[node]] <= thresholds[node] else right[node]
    return values[node]
