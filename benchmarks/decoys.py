"""Studies that can get stuck, and those that cannot: ``python -m benchmarks.decoys``.

The four live tasks as fitted functions (`benchmarks.fitted`), as they are and with a *decoy*: but
for the best 4 % of the space all configurations have a score of nothing, except that low learning
rates, which leave a network as it was, are a little better. What `RocketSampler` does when stuck
was chosen on these functions: they are no proof. `rocket_patient` never looks elsewhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import optuna
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks import small_tables
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.deep_learning.training import Params
from benchmarks.fitted import FittedTask
from benchmarks.fitted import luck
from benchmarks.methods import make_sampler
from optuna_rocket.agent import stagnation


PATH = Path("benchmarks/results/decoys.csv")
METHODS = ("random", "tpe", "rocket_patient", "rocket")
COUNTS = (10, 20, 30, 40, 60)
N_TRIALS = max(COUNTS)
# The noise of the logit: half of what the trees leave unexplained among the better half.
NOISE = {
    "images/mnist": 0.19,
    "audio/noisy_digits": 0.13,
    "texts/ag_news": 0.04,
    "audio/spoken_digits": 0.25,
}
_GOOD_SHARE = 0.04
_N_RANDOM = 400
_HILL, _HILL_AT, _HILL_WIDTH = 0.06, -3.5, 0.6  # height; decadic logarithm of the rate
_DECOY_NOISE = 0.004
_STUCK = 0.02


@dataclass(frozen=True)
class Scale:
    """Logits of random configurations: the median, the edge of the good ones, the best one."""

    median: float
    edge: float
    best: float


@cache
def fitted(task: str) -> tuple[FittedTask, Scale]:
    """A task's function and its scale."""
    function = FittedTask(task.replace("/", "."))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=8))
    logits = [function.logit(TASKS[task].suggest(study.ask())) for _ in range(_N_RANDOM)]
    return function, Scale(*(float(np.quantile(logits, q)) for q in (0.5, 1 - _GOOD_SHARE, 1.0)))


def plain(task: str, params: Params, seed: int) -> tuple[float, float]:
    """Observed and true score: 0 for the median, 1 for the best of some random configurations."""
    function, scale = fitted(task)
    width, logit = scale.best - scale.median, function.logit(params)
    noise = NOISE[task] / width * luck(params, seed)
    score = (logit - scale.median) / width
    return score + noise, score


def decoy(task: str, params: Params, seed: int) -> tuple[float, float]:
    """Observed and true score: 0 but for the good ones, which reach 1, and the decoy's hill."""
    function, scale = fitted(task)
    score = max(0.0, (function.logit(params) - scale.edge) / (scale.best - scale.edge))
    off = (math.log10(float(params["lr"])) - _HILL_AT) / _HILL_WIDTH
    hill = 0.0 if score > 0 else _HILL * math.exp(-(off**2))
    return score + hill + _DECOY_NOISE * abs(luck(params, seed)), score


LANDSCAPES = {"plain": plain, "decoy": decoy}


def curve(landscape: str, task: str, method: str, seed: int) -> NDArray[np.float64]:
    """True score of the best observed trial, after every trial."""
    seen: list[tuple[float, float]] = []

    def objective(trial: optuna.Trial) -> float:
        seen.append(LANDSCAPES[landscape](task, TASKS[task].suggest(trial), seed))
        return seen[-1][0]

    with patience(method):
        sampler = make_sampler(method.removesuffix("_patient"), seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.optimize(objective, n_trials=N_TRIALS)
    observed, true = np.array(seen).T
    return np.array([true[observed[:n].argmax()] for n in range(1, N_TRIALS + 1)])


@contextmanager
def patience(method: str) -> Iterator[None]:
    """Without end for a ``..._patient`` method."""
    before = stagnation.PATIENCE
    if method.endswith("_patient"):
        stagnation.PATIENCE = N_TRIALS
    try:
        yield
    finally:
        stagnation.PATIENCE = before


def rows_of(methods: Sequence[str], n_seeds: int) -> list[dict[str, Any]]:
    """Mean scores of each landscape, and the share of its studies that found nothing good."""
    rows = []
    cells = [(landscape, method) for landscape in LANDSCAPES for method in methods]
    for landscape, method in tqdm(cells, unit="cell"):
        curves = np.array(
            [curve(landscape, task, method, seed) for task in NOISE for seed in range(n_seeds)]
        )
        row: dict[str, Any] = {"landscape": landscape, "method": method, "studies": len(curves)}
        row |= {f"@{n}": round(float(curves[:, n - 1].mean()), 3) for n in COUNTS}
        row |= {
            f"stuck@{n}": round(float((curves[:, n - 1] < _STUCK).mean()), 3) for n in (30, 60)
        }
        rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: the table is written anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decoys", description=__doc__)
    small_tables.run(argv, parser, METHODS, n_seeds=10, path=PATH, rows_of=rows_of)


if __name__ == "__main__":
    main()
