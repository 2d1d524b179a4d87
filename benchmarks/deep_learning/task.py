"""A task: data, a model family with hyperparameters, a score, and an expert's recipe."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
import math
import time
from typing import Literal

import numpy as np
from numpy.typing import NDArray
import optuna
import torch
from torch import nn

from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.training import Params
from benchmarks.deep_learning.training import Value


@dataclass(frozen=True)
class Evaluation:
    """What one training gave and cost.

    Attributes:
        score: More is better; NaN when the training failed.
        n_examples: Examples processed in training.
        seconds: Processor time of training and scoring.
    """

    score: float
    n_examples: int
    seconds: float


@dataclass(frozen=True)
class Task:
    """A benchmark with real training.

    Args:
        name: ``FAMILY/BENCHMARK``.
        load: Returns the data.
        suggest: Asks a trial for the hyperparameters.
        train: Trains a model on some examples and returns it with the number of examples
            processed; all randomness comes from the generator.
        measure: Scores a model, more is better; NaN for a failure.
        expert: The recipe of someone who knows, in the task's hyperparameters.
        source: Where the recipe comes from.
        min_fraction: Smallest share of the training part that is worth a look.
    """

    name: str
    load: Callable[[], Splits]
    suggest: Callable[[optuna.trial.BaseTrial], dict[str, Value]]
    train: Callable[[Params, Part, torch.Generator], tuple[nn.Module, int]]
    measure: Callable[[nn.Module, Part], float]
    expert: Params
    source: str
    min_fraction: float = 1 / 27

    @cached_property
    def splits(self) -> Splits:
        """The data."""
        return self.load()

    @property
    def family(self) -> str:
        """The first half of the name."""
        return self.name.split("/")[0]

    def evaluate(
        self,
        params: Params,
        indices: NDArray[np.int64],
        seed: int,
        part: Literal["validation", "test"] = "validation",
        earlier: Sequence[NDArray[np.int64]] = (),
    ) -> Evaluation:
        """Train on some of the training examples and score the model.

        The global generators are not touched, and the same arguments give the same score.

        Args:
            params: Hyperparameters as ``suggest`` returns them.
            indices: ``(k,)`` rows of the training part.
            seed: Of initial weights, order of the examples, dropout and augmentation.
            part: Where it is scored; the test part is for final answers.
            earlier: Rows of the smaller subsets that are trained on first, in order of size; the
                training on ``indices`` begins with what they left.

        Returns:
            The score, and what all these trainings cost together.
        """
        train = self.splits.train.take(indices, earlier)
        scored = self.splits.validation if part == "validation" else self.splits.test
        generator = torch.Generator().manual_seed(seed)
        start = time.thread_time()
        model, n_examples = self.train(params, train, generator)
        score = self.measure(model, scored)
        seconds = time.thread_time() - start
        return Evaluation(score if math.isfinite(score) else math.nan, n_examples, seconds)
