"""Texts as rows of word numbers.

Words are numbered from 2 by their frequency in the training part, so that a smaller vocabulary is
a limit on the numbers; 0 pads at the end, 1 is any other word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence
import re

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits


PADDING, UNKNOWN = 0, 1
MAX_WORDS = 32
MAX_VOCABULARY = 8000
_WORD = re.compile(r"[a-z']+|\d+|[^\s\w]")


def split_words(text: str) -> list[str]:
    """Lower-case words, numbers and single signs."""
    return _WORD.findall(text.lower())


def vocabulary(texts: Iterable[Sequence[str]], size: int = MAX_VOCABULARY) -> dict[str, int]:
    """Number the most frequent words from 2, the most frequent first."""
    counts = Counter(word for text in texts for word in text)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate(ranked[: size - 2], 2)}


def numbered(
    texts: Sequence[Sequence[str]], numbers: dict[str, int], length: int = MAX_WORDS
) -> NDArray[np.int16]:
    """Return ``(n, length)`` numbers of the first words of every text."""
    words = np.full((len(texts), length), PADDING, dtype=np.int16)
    for row, text in enumerate(texts):
        known = [numbers.get(word, UNKNOWN) for word in text[:length]]
        words[row, : len(known)] = known
    return words


def text_splits(
    texts: Sequence[Sequence[str]], labels: NDArray[np.int64], parts: Sequence[NDArray[np.int64]]
) -> Splits:
    """Return word numbers and classes in parts.

    Args:
        texts: Words of every text.
        labels: ``(n,)`` classes.
        parts: Rows for training, for validation and for the test.
    """
    train, validation, test = parts
    words = numbered(texts, vocabulary(texts[row] for row in train)).astype(np.int64)
    whole = Part(torch.as_tensor(words), torch.as_tensor(labels))
    return Splits(whole.take(train), whole.take(validation), whole.take(test))
