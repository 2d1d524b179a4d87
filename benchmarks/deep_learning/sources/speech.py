"""Free spoken digit dataset: ten digits by six speakers, 8 kHz; clean, or mixed with noise.

Split: recordings 0 to 4 of every digit and speaker are the official test part (300); of the other
45, 36 are for training (2,160) and 9 for validation (540), drawn with seed 0. All six speakers
are in all parts, as in the official split: the task is known speakers, not new ones.

*Digits in noise* mixes every recording three times with noise drawn by seed 0: white or pink
noise, or babble (four other recordings of the same part), at -6 to 12 dB. The mixes of a recording
stay in its part: 6,480, 1,620 and 900 examples.

*Speakers* asks who speaks, in three tenths of a second and whatever is said: the digits 0 to 4
are for training (1,500 recordings), of 5 to 9 the takes 25 to 49 for validation and 0 to 24 for
test (750 each). What is kept is the loudest stretch, with white noise at 12 dB and without the
mean of every band, so that neither loudness nor microphone tells the speaker.
"""

from __future__ import annotations

from collections.abc import Mapping
import io
from pathlib import PurePosixPath
import wave

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.log_mel import log_mel
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits
from benchmarks.deep_learning.sources.splits import cached_arrays
from benchmarks.deep_learning.sources.splits import stratified_cuts


ARCHIVE = Archive(
    name="free-spoken-digit-dataset",
    repository="Jakobovski/free-spoken-digit-dataset",
    commit="26eb9aaf76e81b692f806f9140c2d2777410d7a1",
    files=r"recordings/\d_[a-z]+_\d+\.wav",
    digest="04e1baae96c6a26e39c623f2b01d0182ddae627ba0ac02a3cdc17ba2af99fd9b",
    licence="CC BY-SA 4.0",
)
RATE = 8000
N_SAMPLES = 6080  # 0.76 s: 97 % of the recordings are shorter, longer ones lose their end
N_MIXES = 3
_N_OFFICIAL_TEST = 5
_VALIDATION_SHARE = 9 / 45
_DECIBELS = (-6.0, 12.0)
_N_BABBLE = 4
_TRAIN, _VALIDATION, _TEST = range(3)
_EXCERPT = 2400
_FIRST_NEW_DIGIT, _FIRST_VALIDATION_TAKE = 5, 25
_EXCERPT_DECIBELS = 12.0

Waves = NDArray[np.float32]
Indices = NDArray[np.int64]


def load_spoken_digits() -> Splits:
    """Return standardised log-mel spectrograms ``(n, 1, bands, frames)`` and the digits.

    Raises:
        DataError: If the archive is not to be had.
    """
    return _splits(cached_arrays("spoken-digits", ARCHIVE, lambda: _clean(read_archive(ARCHIVE))))


def load_noisy_digits() -> Splits:
    """Return what ``load_spoken_digits`` does, of every recording in three kinds of noise.

    Raises:
        DataError: If the archive is not to be had.
    """
    return _splits(cached_arrays("noisy-digits", ARCHIVE, lambda: _noisy(read_archive(ARCHIVE))))


def load_speakers() -> Splits:
    """Return what ``load_spoken_digits`` does, of short excerpts, and the speakers.

    Raises:
        DataError: If the archive is not to be had.
    """
    return _splits(cached_arrays("speakers", ARCHIVE, lambda: _speakers(read_archive(ARCHIVE))))


def read_waves(files: Mapping[str, bytes]) -> tuple[Waves, Indices, Indices]:
    """Return waves ``(n, N_SAMPLES)``, digits ``(n,)`` and parts ``(n,)`` of recordings."""
    names = sorted(files)
    waves = np.stack([_wave(files[name]) for name in names])
    fields = [PurePosixPath(name).stem.split("_") for name in names]
    labels = np.array([int(digit) for digit, _, _ in fields])
    is_test = np.array([int(number) < _N_OFFICIAL_TEST for _, _, number in fields])
    voices = np.unique([digit + speaker for digit, speaker, _ in fields], return_inverse=True)[1]
    rest = np.flatnonzero(~is_test)
    n_validation = round(len(rest) * _VALIDATION_SHARE)
    validation, _ = stratified_cuts(voices[rest], (n_validation,), seed=0)
    parts = np.where(is_test, _TEST, _TRAIN)
    parts[rest[validation]] = _VALIDATION
    return waves, labels, parts


