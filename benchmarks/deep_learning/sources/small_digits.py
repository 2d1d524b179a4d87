"""The digits of scikit-learn: 1,797 handwritten digits of 8 × 8 pixels, in its installation.

Split: a third each for training, validation and test (599), stratified by class with seed 0: with
more for training and less for validation, most networks are right on nearly all of it.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
import torch

from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import stratified_cuts


_SIZES = (599, 599)  # validation, test
_BRIGHTEST = 16


def load_small_digits() -> Splits:
    """Return inputs ``(n, 1, 8, 8)`` in [0, 1] and the digits."""
    stored = load_digits()
    inputs = torch.as_tensor(stored.images.astype(np.float32))[:, None] / _BRIGHTEST
    whole = Part(inputs, torch.as_tensor(stored.target.astype(np.int64)))
    validation, test, train = stratified_cuts(whole.labels.numpy(), _SIZES, seed=0)
    return Splits(whole.take(train), whole.take(validation), whole.take(test))
