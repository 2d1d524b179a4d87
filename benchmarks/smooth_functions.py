"""Smooth functions of three, six and ten numbers: ``python -m benchmarks.smooth_functions``.

Landscapes without the noise and the steps of training, as people try samplers on them. Notation:
``y`` ``(d,)`` are numbers less those of the minimum, which is elsewhere for every seed; every
least value is 0, and values are divided by the median over the box.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import optuna
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks import small_tables
from benchmarks.few_numbers import ackley
from benchmarks.methods import make_sampler


Array = NDArray[np.float64]

PATH = Path("benchmarks/results/smooth_functions.csv")
METHODS = ("random", "tpe", "gp", "rocket")
COUNTS = (15, 25, 50, 100)
NUMBERS = (3, 6, 10)
_FLOOR = 1e-6


def bowl(y: Array) -> float:
    """A bowl, thirty times steeper along the last number than along the first."""
    return float((30 ** np.linspace(0, 1, len(y)) * y**2).sum())


def root(y: Array) -> float:
    """Cone: the root of a bowl."""
    return math.sqrt(float((10 ** np.linspace(0, 1, len(y)) * y**2).sum()))


def rotated(y: Array) -> float:
    """A bowl that is steep along directions that no parameter has."""
    axes = np.linalg.qr(np.random.default_rng(len(y)).standard_normal((len(y), len(y))))[0]
    return bowl(axes @ y)


def valley(y: Array) -> float:
    """The valley of Rosenbrock (1960), with its minimum at 0."""
    x = 2 * y + 1
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def waves(y: Array) -> float:
    """A bowl with shallow waves, as Rastrigin's (1974)."""
    return float((9 * y**2 + 0.3 * (1 - np.cos(4 * math.pi * y))).sum())


def few_matter(y: Array) -> float:
    """A bowl of the first two numbers; the others do nothing."""
    return float((y[:2] ** 2).sum())


FUNCTIONS: dict[str, Callable[[Array], float]] = {
    "bowl": bowl,
    "root": root,
    "rotated": rotated,
    "valley": valley,
    "waves": waves,
    "ackley": lambda y: ackley(y, 0.0),
    "few_matter": few_matter,
}


def curve(name: str, d: int, method: str, seed: int) -> Array:
    """Best value after each trial ``(n,)``, over the median of the function."""
    generator = np.random.default_rng([seed, d, len(name)])
    best = generator.uniform(0.15, 0.85, d)
    box = generator.random((2000, d))
    unit = float(np.median([FUNCTIONS[name](x - best) for x in box]))

    def objective(trial: optuna.Trial) -> float:
        x = np.array([trial.suggest_float(f"x{i}", 0, 1) for i in range(d)])
        return FUNCTIONS[name](x - best)

    study = optuna.create_study(sampler=make_sampler(method, seed))
    study.optimize(objective, n_trials=max(COUNTS))
    return np.minimum.accumulate([trial.values[0] for trial in study.trials]) / unit


def rows_of(methods: Sequence[str], n_seeds: int) -> list[dict[str, Any]]:
    """Geometric means of the best values by function, by number of parameters, and of all."""
    cells = [(method, name, d) for method in methods for name in FUNCTIONS for d in NUMBERS]
    logs = {
        (method, name, d): np.mean(
            [np.log(curve(name, d, method, seed).clip(_FLOOR)) for seed in range(n_seeds)], axis=0
        )
        for method, name, d in tqdm(cells, unit="function")
    }
    rows = []
    for method in methods:
        for label in (*FUNCTIONS, *NUMBERS, "all"):
            of_label = [cell for cell in cells if cell[0] == method and label in (*cell, "all")]
            means = np.exp(np.mean([logs[cell] for cell in of_label], axis=0))
            row: dict[str, Any] = {"method": method, "functions": label, "seeds": n_seeds}
            rows.append(row | {f"@{n}": float(f"{means[n - 1]:.3g}") for n in COUNTS})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: the table is written anew."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.smooth_functions", description=__doc__
    )
    small_tables.run(argv, parser, METHODS, n_seeds=5, path=PATH, rows_of=rows_of)


if __name__ == "__main__":
    main()
