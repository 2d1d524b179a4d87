"""Seeds of single decisions: the same in any process, others for every trial."""

from __future__ import annotations

import os
import zlib

import numpy as np


def fresh_entropy() -> int:
    """A seed of 64 bits from the operating system."""
    return int.from_bytes(os.urandom(8), "little")


def seed_of(entropy: int, number: int, only: str | None) -> int:
    """The seed of one suggestion, of 63 bits.

    Args:
        entropy: The sampler's seed.
        number: The trial's number.
        only: The parameter that is asked for by itself, None where all are at once.
    """
    purpose = "relative" if only is None else only
    words = [entropy, number, zlib.crc32(purpose.encode())]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]) >> 1
