"""Smooth functions of one to four numbers: ``python -m benchmarks.few_numbers``.

The start of studies in small spaces was chosen on these functions: they are no proof. Notation:
``x`` are ``d`` numbers in [0, 1]; the least value of every function is about 0, and values are
divided by the median over the box.
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
from benchmarks.methods import make_sampler


Array = NDArray[np.float64]

PATH = Path("benchmarks/results/few_numbers.csv")
METHODS = ("random", "tpe", "gp", "rocket")
COUNTS = (5, 10, 20, 30)
_HARTMANN_WIDTHS = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
_HARTMANN_CENTRES = 1e-4 * np.array(
    [[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]]
)


def branin(x: Array) -> float:
    """Branin (1972), over its usual box."""
    a, b = 15 * x[0] - 5, 15 * x[1]
    valley = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return float(valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10 - 0.397887)


def hartmann(x: Array) -> float:
    """Hartmann (1973) of three numbers."""
    exponents = (_HARTMANN_WIDTHS * (x - _HARTMANN_CENTRES) ** 2).sum(-1)
    return 3.86278 - float(np.array([1, 1.2, 3, 3.2]) @ np.exp(-exponents))


def rosenbrock(x: Array) -> float:
    """Rosenbrock (1960), over [-2, 2]."""
    y = 4 * x - 2
    return float((100 * (y[1:] - y[:-1] ** 2) ** 2 + (1 - y[:-1]) ** 2).sum())


def ackley(x: Array, best: float) -> float:
    """Ackley (1987), eight units wide, with its minimum at ``best``."""
    y = 8 * (x - best)
    ripples = math.exp(float(np.cos(2 * math.pi * y).mean()))
    return 20 - 20 * math.exp(-0.2 * math.sqrt(float((y**2).mean()))) + math.e - ripples


def bowl(x: Array, best: float) -> float:
    """A bowl, steeper along later numbers."""
    steps = np.arange(len(x))
    return float(((steps + 1) * (x - best - 0.1 * steps) ** 2).sum())


def wave(x: Array) -> float:
    """Waves of one number."""
    slow, fast = math.sin(3 * math.pi * x[0] + 0.5), 0.5 * math.sin(11 * x[0])
    return slow + fast + 1.5 + float((x[0] - 0.7) ** 2)


FUNCTIONS: dict[str, tuple[int, Callable[[Array], float]]] = {
    "wave": (1, wave),
    "bowl1": (1, lambda x: bowl(x, 0.8)),
    "branin": (2, branin),
    "ackley2": (2, lambda x: ackley(x, 0.7)),
    "bowl2": (2, lambda x: bowl(x, 0.2)),
    "rosenbrock2": (2, rosenbrock),
    "hartmann": (3, hartmann),
    "bowl3": (3, lambda x: bowl(x, 0.75)),
    "rosenbrock3": (3, rosenbrock),
    "ackley4": (4, lambda x: ackley(x, 0.35)),
    "bowl4": (4, lambda x: bowl(x, 0.6)),
    "rosenbrock4": (4, rosenbrock),
}


def curve(name: str, method: str, seed: int) -> Array:
    """Best value after each trial, over the median of the function."""
    d, function = FUNCTIONS[name]
    box = np.random.default_rng(0).random((2000, d))
    unit = float(np.median([function(x) for x in box]))
    study = optuna.create_study(sampler=make_sampler(method, seed))
    study.optimize(
        lambda trial: function(np.array([trial.suggest_float(f"x{i}", 0, 1) for i in range(d)])),
        n_trials=max(COUNTS),
    )
    return np.minimum.accumulate([trial.values[0] for trial in study.trials]) / unit


def rows_of(methods: Sequence[str], n_seeds: int) -> list[dict[str, Any]]:
    """Mean best values by the number of parameters, functions of equal weight."""
    names = [(name, method) for method in methods for name in FUNCTIONS]
    means = {
        (name, method): np.mean([curve(name, method, seed) for seed in range(n_seeds)], axis=0)
        for name, method in tqdm(names, unit="function")
    }
    rows = []
    for method in methods:
        for d in (1, 2, 3, 4, None):
            own = [means[name, method] for name in FUNCTIONS if d in (None, FUNCTIONS[name][0])]
            mean = np.mean(own, axis=0)
            row: dict[str, Any] = {"method": method, "numbers": d or "all", "seeds": n_seeds}
            rows.append(row | {f"@{n}": round(float(mean[n - 1]), 4) for n in COUNTS})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: the table is written anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_numbers", description=__doc__)
    small_tables.run(argv, parser, METHODS, n_seeds=6, path=PATH, rows_of=rows_of)


if __name__ == "__main__":
    main()
