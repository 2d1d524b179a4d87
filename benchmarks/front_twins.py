"""Development problems with two to five objectives, for `benchmarks.many_objectives`.

They are what the rule for several objectives is tuned on, and no part of the benchmark's results:
made up, with difficulties of the known problems and other formulas. A point's place on the front
comes from its first parameters, which may be raised to a power (so that most of the range says
nothing), its distance from the front from the others; the feasible share of random configurations
is 0.5 to 2 %. All objectives are minimised, all parameters are on the unit interval.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import math

import numpy as np
from numpy.typing import NDArray
import optuna


Array = NDArray[np.float64]
Suggested = tuple[Array, Sequence[float]]

_N_FRONT = {2: 5000, 3: 3000, 4: 20_000, 5: 20_000}
_BAND_LEVEL = 2.9
_BALL = np.array([0.85, 0.2, 0.8, 0.25])
_BALL_RADIUS = 0.22
_CORNER_SUM = 3.4
_NEEDLE_SUM = 3.9


def _units(trial: optuna.Trial, n: int) -> Array:
    return np.array([trial.suggest_float(f"x{i}", 0, 1) for i in range(n)])


def _shares(places: Array) -> Array:
    """Points ``(m,)`` or ``(m, k)`` of the simplex for places ``(m - 1,)`` or ``(m - 1, k)``."""
    left, shares = np.ones_like(places[0]), []
    for place in places:
        shares.append(left * place)
        left = left * (1 - place)
    return np.array([*shares, left])


def _simplex(m: int) -> Array:
    """Points ``(k, m)`` spread evenly over the simplex."""
    points = np.random.default_rng(0).exponential(size=(_N_FRONT[m], m))
    return np.asarray(points / points.sum(1, keepdims=True))


def _band(trial: optuna.Trial) -> Suggested:
    """Only what lies far behind the unconstrained front is feasible."""
    x = _units(trial, 6)
    distance = 1 + 1.2 * float(np.square(x[1:] - 0.3).sum())
    values = distance * _shares(x[:1] ** 60)
    pairs = ((1.0, 2.2), (2.2, 1.0))
    return values, tuple(_BAND_LEVEL - float(values @ weights) for weights in pairs)


def _band_front() -> Array:
    line = _shares(np.linspace(0, 1, 2001)[None]).T
    needed = _BAND_LEVEL / np.minimum(line @ (1.0, 2.2), line @ (2.2, 1.0))
    return np.asarray(line * needed[:, None])


def _needle(trial: optuna.Trial) -> Suggested:
    """Nearly all of a parameter's range is one end of the front."""
    x = _units(trial, 6)
    distance = 1 + 2 * float(np.square(x[1:] - 0.2).mean())
    return distance * np.sqrt(_shares(x[:1] ** 150)), (_NEEDLE_SUM - float(x[1:].sum()),)


def _needle_front() -> Array:
    return np.asarray((1 + 2 * (_NEEDLE_SUM / 5 - 0.2) ** 2) * np.sqrt(_simplex(2)))


def _ball(trial: optuna.Trial) -> Suggested:
    """Only a small ball of the distance parameters is feasible, away from the best distance."""
    x = _units(trial, 6)
    distance = 1 + 4 * float(np.square(x[2:] - 0.5).sum())
    limit = float(np.linalg.norm(x[2:] - _BALL)) - _BALL_RADIUS
    return distance * np.sqrt(_shares(np.array([x[0] ** 30, x[1] ** 0.1]))), (limit,)


def _ball_front() -> Array:
    nearest = float(np.linalg.norm(_BALL - 0.5)) - _BALL_RADIUS
    return np.asarray((1 + 4 * nearest**2) * np.sqrt(_simplex(3)))


def _corner(trial: optuna.Trial) -> Suggested:
    """Only a corner of the distance parameters is feasible."""
    x = _units(trial, 7)
    distance = 1 + float(np.square(x[3:]).mean())
    values = distance * np.square(_shares(x[:3] ** np.array([1.0, 8.0, 0.3])))
    return values, (_CORNER_SUM - float(x[3:].sum()),)


def _corner_front() -> Array:
    return np.asarray((1 + (_CORNER_SUM / 4) ** 2) * np.square(_simplex(4)))


def _ripples(x: Array) -> float:
    """A distance with many local optima; 0 at 0.6."""
    off = x - 0.6
    return float((2 * np.abs(off) + 0.15 * (1 - np.cos(9 * math.pi * off))).mean())


def _rippled(m: int) -> Callable[[optuna.Trial], Suggested]:
    def evaluate(trial: optuna.Trial) -> Suggested:
        x = _units(trial, 7 if m > 3 else 6)
        places = x[: m - 1] ** np.resize([1.0, 3.0, 0.4], m - 1)
        return (_ripples(x[m - 1 :]) + _shares(places)) * np.arange(1, m + 1), ()

    return evaluate


def _drift(trial: optuna.Trial) -> Suggested:
    """What a place parameter does depends on the distance parameters."""
    x = _units(trial, 6)
    place = x[:1] ** (0.2 + 25 * abs(float(x[1:].mean()) - 0.4))
    return float(np.abs(x[1:] - 0.7).mean()) + np.sqrt(_shares(place)), ()


def _steep(trial: optuna.Trial) -> Suggested:
    x = _units(trial, 6)
    places = np.array([x[0] ** 50, 1 - x[1] ** 12])
    return (1 + 3 * float(np.square(x[2:] - 0.4).sum())) * np.sqrt(_shares(places)), ()


def _ramps(m: int) -> Callable[[], Array]:
    return lambda: np.asarray(_simplex(m) * np.arange(1, m + 1))


# Name to evaluation and front.
FRONT_TWINS: dict[str, tuple[Callable[[optuna.Trial], Suggested], Callable[[], Array]]] = {
    "front_twin/band": (_band, _band_front),
    "front_twin/needle": (_needle, _needle_front),
    "front_twin/ball": (_ball, _ball_front),
    "front_twin/corner": (_corner, _corner_front),
    "front_twin/ripples2": (_rippled(2), _ramps(2)),
    "front_twin/ripples5": (_rippled(5), _ramps(5)),
    "front_twin/drift": (_drift, lambda: np.sqrt(_simplex(2))),
    "front_twin/steep": (_steep, lambda: np.sqrt(_simplex(3))),
}
