"""English Web Treebank: sentences of five genres with their parts of speech.

The archive holds the published development and test parts, 4,078 sentences; the published
training part is not used. Split: whole documents, as sentences of one document share their words;
of every genre a fifth of the sentences (nearly) is for validation, a fifth for test, the rest for
training, drawn with seed 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.words import split_words
from benchmarks.deep_learning.sources.words import text_splits


ARCHIVE = Archive(
    name="UD_English-EWT",
    repository="UniversalDependencies/UD_English-EWT",
    commit="15d613d8447b3478787d4c278730a1e48a945efb",
    files=r"en_ewt-ud-(dev|test)\.conllu",
    digest="6cb68c4445027542699941240e365bf98ff9fd1b2ca3d1261a35a66008beb089",
    licence="CC BY-SA 4.0",
)
GENRES = ("answers", "email", "newsgroup", "reviews", "weblog")
_SHARES = (0.2, 0.2)  # validation, test


@dataclass(frozen=True)
class Sentence:
    """A sentence.

    Attributes:
        document: Name of its document, which begins with the genre.
        words: As they are written.
        tags: Universal part of speech of every word.
    """

    document: str
    words: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def genre(self) -> int:
        """Number of the genre."""
        return GENRES.index(self.document.split("-")[0])


def load_web_genre() -> Splits:
    """Return word numbers ``(n, MAX_WORDS)`` and the genres of sentences.

    Raises:
        DataError: If the archive is not to be had.
    """
    sentences = parse(read_archive(ARCHIVE))
    texts = [split_words(" ".join(sentence.words)) for sentence in sentences]
    labels = np.array([sentence.genre for sentence in sentences], dtype=np.int64)
    return text_splits(texts, labels, document_cuts(sentences))


def parse(files: Mapping[str, bytes]) -> list[Sentence]:
    """Return the sentences of CoNLL-U files, without the parts of contractions."""
    sentences = []
    for _, content in sorted(files.items()):
        document = ""
        for block in content.decode().split("\n\n"):
            lines = block.splitlines()
            for line in lines:
                if line.startswith("# newdoc id = "):
                    document = line.removeprefix("# newdoc id = ")
            rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
            rows = [row for row in rows if row[0].isdigit()]
            if rows:
                words, tags = tuple(row[1] for row in rows), tuple(row[3] for row in rows)
                sentences.append(Sentence(document, words, tags))
    return sentences


def document_cuts(sentences: Sequence[Sentence]) -> list[NDArray[np.int64]]:
    """Rows of the training, the validation and the test part; documents stay together."""
    rng = np.random.default_rng(0)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for genre in range(len(GENRES)):
        rows: dict[str, list[int]] = {}
        for row, sentence in enumerate(sentences):
            if sentence.genre == genre:
                rows.setdefault(sentence.document, []).append(row)
        names = sorted(rows)
        wanted = [round(share * sum(map(len, rows.values()))) for share in _SHARES]
        n_taken = [0, 0]
        for number in rng.permutation(len(names)):
            document = rows[names[number]]
            fitting = [i for i in (0, 1) if n_taken[i] + len(document) <= wanted[i]]
            if fitting:
                n_taken[fitting[0]] += len(document)
            parts[fitting[0] + 1 if fitting else 0].extend(document)
    return [np.sort(np.array(part, dtype=np.int64)) for part in parts]
