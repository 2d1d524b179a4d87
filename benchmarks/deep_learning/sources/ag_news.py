"""AG news: title and first sentences of news in four classes.

The archive is the test part of Zhang, Zhao and LeCun, "Character-level convolutional networks for
text classification" (2015): 7,600 articles, 1,900 of each class. Their training part, 16 times as
large, is not used. Split: 5,400 articles for training, 1,000 for validation, 1,200 for test,
stratified by class with seed 0.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from benchmarks.deep_learning.sources.words import numbered
from benchmarks.deep_learning.sources.words import vocabulary


ARCHIVE = Archive(
    name="ag-news",
    repository="mhjabreel/CharCnn_Keras",
    commit="555590db4219b1243abb1918effd6a7425a2d75f",
    files=r"data/ag_news_csv/test\.csv",
    digest="7d62ccecefa9864a25eb9047fb18230cc249acd46eca7a8f90b19f2d308993ae",
    licence="non-commercial research",
)
_SIZES = (1000, 1200)  # validation, test
_WORD = re.compile(r"[a-z]+|\d+|#?\$")


def load_ag_news() -> Splits:
    """Return word numbers ``(n, MAX_WORDS)`` and the classes.

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
    words = numbered(texts, vocabulary(texts[row] for row in train))
    return {"words": words, "labels": labels.astype(np.uint8)}


def split_words(text: str) -> list[str]:
    """Lower-case words and numbers; the data marks line ends by a backslash."""
    return _WORD.findall(text.replace("\\", " ").lower())
