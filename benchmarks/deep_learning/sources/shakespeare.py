"""Tiny Shakespeare: 1.1 MB of plays as characters, as packaged with char-rnn.

Split, in the order of the text: 90 % for training, 5 % for validation, 5 % for test. To keep a
training short, 3,072 chunks of 48 characters are taken from the training part, evenly spaced; the
other parts give 1,024 chunks each. A subset has its share of 16 stretches of the text.
"""

from __future__ import annotations

import string

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits


ARCHIVE = Archive(
    name="char-rnn",
    repository="karpathy/char-rnn",
    commit="6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e",
    files=r"data/tinyshakespeare/input\.txt",
    digest="f43a0430a9117c250605540b3eb4839081cc2a1c81ed7ae2d6dac00d11e7c198",
    licence="MIT",
)
# Every character that occurs, in the order of its code.
ALPHABET = "\n !$&',-.3:;?" + string.ascii_uppercase + string.ascii_lowercase
N_CHARACTERS = len(ALPHABET)
LENGTH = 48
_SHARES = (0.9, 0.95)  # where the training and the validation part end
_N_CHUNKS = (3072, 1024, 1024)
_N_STRETCHES = 16


def load_shakespeare() -> Splits:
    """Return characters ``(n, LENGTH)`` and the ones that follow them, of the same shape.

    Raises:
        DataError: If the archive is not to be had.
    """
    (content,) = read_archive(ARCHIVE).values()
    codes = np.frombuffer(ALPHABET.encode(), dtype=np.uint8)
    text = np.searchsorted(codes, np.frombuffer(content, dtype=np.uint8))
    ends = [round(share * len(text)) for share in _SHARES]
    train, validation, test = (
        cut_chunks(part, n) for part, n in zip(np.split(text, ends), _N_CHUNKS, strict=True)
    )
    strata = np.arange(len(train)) * _N_STRETCHES // len(train)
    return Splits(train, validation, test, strata)


def cut_chunks(text: NDArray[np.int64], n: int) -> Part:
    """Return evenly spaced chunks of a text.

    Args:
        text: Numbers of its characters.
        n: Number of chunks.
    """
    starts = np.linspace(0, len(text) - LENGTH - 1, n).astype(np.int64)
    chunks = torch.as_tensor(text[starts[:, None] + np.arange(LENGTH + 1)])
    return Part(chunks[:, :-1], chunks[:, 1:])
