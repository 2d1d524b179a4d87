"""SMS spam: text messages, an eighth of them advertisements (UCI SMS Spam Collection).

About 400 messages are there more than once and are kept once, so that no message is in two parts.
Split: 1,300 for validation, 1,300 for test, the rest for training, stratified with seed 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import stratified_cuts
from benchmarks.deep_learning.sources.words import split_words
from benchmarks.deep_learning.sources.words import text_splits


ARCHIVE = Archive(
    name="sms-spam",
    repository="justmarkham/pycon-2016-tutorial",
    commit="5339710562cc46c4a32a369d63f1e8751a18a54e",
    files=r"data/sms\.tsv",
    digest="c85579da7e516ebcdad953c71421bc9499623aef44c40d28305ad42b8e990df3",
    licence="CC BY 4.0",
)
_SIZES = (1300, 1300)  # validation, test


def load_sms_spam() -> Splits:
    """Return word numbers ``(n, MAX_WORDS)`` and whether it is spam (1) or not (0).

    Raises:
        DataError: If the archive is not to be had.
    """
    (content,) = read_archive(ARCHIVE).values()
    texts, labels = parse(content.decode())
    validation, test, train = stratified_cuts(labels, _SIZES, seed=0)
    return text_splits(texts, labels, (train, validation, test))


def parse(content: str) -> tuple[list[list[str]], NDArray[np.int64]]:
    """Return the words and the classes of all different messages."""
    labels: dict[tuple[str, ...], int] = {}
    for line in content.splitlines():
        kind, _, message = line.partition("\t")
        labels.setdefault(tuple(split_words(message)), int(kind == "spam"))
    return [list(words) for words in labels], np.array(list(labels.values()), dtype=np.int64)