def mix(waves: Waves, parts: Indices, rng: np.random.Generator) -> Waves:
    """Add noise of a random kind and loudness to every recording.

    Args:
        waves: ``(n, samples)``.
        parts: ``(n,)`` babble is taken from recordings of the same part.
        rng: Source of randomness.
    """
    mixed = np.empty_like(waves)
    for row, signal in enumerate(waves):
        kind = rng.integers(3)
        noise = rng.normal(size=len(signal))
        if kind == 1:
            spectrum = np.fft.rfft(noise)
            noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), len(signal))
        elif kind == 2:
            others = np.flatnonzero(parts == parts[row])
            babble = waves[rng.choice(others, min(_N_BABBLE, len(others)), replace=False)]
            noise = babble.sum(0, dtype=np.float64) + 1e-4 * noise
        ratio = 10 ** (rng.uniform(*_DECIBELS) / 20)
        loudness = np.sqrt(np.square(signal).mean() / np.square(noise).mean()) / ratio
        mixed[row] = signal + loudness * noise
    return mixed


def _clean(files: Mapping[str, bytes]) -> dict[str, NDArray[np.generic]]:
    waves, labels, parts = read_waves(files)
    return _arrays(waves, labels, parts)


def _noisy(files: Mapping[str, bytes]) -> dict[str, NDArray[np.generic]]:
    waves, labels, parts = read_waves(files)
    rng = np.random.default_rng(0)
    mixes = np.concatenate([mix(waves, parts, rng) for _ in range(N_MIXES)])
    return _arrays(mixes, np.tile(labels, N_MIXES), np.tile(parts, N_MIXES))


def _speakers(files: Mapping[str, bytes]) -> dict[str, NDArray[np.generic]]:
    names = sorted(files)
    rng = np.random.default_rng(0)
    waves = np.stack([loudest(_wave(files[name]), _EXCERPT) for name in names])
    loudness = np.sqrt(np.square(waves).mean(1, keepdims=True)) + 1e-9
    noise = rng.normal(size=waves.shape) * 10 ** (-_EXCERPT_DECIBELS / 20)
    digits, speakers, takes = zip(
        *(PurePosixPath(name).stem.split("_") for name in names), strict=True
    )
    is_new = np.array(digits, dtype=int) >= _FIRST_NEW_DIGIT
    is_late = np.array(takes, dtype=int) >= _FIRST_VALIDATION_TAKE
    parts = np.where(is_new, np.where(is_late, _VALIDATION, _TEST), _TRAIN)
    labels = np.unique(speakers, return_inverse=True)[1]
    mixed = (0.1 * (waves / loudness + noise)).astype(np.float32)
    spectra = log_mel(mixed, RATE)
    return _standardised(spectra - spectra.mean(2, keepdims=True), labels, parts)


def loudest(wave: Waves, n_samples: int) -> Waves:
    """The stretch of a recording ``(samples,)`` with the largest energy."""
    energy = np.concatenate([[0], np.cumsum(np.square(wave, dtype=np.float64))])
    start = int((energy[n_samples:] - energy[:-n_samples]).argmax())
    return wave[start : start + n_samples]


def _arrays(waves: Waves, labels: Indices, parts: Indices) -> dict[str, NDArray[np.generic]]:
    return _standardised(log_mel(waves, RATE), labels, parts)


def _standardised(
    spectra: Waves, labels: Indices, parts: Indices
) -> dict[str, NDArray[np.generic]]:
    train = spectra[parts == _TRAIN]
    mean, spread = train.mean((0, 2), keepdims=True), train.std((0, 2), keepdims=True)
    standardised = ((spectra - mean) / spread).astype(np.float16)
    return {"spectra": standardised, "labels": labels, "parts": parts}


def _splits(stored: Mapping[str, NDArray[np.generic]]) -> Splits:
    inputs = torch.as_tensor(stored["spectra"].astype(np.float32))[:, None]
    whole = Part(inputs, torch.as_tensor(stored["labels"].astype(np.int64)))
    train, validation, test = (np.flatnonzero(stored["parts"] == part) for part in range(3))
    return Splits(whole.take(train), whole.take(validation), whole.take(test))


def _wave(content: bytes) -> Waves:
    with wave.open(io.BytesIO(content)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
            raise ValueError(f"a recording is not {RATE} Hz mono of 16 bits: {file.getparams()}")
        samples = np.frombuffer(file.readframes(N_SAMPLES), dtype="<i2") / np.float32(2**15)
    return np.pad(samples, (0, N_SAMPLES - len(samples))).astype(np.float32)
