"""Sentences with a tag for every word: parts of speech, and entities in noisy text.

*Entities* is WNUT-17: posts with persons, places, products and so on, many of which occur once.
Its published parts are of different sites; a network without pretrained vectors learns next to
nothing that helps on another site, so the three are put together and cut anew: 1,300 posts for
validation, 1,300 for test, 3,090 for training, stratified by whether there is an entity, with
seed 0. Results are not comparable with published ones. *Parts of speech* is cut by document, see
``ud_english``.

Longer sentences are cut into pieces of 24 words (an entity across a cut counts as two). A subset
has its share of every genre, or of posts with entities.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import stratified_cuts
from benchmarks.deep_learning.sources.ud_english import ARCHIVE as UD_ENGLISH
from benchmarks.deep_learning.sources.ud_english import document_cuts
from benchmarks.deep_learning.sources.ud_english import parse as parse_ud
from benchmarks.deep_learning.sources.words import numbered
from benchmarks.deep_learning.sources.words import vocabulary


ARCHIVE = Archive(
    name="wnut17",
    repository="leondz/emerging_entities_17",
    commit="e52a2d2a71ac1a051ca2d532eef28653c5c02603",
    files=r"(emerging\.(dev\.conll|test\.annotated)|wnut17train\.conll)",
    digest="ec3240fed7c535cc9aff4158da2d3459159978a8088f98b848944fb36dad6206",
    licence="CC BY 4.0",
)
PARTS_OF_SPEECH = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON"),
    *("PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X"),
)
_KINDS = ("corporation", "creative-work", "group", "location", "person", "product")
ENTITY_TAGS = ("O", *(f"{letter}-{kind}" for kind in _KINDS for letter in "BI"))
NO_WORD = -100  # label of padding: what PyTorch's cross entropy ignores
PIECE = 24  # words
N_CHARACTERS = 12  # of a word; of a longer one the first and the last six
ALPHABET = 98  # 0 pads, 1 is whatever is not ASCII
_SIZES = (1300, 1300)  # of WNUT-17: validation, test

Sentence = tuple[Sequence[str], Sequence[str]]  # words and tags
Indices = NDArray[np.int64]


def load_parts_of_speech() -> Splits:
    """Return inputs ``(n, PIECE, 1 + N_CHARACTERS)`` and labels ``(n, PIECE)``.

    The first number is the word's, without regard to case; the others are its characters.

    Raises:
        DataError: If the archive is not to be had.
    """
    sentences = parse_ud(read_archive(UD_ENGLISH))
    genres = np.array([sentence.genre for sentence in sentences])
    tagged = [(sentence.words, sentence.tags) for sentence in sentences]
    return _splits(tagged, PARTS_OF_SPEECH, genres, document_cuts(sentences))


def load_entities() -> Splits:
    """Return what ``load_parts_of_speech`` does, with numbers in ``ENTITY_TAGS`` as labels.

    Raises:
        DataError: If the archive is not to be had.
    """
    sentences = parse(read_archive(ARCHIVE))
    strata = np.array([int(any(tag != "O" for tag in tags)) for _, tags in sentences])
    validation, test, train = stratified_cuts(strata, _SIZES, seed=0)
    return _splits(sentences, ENTITY_TAGS, strata, (train, validation, test))


def parse(files: Mapping[str, bytes]) -> list[Sentence]:
    """Return the words and tags of all posts of files with a word and its tag in a line."""
    sentences: list[Sentence] = []
    for _, content in sorted(files.items()):
        words: list[str] = []
        tags: list[str] = []
        for line in [*content.decode().splitlines(), ""]:
            word, _, tag = line.partition("\t")
            if word.strip():
                words.append(word)
                tags.append(tag.strip())
            elif words:
                sentences.append((words, tags))
                words, tags = [], []
    return sentences


def characters(word: str) -> list[int]:
    """Numbers of a word's first and last characters."""
    half = N_CHARACTERS // 2
    kept = word if len(word) <= N_CHARACTERS else word[:half] + word[-half:]
    numbers = [ord(letter) - 30 if 32 <= ord(letter) < 127 else 1 for letter in kept]
    return numbers + [0] * (N_CHARACTERS - len(numbers))


def spelled(numbers: Sequence[int]) -> str:
    """A word from the numbers of its characters; a longer one lost its middle."""
    return "".join(chr(number + 30) if number > 1 else "?" for number in numbers if number)


def _splits(
    sentences: Sequence[Sentence], tags: Sequence[str], strata: Indices, parts: Sequence[Indices]
) -> Splits:
    lower = [[word.lower() for word in words] for words, _ in sentences]
    numbers = vocabulary(lower[row] for row in parts[0])
    train, validation, test = (
        _encoded([sentences[row] for row in part], numbers, tags) for part in parts
    )
    n_pieces = [-(-len(sentences[row][0]) // PIECE) for row in parts[0]]
    return Splits(train, validation, test, np.repeat(strata[parts[0]], n_pieces))


def _encoded(sentences: Sequence[Sentence], numbers: dict[str, int], tags: Sequence[str]) -> Part:
    pieces = [
        (words[start : start + PIECE], own[start : start + PIECE])
        for words, own in sentences
        for start in range(0, len(words), PIECE)
    ]
    inputs = np.zeros((len(pieces), PIECE, 1 + N_CHARACTERS), dtype=np.int64)
    labels = np.full((len(pieces), PIECE), NO_WORD, dtype=np.int64)
    inputs[..., 0] = numbered(
        [[word.lower() for word in words] for words, _ in pieces], numbers, PIECE
    )
    number_of = {tag: number for number, tag in enumerate(tags)}
    for row, (words, own) in enumerate(pieces):
        inputs[row, : len(words), 1:] = [characters(word) for word in words]
        labels[row, : len(own)] = [number_of[tag] for tag in own]
    return Part(torch.as_tensor(inputs), torch.as_tensor(labels))
