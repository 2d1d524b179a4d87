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

from benchmarks.hypervolume import non_dominated


Array = NDArray[np.float64]
Suggested = tuple[Array, Sequence[float]]

_N_FRONT = {2: 5000, 3: 3000, 4: 20_000, 5: 20_000}
_BAND_LEVEL = 2.9
_BALL = np.array([0.85, 0.2, 0.8, 0.25])
_BALL_RADIUS = 0.22
_CORNER_SUM = 3.4
_NEEDLE_SUM = 3.9
_RIM_LEVEL = 5.8
_WIDTHS, _DEPTHS = (8, 256), (1, 6)
# What an activation adds to the error and to the cost, and where each optimiser's rate is best.
_ACTIVATIONS = {"relu": (0.05, 0.0), "gelu": (0.0, 0.25), "tanh": (0.12, 0.1), "id": (0.3, 0.0)}
_RATES = {"sgd": -1.2, "adam": -3.0, "lion": -3.8}


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


def _axis(trial: optuna.Trial) -> Suggested:
    """As `_needle`, with room before the front and all of it feasible."""
    x = _units(trial, 6)
    distance = 1 + 2 * float(np.abs(x[1:] - 0.65).mean())
    return distance * np.sqrt(_shares(x[:1] ** 90)), ()


def _rim(trial: optuna.Trial) -> Suggested:
    """Feasible behind a rim, which few random configurations are, and biased at that."""
    x = _units(trial, 6)
    values = (1 + 1.3 * float(np.square(x[1:] - 0.6).sum())) * np.sqrt(_shares(x[:1] ** 40))
    squares = np.square(values)
    return values, tuple(_RIM_LEVEL - squares.sum() - 1.2 * squares)


def _rim_front() -> Array:
    line = np.sqrt(_shares(np.linspace(0, 1, 3001)[None])).T
    needed = _RIM_LEVEL / (1 + 1.2 * np.square(line).min(axis=1))
    return np.asarray(line * np.sqrt(needed)[:, None])


def _gap_shape(place: Array) -> Array:
    return np.asarray(1 - place**0.8 * np.cos(4 * np.pi * place) ** 2)


def _islands(m: int) -> Callable[[optuna.Trial], Suggested]:
    """A front with gaps, a place that is a mean, and pairs of distance parameters."""

    def evaluate(trial: optuna.Trial) -> Suggested:
        x = _units(trial, 6 if m == 2 else 7)
        off = np.abs(x[m:] - 0.3) / 0.7
        first, second = off[0::2], off[1::2] if len(off) % 2 == 0 else np.append(off[1::2], 0.0)
        distance = float(((first + second) / 2 + np.abs(first - second)).mean())
        place = x[:2].mean(keepdims=True)
        others = place**2 * (_shares(x[2:m]) if m > 2 else np.ones(1))
        return distance + np.arange(1, m + 1) * np.append(others, _gap_shape(place)), ()

    return evaluate


def _islands_front(m: int) -> Array:
    place = np.linspace(0, 1, 4001)
    last = _gap_shape(place)
    best = place[last < np.append(np.inf, np.minimum.accumulate(last)[:-1])]
    shares = _shares(np.linspace(0, 1, 41)[None]) if m > 2 else np.ones((1, 1))
    points = [
        np.append(a**2 * share, _gap_shape(a))
        for a in best[:: 1 if m == 2 else 20]
        for share in shares.T
    ]
    return np.asarray(points) * np.arange(1, m + 1)


def _tilted(m: int) -> Callable[[optuna.Trial], Suggested]:
    """What a place parameter does depends on all that come after it."""

    def evaluate(trial: optuna.Trial) -> Suggested:
        x = _units(trial, 6 if m < 4 else 7)
        later = np.array([x[i + 1 :].mean() for i in range(m - 1)])
        places = x[: m - 1] ** np.exp(5 * (later - 0.45))
        distance = float(np.abs(x[m - 1 :] - 0.3).mean()) / 0.7
        return np.asarray(distance + np.arange(1, m + 1) * np.sqrt(_shares(places))), ()

    return evaluate


def _cliff(m: int) -> Callable[[optuna.Trial], Suggested]:
    """As `_tilted`: up to a level of what comes after it hardly, then ever more."""

    def evaluate(trial: optuna.Trial) -> Suggested:
        x = _units(trial, 6)
        later = np.array([x[i + 1 :].mean() for i in range(m - 1)])
        places = x[: m - 1] ** (0.1 + 1.5 * later + 80 * (later - 0.55).clip(0))
        distance = float(np.abs(x[m - 1 :] - 0.4).mean()) / 0.6
        return np.asarray(distance + 2 * np.arange(1, m + 1) * np.sqrt(_shares(places))), ()

    return evaluate


