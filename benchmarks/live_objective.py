"""A deep-learning task as an objective whose trainings are kept, with clocks of what they cost."""

from __future__ import annotations

import math
import time
from typing import Any
from typing import Literal

import numpy as np
from numpy.typing import NDArray
import optuna

from benchmarks.deep_learning.task import Evaluation
from benchmarks.deep_learning.task import Task
from benchmarks.evaluations import Evaluations
from optuna_rocket import SubsetEvaluator


# Rows of the smaller subsets that a training begins with.
Earlier = tuple[NDArray[np.int64], ...]
# The hyperparameter that methods which end in ``:scaled`` fit to the size of a subset.
RATE = "lr"


class Objective:
    """A task as an objective, with clocks that count what trainings cost when they were done.

    Args:
        task: The task.
        evaluations: Where trainings are kept.
        seed: Of every training.
        subsets: The subsets to report, None for the full data alone.
        is_warm: Whether a training begins with what the one on the smaller subset left.
    """

    def __init__(
        self,
        task: Task,
        evaluations: Evaluations,
        seed: int,
        subsets: SubsetEvaluator | None,
        is_warm: bool = False,
    ) -> None:
        self._task, self._evaluations, self._seed = task, evaluations, seed
        self._subsets, self._is_warm = subsets, is_warm
        self._everything = np.arange(len(task.splits.train))
        self._earlier: Earlier = ()
        self._spent = [0.0, 0.0]
        self.params: list[dict[str, Any]] = []
        self.reports: list[list[float | None]] = []
        self.examples: list[int] = []
        self.seconds: list[float] = []
        self.own_seconds = 0.0

    def __call__(self, trial: optuna.Trial) -> float:
        """Return the full-data score, NaN for a failed training, or raise ``TrialPruned``."""
        self.params.append(self._task.suggest(trial))
        self.reports.append([])
        try:
            if self._subsets is None:
                return self._score(self.params[-1], self._everything)
            for subset in self._subsets.subsets(trial):
                params = _scaled(self.params[-1], trial.params, subset.params)
                earlier: Earlier = subset.carry or ()
                if self._is_warm:
                    subset.carry = (*earlier, subset.indices)
                subset.report(self._score(params, subset.indices, earlier))
            self._earlier = earlier
            return float(subset.value)
        finally:
            self.examples.append(round(self._spent[0]))
            self.seconds.append(round(self._spent[1], 4))

    def full_score(self, number: int, part: Literal["validation", "test"] = "validation") -> float:
        """Full-data score of a trial's configuration, off the clock."""
        args = self._task, self.params[number], self._everything, self._seed, part, self._earlier
        return self._evaluations.get(*args).score

    def _score(
        self, params: dict[str, Any], indices: NDArray[np.int64], earlier: Earlier = ()
    ) -> float:
        start = time.perf_counter()
        evaluation = self._train(params, indices, earlier)
        self._spent[0] += evaluation.n_examples
        self._spent[1] += evaluation.seconds
        if earlier:  # what the smaller subsets cost was paid with them
            paid = self._train(params, earlier[-1], earlier[:-1])
            self._spent[0] -= paid.n_examples
            self._spent[1] -= min(paid.seconds, evaluation.seconds)
        self.reports[-1].append(storable(evaluation.score))
        self.own_seconds += time.perf_counter() - start
        return evaluation.score

    def _train(
        self, params: dict[str, Any], indices: NDArray[np.int64], earlier: Earlier
    ) -> Evaluation:
        return self._evaluations.get(self._task, params, indices, self._seed, earlier=earlier)


def _scaled(
    params: dict[str, Any], suggested: dict[str, Any], suited: dict[str, Any]
) -> dict[str, Any]:
    """A task's hyperparameters with the rate that suits a subset, to three digits as it has it."""
    if suggested == suited:
        return params
    return {**params, RATE: float(f"{params[RATE] * suited[RATE] / suggested[RATE]:.3g}")}


def storable(score: float) -> float | None:
    """A score as JSON knows it: None for a failure."""
    return None if math.isnan(score) else score
