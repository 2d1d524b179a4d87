"""Evaluations of the deep-learning tasks, each trained once: a file per task, grown on demand.

Methods that ask for the same configuration on the same examples with the same seed get the same
result and the same cost, whoever asked first, and an interrupted study costs nothing to repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import json
import math
from pathlib import Path
from typing import Any
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.deep_learning.task import Evaluation
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.training import Params
from benchmarks.records import append_line
from benchmarks.records import drop_half_line
from benchmarks.records import read_lines


FOLDER = Path("benchmarks/results/evaluations")


@dataclass(frozen=True)
class _Key:
    """What an evaluation is of; subsets are known by their size, as all are nested."""

    task: str
    params: str
    size: int
    seed: int
    part: str
    earlier: tuple[int, ...]


class Evaluations:
    """The evaluations in a folder; what it does not hold is trained and appended.

    One process may use a task at a time.

    Args:
        folder: Holds ``FAMILY.BENCHMARK.jsonl``, one line per evaluation; made if it is not there.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._known: dict[str, dict[_Key, Evaluation]] = {}
        self._warm: set[str] = set()

    def get(
        self,
        task: Task,
        params: Params,
        indices: NDArray[np.int64],
        seed: int,
        part: Literal["validation", "test"] = "validation",
        earlier: Sequence[NDArray[np.int64]] = (),
    ) -> Evaluation:
        """Return an evaluation; the arguments are those of ``Task.evaluate``.

        Args:
            task: The task.
            params: The hyperparameters.
            indices: Rows of the training part; subsets of one size must be the same rows.
            seed: Of the training.
            part: Where it is scored.
            earlier: Rows of the smaller subsets that are trained on first.
        """
        sizes = tuple(len(smaller) for smaller in earlier)
        encoded = json.dumps(dict(params), sort_keys=True)
        key = _Key(task.name, encoded, len(indices), seed, part, sizes)
        known = self._of(task)
        if key not in known:
            if task.name not in self._warm:
                # A process's first training is slow, whatever it trains.
                task.evaluate(task.expert, np.arange(0, len(task.splits.train), 20), seed)
                self._warm.add(task.name)
            line = _encoded(key, task.evaluate(params, indices, seed, part, earlier))
            append_line(self._path(task), line)
            # What is stored, so that a repeated study meets the same numbers to the last digit.
            known[key] = _decoded(line)[1]
        return known[key]

    def _of(self, task: Task) -> dict[_Key, Evaluation]:
        if task.name not in self._known:
            path = self._path(task)
            drop_half_line(path)
            self._known[task.name] = dict(_decoded(line) for line in read_lines(path))
        return self._known[task.name]

    def _path(self, task: Task) -> Path:
        return self._folder / f"{task.name.replace('/', '.')}.jsonl"


def _encoded(key: _Key, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "task": key.task,
        "params": json.loads(key.params),
        "size": key.size,
        "seed": key.seed,
        "part": key.part,
        "score": None if math.isnan(evaluation.score) else round(evaluation.score, 6),
        "examples": evaluation.n_examples,
        "seconds": round(evaluation.seconds, 4),
        **({"earlier": list(key.earlier)} if key.earlier else {}),
    }


def _decoded(line: dict[str, Any]) -> tuple[_Key, Evaluation]:
    params = json.dumps(line["params"], sort_keys=True)
    earlier = tuple(line.get("earlier", ()))
    key = _Key(line["task"], params, line["size"], line["seed"], line["part"], earlier)
    score = math.nan if line["score"] is None else line["score"]
    return key, Evaluation(score, line["examples"], line["seconds"])
