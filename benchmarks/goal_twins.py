"""Development problems with one objective under constraints, for `benchmarks.many_objectives`.

They are what the rule for constraints is tuned on, and no part of the benchmark's results: of the
same kinds as the constrained problems of `goal_problems`, with other constants and other sources.
The pockets and the waves are made up; the welded beam and the spring are those of Coello 2000, the
truss that of Ray & Saini 2001, all with their best known values; the ball is a linear constraint
in six dimensions, the network a made-up trade-off between width and depth. All are minimised.
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


def _pockets(trial: optuna.Trial) -> Suggested:
    x, y = trial.suggest_float("x", 0, 5), trial.suggest_float("y", 0, 5)
    limit = math.sin(1.2 * x + 0.5) * math.sin(1.4 * y + 0.3) + 0.93
    return np.array([math.cos(1.3 * x) + 0.7 * y]), (limit,)


def _waves(trial: optuna.Trial) -> Suggested:
    x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
    wave = 0.4 * math.sin(3 * math.pi * (x - y**2))
    return np.array([0.7 * x + 1.2 * y]), (1.2 - 1.5 * x - 1.2 * y - wave, x**2 + 0.8 * y**2 - 1.1)


def _beam(trial: optuna.Trial) -> Suggested:
    weld, bar = trial.suggest_float("h", 0.1, 2), trial.suggest_float("b", 0.1, 2)
    length, depth = trial.suggest_float("l", 0.1, 10), trial.suggest_float("t", 0.1, 10)
    load, span, modulus = 6000.0, 14.0, 30e6
    arm = math.sqrt(length**2 / 4 + ((weld + depth) / 2) ** 2)
    inertia = 2 * math.sqrt(2) * weld * length * (length**2 / 12 + ((weld + depth) / 2) ** 2)
    direct = load / (math.sqrt(2) * weld * length)
    twist = load * (span + length / 2) * arm / inertia
    shear = math.sqrt(direct**2 + direct * twist * length / arm + twist**2)
    buckling = 4.013 * modulus * math.sqrt(depth**2 * bar**6 / 36) / span**2
    buckling *= 1 - depth / (2 * span) * math.sqrt(modulus / 48e6)
    cost = 1.10471 * weld**2 * length + 0.04811 * depth * bar * (span + length)
    return np.array([cost]), (
        shear - 13_600,
        6 * load * span / (bar * depth**2) - 30_000,
        weld - bar,
        4 * load * span**3 / (modulus * depth**3 * bar) - 0.25,
        load - buckling,
    )


def _spring(trial: optuna.Trial) -> Suggested:
    wire, coil = trial.suggest_float("d", 0.05, 0.2), trial.suggest_float("D", 0.25, 1.3)
    turns = trial.suggest_float("n", 2, 15)
    bending = (4 * coil**2 - wire * coil) / (12_566 * (coil * wire**3 - wire**4))
    return np.array([(turns + 2) * coil * wire**2]), (
        1 - coil**3 * turns / (71_785 * wire**4),
        bending + 1 / (5108 * wire**2) - 1,
        1 - 140.45 * wire / (coil**2 * turns),
        (wire + coil) / 1.5 - 1,
    )


def _truss(trial: optuna.Trial) -> Suggested:
    a, b = trial.suggest_float("a", 0, 1), trial.suggest_float("b", 0, 1)
    bottom = max(math.sqrt(2) * a**2 + 2 * a * b, 1e-9)
    return np.array([100 * (2 * math.sqrt(2) * a + b)]), (
        2 * (math.sqrt(2) * a + b) / bottom - 2,
        2 * b / bottom - 2,
        2 / max(a + math.sqrt(2) * b, 1e-9) - 2,
    )


def _ball(trial: optuna.Trial) -> Suggested:
    x = np.array([trial.suggest_float(f"x{i}", 0, 1) for i in range(6)])
    return np.array([float(np.square(x - 0.8).sum())]), (float(x.sum()) - 2.4,)


def _network(trial: optuna.Trial) -> Suggested:
    width = trial.suggest_int("width", 8, 512, log=True)
    depth = trial.suggest_int("depth", 1, 8)
    rate = math.log10(trial.suggest_float("lr", 1e-5, 1, log=True))
    loss = 1 / math.sqrt(1 + 0.01 * width * depth) + 0.1 * (rate + 2.5 + 0.2 * depth) ** 2
    return np.array([loss]), (math.log(width**2 * depth / 60_000), 0.8 * depth + width / 200 - 5)


# Name to evaluation and least value; those of the pockets, the waves and the network were found on
# a grid and polished.
TWINS: dict[str, tuple[Callable[[optuna.Trial], Suggested], float]] = {
    "twin/pockets": (_pockets, 0.0580656),
    "twin/waves": (_waves, 0.4936546),
    "twin/beam": (_beam, 1.724852),
    "twin/spring": (_spring, 0.0126652),
    "twin/truss": (_truss, 263.895843),
    "twin/ball": (_ball, 6 * 0.4**2),
    "twin/network": (_network, 0.3937496),
}
