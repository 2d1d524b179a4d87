"""Sentence polarity: sentences of film reviews, for or against (Pang and Lee 2005).

Split: of 10,662 sentences 2,500 are for validation, 2,500 for test, 5,662 for training, stratified
with seed 0.
"""

from __future__ import annotations

import numpy as np

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import stratified_cuts
from benchmarks.deep_learning.sources.words import split_words
from benchmarks.deep_learning.sources.words import text_splits


ARCHIVE = Archive(
    name="rt-polarity",
    repository="dennybritz/cnn-text-classification-tf",
    commit="18762b459e21d9c70e5c242f8d43fc4e6db37a0d",
    files=r"data/rt-polaritydata/rt-polarity\.(neg|pos)",
    digest="bb9dcd60d8f032bbaaefabc1fa1315e6f1b75765fd0b8cd258abd073e0161a46",
    licence="research",
)
_SIZES = (2500, 2500)  # validation, test


def load_polarity() -> Splits:
    """Return word numbers ``(n, MAX_WORDS)`` and whether it is for (1) or against (0) the film.

    Raises:
        DataError: If the archive is not to be had.
    """
    files = read_archive(ARCHIVE)
    kinds = [content.decode().splitlines() for _, content in sorted(files.items())]  # neg, pos
    texts = [split_words(line) for lines in kinds for line in lines]
    labels = np.repeat([0, 1], [len(lines) for lines in kinds])
    validation, test, train = stratified_cuts(labels, _SIZES, seed=0)
    return text_splits(texts, labels, (train, validation, test))
