"""AG news: title and first sentences of news in four classes.

The archive is the test part of Zhang, Zhao and LeCun, "Character-level convolutional networks for
text classification" (2015): 7,600 articles, 1,900 of each class. Their training part, 16 times as
large, is not used. Split: 5,400 articles for training, 1,000 for validation, 1,200 for test,
stratified by class with seed 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import csv
import io
import re

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import cached_arrays
from benchmarks.deep_learning.sources.splits import stratified_cuts


ARCHIVE = Archive(
    name="ag-news",
    repository="mhjabreel/CharCnn_Keras",
    commit="555590db4219b1243abb1918effd6a7425a2d75f",
    files=r"data/ag_news_csv/test\.csv",
    digest="7d62ccecefa9864a25eb9047fb18230cc249acd46eca7a8f90b19f2d308993ae",
    licence="non-commercial research",
)
PADDING, UNKNOWN = 0, 1
MAX_WORDS = 32
MAX_VOCABULARY = 8000
_SIZES = (1000, 1200)  # validation, test
_WORD = re.compile(r"[a-z]+|\d+|#?\$")


def load_ag_news() -> Splits:
    """Return word numbers ``(n, MAX_WORDS)`` and the classes.

    Words are numbered from 2 by their frequency in the training part, so that a smaller
    vocabulary is a limit on the numbers; 0 pads at the end, 1 is any other word.

    Raises:
        DataError: If the archive is not to be had.
    """
    stored = cached_arrays("ag-news", ARCHIVE, lambda: parse(read_archive(ARCHIVE)))
    labels = torch.as_tensor(stored["labels"].astype(np.int64))
    whole = Part(torch.as_tensor(stored["words"].astype(np.int64)), labels)
    validation, test, train = cuts(labels.numpy())
    return Splits(whole.take(train), whole.take(validation), whole.take(test))


def cuts(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows of the validation, the test and the training part."""
    return stratified_cuts(labels, _SIZES, seed=0)


def parse(files: Mapping[str, bytes]) -> dict[str, NDArray[np.generic]]:
    """Return ``words`` ``(n, MAX_WORDS)`` and ``labels`` ``(n,)``."""
    (content,) = files.values()
    rows = list(csv.reader(io.StringIO(content.decode())))
    labels = np.array([int(row[0]) - 1 for row in rows], dtype=np.int64)
    texts = [split_words(" ".join(row[1:])) for row in rows]
    *_, train = cuts(labels)
    numbers = vocabulary(texts[row] for row in train)
    words = np.full((len(texts), MAX_WORDS), PADDING, dtype=np.int16)
    for row, text in enumerate(texts):
        known = [numbers.get(word, UNKNOWN) for word in text[:MAX_WORDS]]
        words[row, : len(known)] = known
    return {"words": words, "labels": labels.astype(np.uint8)}


def split_words(text: str) -> list[str]:
    """Lower-case words and numbers; the data marks line ends by a backslash."""
    return _WORD.findall(text.replace("\\", " ").lower())


def vocabulary(texts: Iterable[Sequence[str]]) -> dict[str, int]:
    """Number the most frequent words from 2, the most frequent first."""
    counts = Counter(word for text in texts for word in text)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate(ranked[: MAX_VOCABULARY - 2], 2)}