def _waves(trial: optuna.Trial) -> Suggested:
    """As `_islands`, with more of them, and hardly a distance."""
    x = _units(trial, 6)
    off = np.abs(x[2:] - 0.6) / 0.6
    place = float(x[:2].mean())
    distance = float(np.abs(off[::2] - off[1::2]).mean() + off.mean()) / 2
    return distance + np.array([2.0, 5.0]) * _wave(np.array(place)), ()


def _wave(place: Array) -> Array:
    return np.array([place**1.5, 1 - place * np.cos(5 * np.pi * place) ** 2])


def _waves_front() -> Array:
    points = _wave(np.linspace(0, 1, 4001)).T * (2.0, 5.0)
    return np.asarray(points[non_dominated(points)])


def _bowl(m: int, power: float) -> Callable[[optuna.Trial], Suggested]:
    """Smooth, every place equally likely."""

    def evaluate(trial: optuna.Trial) -> Suggested:
        x = _units(trial, 6 if m < 4 else 7)
        off = x[m - 1 :] - np.linspace(0.25, 0.75, len(x) - m + 1)
        return (1 + 1.5 * float(np.square(off).sum())) * _shares(x[: m - 1]) ** power, ()

    return evaluate


def _slope(trial: optuna.Trial) -> Suggested:
    """Best where five parameters are at a bound."""
    x = _units(trial, 6)
    distance = 1 + 6 * float((np.array([0, 1, 0, 1, 0]) - x[1:]).__abs__().mean())
    return np.array([x[0], distance * (1 - (x[0] / distance) ** 0.7)]), ()


def _slope_front() -> Array:
    line = np.linspace(0, 1, 5001)
    return np.stack([line, 1 - line**0.7], axis=1)


def _mixed(trial: optuna.Trial) -> Suggested:
    """Error and cost of a network, as it were: choices, integers and a logarithmic range."""
    width = trial.suggest_int("width", *_WIDTHS, log=True)
    depth = trial.suggest_int("depth", *_DEPTHS)
    extra, cost = _ACTIVATIONS[trial.suggest_categorical("activation", list(_ACTIVATIONS))]
    best = _RATES[trial.suggest_categorical("optimiser", list(_RATES))]
    rate = math.log10(trial.suggest_float("rate", 1e-5, 1, log=True))
    drop = trial.suggest_float("drop", 0, 0.8)
    loss = 0.15 * (rate - best) ** 2 + (drop - 0.1 - 0.05 * depth) ** 2 + extra
    return _mixed_values(width, depth, loss, cost), ()


def _mixed_values(width: int, depth: int, loss: float, cost: float) -> Array:
    error = 1.5 * width**-0.4 + 0.3 / depth + min(loss, 1.5)
    return np.array([error, math.log(width) + 0.8 * math.log(depth) + cost])


def _mixed_front() -> Array:
    points = [
        _mixed_values(width, depth, loss, cost)
        for width in range(_WIDTHS[0], _WIDTHS[1] + 1)
        for depth in range(_DEPTHS[0], _DEPTHS[1] + 1)
        for loss, cost in _ACTIVATIONS.values()
    ]
    return np.array(points)[non_dominated(np.array(points))]


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
    "front_twin/axis": (_axis, lambda: np.sqrt(_simplex(2))),
    "front_twin/rim": (_rim, _rim_front),
    "front_twin/islands2": (_islands(2), lambda: _islands_front(2)),
    "front_twin/islands3": (_islands(3), lambda: _islands_front(3)),
    "front_twin/tilted3": (_tilted(3), lambda: np.sqrt(_simplex(3)) * np.arange(1, 4)),
    "front_twin/tilted4": (_tilted(4), lambda: np.sqrt(_simplex(4)) * np.arange(1, 5)),
    "front_twin/cliff2": (_cliff(2), lambda: np.sqrt(_simplex(2)) * (2, 4)),
    "front_twin/cliff3": (_cliff(3), lambda: np.sqrt(_simplex(3)) * (2, 4, 6)),
    "front_twin/waves": (_waves, _waves_front),
    "front_twin/bowl3": (_bowl(3, 0.7), lambda: _simplex(3) ** 0.7),
    "front_twin/bowl4": (_bowl(4, 0.5), lambda: np.sqrt(_simplex(4))),
    "front_twin/slope": (_slope, _slope_front),
    "front_twin/mixed": (_mixed, _mixed_front),
}
