"""Made-up instruments: half a second of one of eight timbres in noise, at 8 kHz.

An instrument is a recipe for overtones and for how a note swells and dies; a note has a pitch from
three octaves, a loudness of every overtone and times of its own, vibrato, and is mixed with a note
of a random other instrument at -3 dB or less and with white noise at 0 to 15 dB. Notes are drawn
with seed 0: 1,600 for training, 800 for validation, 800 for test, as many of each instrument.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.deep_learning.sources.log_mel import log_mel
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import cached_arrays
from benchmarks.deep_learning.sources.splits import standardised


RATE = 8000
N_SAMPLES = 4000
_N_NOTES = (1600, 800, 800)  # training, validation, test
_N_OVERTONES = 12
_PITCHES = (110.0, 880.0)
_DECIBELS = (0.0, 15.0)

Wave = NDArray[np.float64]


@dataclass(frozen=True)
class Instrument:
    """A timbre.

    Attributes:
        slope: Overtone ``k`` has the amplitude ``k ** -slope``.
        even: Factor of the even overtones.
        stretch: Overtone ``k`` is ``k * (1 + stretch * k ** 2)`` times the pitch.
        attack: Seconds until a note is loud.
        decay: Seconds until it has lost most of it; infinite for a sustained one.
        vibrato: Largest share that the pitch swings by.
        breath: Amplitude of noise that goes with the note.
    """

    slope: float
    even: float = 1.0
    stretch: float = 0.0
    attack: float = 0.01
    decay: float = np.inf
    vibrato: float = 0.0
    breath: float = 0.0


INSTRUMENTS = (
    Instrument(slope=1.0, attack=0.06, vibrato=0.01),  # bowed
    Instrument(slope=1.2, decay=0.25, stretch=2e-4),  # plucked
    Instrument(slope=1.8, decay=0.35, stretch=5e-4),  # struck
    Instrument(slope=1.2, even=0.1, attack=0.04),  # reed
    Instrument(slope=2.2, attack=0.05, vibrato=0.006, breath=0.05),  # flute
    Instrument(slope=0.7, attack=0.03),  # brass
    Instrument(slope=1.0, decay=0.3, stretch=2e-2),  # bell
    Instrument(slope=1.5, attack=0.01),  # organ
)


def load_instruments() -> Splits:
    """Return standardised log-mel spectrograms ``(n, 1, bands, frames)`` and the instruments."""
    stored = cached_arrays("instruments", None, _arrays)
    inputs = torch.as_tensor(stored["spectra"].astype(np.float32))[:, None]
    whole = Part(inputs, torch.as_tensor(stored["labels"]))
    first, second, third = np.split(np.arange(len(whole)), np.cumsum(_N_NOTES)[:2])
    return standardised(Splits(whole.take(first), whole.take(second), whole.take(third)))


def note(instrument: Instrument, rng: np.random.Generator) -> Wave:
    """Draw a note ``(N_SAMPLES,)`` with a mean square of 1."""
    time = np.arange(N_SAMPLES) / RATE
    pitch = np.exp(rng.uniform(*np.log(_PITCHES)))
    swing = (
        instrument.vibrato
        * rng.uniform(0.3, 1)
        * np.sin(2 * np.pi * (rng.uniform(4, 7) * time + rng.random()))
    )
    phase = 2 * np.pi * pitch * np.cumsum(1 + swing) / RATE
    k = np.arange(1, _N_OVERTONES + 1)
    ratios = k * (1 + instrument.stretch * k**2)
    amplitudes = k ** -(instrument.slope * rng.uniform(0.8, 1.2)) * rng.uniform(0.5, 1.5, len(k))
    amplitudes[1::2] *= instrument.even
    amplitudes[ratios * pitch > RATE / 2.2] = 0
    starts = rng.uniform(0, 2 * np.pi, len(k))
    wave = amplitudes @ np.sin(ratios[:, None] * phase + starts[:, None])
    wave += instrument.breath * rng.normal(size=N_SAMPLES)
    late = time - rng.uniform(0, 0.15)
    attack, decay = (
        seconds * rng.uniform(0.6, 1.6) for seconds in (instrument.attack, instrument.decay)
    )
    wave *= np.clip(late / attack, 0, 1) * np.exp(-np.maximum(late, 0) / decay)
    return np.asarray(wave / np.sqrt(np.square(wave).mean()))


def _arrays() -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(n) % len(INSTRUMENTS) for n in _N_NOTES])
    waves = np.empty((len(labels), N_SAMPLES), np.float32)
    for wave, kind in zip(waves, labels, strict=True):
        other = INSTRUMENTS[(kind + rng.integers(1, len(INSTRUMENTS))) % len(INSTRUMENTS)]
        wave[:] = note(INSTRUMENTS[kind], rng) + rng.uniform(0, 0.7) * note(other, rng)
        wave += 10 ** (-rng.uniform(*_DECIBELS) / 20) * rng.normal(size=N_SAMPLES)
    return {"spectra": log_mel(waves / np.float32(8), RATE), "labels": labels}
