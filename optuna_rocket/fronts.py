"""Fronts of several objectives: which trials are on them, and the hypervolume that they dominate.

Scores are greater where better, ``(m, n)`` for ``m`` objectives and ``n`` trials. The hypervolume
is that between a front and a reference point, which lies behind the front's worst values by a
tenth of the front's range. It is summed along rays from the reference point that fill the positive
part of the sphere: ``V ∝ Σ_r max_i reach_ri^m`` (Zhang & Golovin 2020, "Random hypervolume
scalarizations"), which takes any number of objectives. Only shares of a volume are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import torch
from torch import Tensor

from optuna_rocket.goals import directions


_N_RAYS = 2048
_MARGIN = 0.1


def fronts(scores: Tensor, counted: Tensor) -> Iterator[list[int]]:
    """The front before each trial, and after the last: the trials that no other one dominates.

    Args:
        scores: ``(m, n)``.
        counted: ``(n,)`` bool, trials that can be on a front: feasible ones that have all scores.
    """
    front: list[int] = []
    for i in range(len(counted)):
        yield list(front)
        if bool(counted[i]):
            front = _entered(scores, front, i)
    yield front


def final_front(scores: Tensor, counted: Tensor) -> list[int]:
    """The front after the last trial, by number of the trial; arguments as for ``fronts``."""
    front: list[int] = []
    for i in counted.nonzero()[:, 0].tolist():
        front = _entered(scores, front, i)
    return front


def _entered(scores: Tensor, front: list[int], i: int) -> list[int]:
    """The front after trial ``i``."""
    if not front:
        return [i]
    held, new = scores[:, front], scores[:, [i]]
    if bool(((held >= new).all(0) & (held > new).any(0)).any()):
        return front
    is_beaten = (new >= held).all(0) & (new > held).any(0)
    return [j for j, beaten in zip(front, is_beaten.tolist(), strict=True) if not beaten] + [i]


def compromise(scores: Tensor, front: list[int]) -> int:
    """The trial of a front whose worst score is best, on scales from the front's worst to best."""
    held = scores[:, front]
    low = held.amin(-1, keepdim=True)
    width = held.amax(-1, keepdim=True) - low
    share = torch.where(width > 0, (held - low) / width.clamp_min(1e-300), 1.0).nan_to_num(0.0)
    return front[int((share.amin(0) + 1e-6 * share.mean(0)).argmax())]


@dataclass(frozen=True)
class Box:
    """Where the hypervolume of a front is measured.

    Attributes:
        reference: ``(m, 1)`` scores that are worth nothing.
        width: ``(m, 1)`` range of the front's scores, of all counted ones where that is 0.
    """

    reference: Tensor
    width: Tensor

    def reach(self, scores: Tensor) -> Tensor:
        """How far along each of ``r`` rays points ``(m, k)`` dominate, ``(r, k)``."""
        inside = ((scores - self.reference) / self.width).clamp_min(0)
        return (inside[:, None] / _rays(len(scores))[..., None]).amin(0)


@lru_cache(maxsize=8)
def _rays(m: int) -> Tensor:
    """Directions ``(m, r)``."""
    return directions(_N_RAYS, m, torch.full((m,), 0.5)).T


def box(scores: Tensor, counted: Tensor, front: list[int]) -> Box:
    """The box of a front, which is not empty; other arguments as for ``fronts``."""
    held, among = scores[:, front], scores[:, counted]
    width = held.amax(-1, keepdim=True) - held.amin(-1, keepdim=True)
    wider = among.amax(-1, keepdim=True) - among.amin(-1, keepdim=True)
    width = torch.where(width > 0, width, wider)
    width = torch.where(width > 0, width, 1.0)
    return Box(held.amin(-1, keepdim=True) - _MARGIN * width, width)


def growth(scores: Tensor, counted: Tensor) -> list[float]:
    """Hypervolume after each trial, as a share of that after the last; 0 before there is any."""
    front = final_front(scores, counted)
    if not front:
        return [0.0] * len(counted)
    within, m = box(scores, counted, front), len(scores)
    reached = torch.zeros(_N_RAYS, 1, dtype=scores.dtype)
    volumes: list[float] = []
    for i, after in enumerate(islice(fronts(scores, counted), 1, None)):
        if i in after[-1:]:
            reached = reached.maximum(within.reach(scores[:, [i]]))
        volumes.append(float(reached.pow(m).mean()))
    return [volume / max(volumes[-1], 1e-300) for volume in volumes]


def expected_gain(scores: Tensor, counted: Tensor, front: list[int], samples: Tensor) -> float:
    """Expected growth of the hypervolume, as a share of that of the front, which is not empty.

    Args:
        scores: As for ``fronts``.
        counted: As for ``fronts``.
        front: From ``final_front``.
        samples: ``(m, s)`` equally probable scores of the new trial.
    """
    within, m = box(scores, counted, front), len(scores)
    reached = within.reach(scores[:, front]).amax(-1, keepdim=True)
    beyond = within.reach(samples).maximum(reached).pow(m).mean()
    return float(beyond / reached.pow(m).mean() - 1)
