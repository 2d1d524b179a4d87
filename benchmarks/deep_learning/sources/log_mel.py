"""Log-mel spectrograms of many short recordings at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


N_BANDS = 24
HOP = 160
_WINDOW = 256
_RANGE_HZ = (60.0, 3800.0)
_FLOOR = 1e-6
_BATCH = 256

Array = NDArray[np.float32]


def log_mel(waves: Array, rate: int) -> Array:
    """Return log energies of triangular mel bands.

    Args:
        waves: ``(n, samples)`` in [-1, 1].
        rate: Samples per second.

    Returns:
        ``(n, N_BANDS, frames)``, a frame every ``HOP`` samples.
    """
    bank = mel_bank(rate)
    window = np.hanning(_WINDOW + 1)[:-1]
    padded = np.pad(waves, ((0, 0), (_WINDOW // 2, _WINDOW // 2)))
    pieces = []
    for start in range(0, len(waves), _BATCH):
        batch = padded[start : start + _BATCH]
        frames = np.lib.stride_tricks.sliding_window_view(batch, _WINDOW, axis=1)[:, ::HOP]
        power = np.abs(np.fft.rfft(frames * window, axis=-1)) ** 2
        pieces.append(np.log(power @ bank + _FLOOR).swapaxes(1, 2).astype(np.float32))
    return np.concatenate(pieces)


def mel_bank(rate: int) -> NDArray[np.float64]:
    """Weights ``(frequencies, N_BANDS)`` of triangles that are evenly spaced in mel.

    The scale is O'Shaughnessy's, ``2595 log10(1 + f / 700)``, as in HTK.
    """
    low, high = (2595 * np.log10(1 + np.array(_RANGE_HZ) / 700)).tolist()
    corners = 700 * (10 ** (np.linspace(low, high, N_BANDS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / rate)[:, None]
    rising = (frequencies - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - frequencies) / (corners[2:] - corners[1:-1])
    return np.asarray(np.maximum(0, np.minimum(rising, falling)))
