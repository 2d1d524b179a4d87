"""What each choice in the agent does on tables of small networks: the development suite.

``python -m benchmarks.development --help``. All variants play the same tables with the same noise;
``benchmarks.small_networks`` makes the tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any
from typing import cast

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.development_tables import PATH
from benchmarks.development_tables import TableTasks
from benchmarks.development_tables import read_tables
from benchmarks.report import markdown_rows
from benchmarks.variants import REPEATS
from benchmarks.variants import Variant
from benchmarks.variants import checkpoints
from benchmarks.variants import compared
from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import fitting
from optuna_rocket.agent import improvement
from optuna_rocket.agent import kernels
from optuna_rocket.agent import policy
from optuna_rocket.agent import weights_file
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.training.league import kind_player
from optuna_rocket.training.league import rule_player
from optuna_rocket.training.rollout import greedy_player
from optuna_rocket.training.tasks import Tasks
from optuna_rocket.training.tasks import random_units


_TRIALS = (5, 10, 25, 50)
_N_RANDOM_FIRST = 5
_N_FIFTHS = 5
_N_SAMPLES = 4000
_MAX_REGRET = 1.5
_SEED_STEP = 2  # a stream has two seeds


def variants(network: RecurrentScorer, others: Sequence[str]) -> dict[str, Variant]:
    """The shipped agent, the rule, and the rule with one choice changed at a time.

    Args:
        network: The shipped agent's.
        others: Paths of further checkpoints, played as they are.
    """
    rule = new_network()

    def changed(module: Any, name: str, value: float) -> Variant:
        return Variant(rule, rule_player, patches=((module, name, value),))

    random_first = {"n_first": _N_RANDOM_FIRST}
    at_once = ((improvement, "RULE_FROM", _N_RANDOM_FIRST),)
    table = {
        "agent": Variant(network, greedy_player),
        "agent, no recurrent state": Variant(network, greedy_player, {"forget": True}),
        "agent, repeats allowed": Variant(network, greedy_player, patches=REPEATS),
        "rule (nothing learned)": Variant(rule, rule_player),
        f"rule, first {_N_RANDOM_FIRST} random": Variant(rule, rule_player, random_first, at_once),
        "rule, start without centre": changed(improvement, "_START_CENTRE", 0.0),
        "rule, from 3 trials": changed(improvement, "RULE_FROM", 3),
        "rule, from 8 trials": changed(improvement, "RULE_FROM", 8),
        "rule, small start": changed(policy, "START_CANDIDATES", 0),
        "rule, smooth kernel": changed(kernels, "_ROUGH_SHARE", 0.0),
        "rule, rough kernel": changed(kernels, "_ROUGH_SHARE", 1.0),
        "rule, 128 candidates": Variant(rule, rule_player, {"n_candidates": 128}),
        "rule, 512 candidates": Variant(rule, rule_player, {"n_candidates": 512}),
        "rule, spread 1": changed(improvement, "SPREAD", 1.0),
        "rule, spread 2": changed(improvement, "SPREAD", 2.0),
        "rule, noise prior .005": changed(fitting, "_NOISE_MEDIAN", 0.005),
        "rule, noise prior .02": changed(fitting, "_NOISE_MEDIAN", 0.02),
        "rule, repeats allowed": Variant(rule, rule_player, patches=REPEATS),
        "random": Variant(rule, kind_player("random")),
    }
    return table | checkpoints(others)


def measure(variant: Variant, tables: TableTasks, n_streams: int, n_trials: int) -> Tensor:
    """Regret ``(n_streams * len(tables), n_trials)``."""
    tasks = cast(Tasks, tables)  # it has all that playing needs
    return torch.cat(
        [variant.regret(tasks, _SEED_STEP * stream, n_trials) for stream in range(n_streams)]
    )


def off_centre(tables: TableTasks) -> list[dict[str, Any]]:
    """Mean regret of random configurations, by their distance from the centre of the space.

    Args:
        tables: One study on each table.

    Returns:
        One row per table whose numeric parameters allow different distances, with the means of
        five equal shares of the configurations, from the centre to the corners.
    """
    geometry = tables.geometry
    units = random_units(geometry, _N_SAMPLES, torch.Generator().manual_seed(0))
    regret = (-tables.evaluate(units)).clamp_max(_MAX_REGRET)
    numeric = (geometry.present & ~geometry.is_categorical)[:, None]
    distance = torch.where(numeric, (units - 0.5).square(), 0.0).sum(-1)
    rows: list[dict[str, Any]] = []
    for name, values, far in zip(tables.names, regret, distance, strict=True):
        if float(far.max() - far.min()) > 1e-9:
            fifths = values[far.argsort(stable=True)].chunk(_N_FIFTHS)
            means = {f"fifth_{k + 1}": round(float(x.mean()), 3) for k, x in enumerate(fifths)}
            rows.append({"table": name, **means})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all variants and write the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.development")
    parser.add_argument("--copies", type=int, default=12, help="studies per table and stream")
    parser.add_argument("--streams", type=int, default=2, help="number of random streams")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--checkpoint", default=str(weights_file.SHIPPED))
    parser.add_argument("--others", nargs="*", default=[], help="further checkpoints")
    parser.add_argument("--tables", type=Path, default=PATH)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/development.json"))
    options = parser.parse_args(arguments)
    if options.trials < _TRIALS[-1]:
        parser.error(f"--trials={options.trials} is less than {_TRIALS[-1]}")
    tables = read_tables(options.tables)
    if not tables:
        parser.error(f"no tables in {options.tables}; benchmarks.small_networks makes them")
    torch.set_num_threads(1)
    ways = variants(checkpoint.load(options.checkpoint), options.others)
    tasks = TableTasks(tables, options.copies)
    regrets = {
        name: measure(variant, tasks, options.streams, options.trials)
        for name, variant in tqdm(ways.items())
    }
    rows = [
        {"variant": name, "studies": len(regret), **compared(regret, regrets["agent"], _TRIALS)}
        for name, regret in regrets.items()
    ]
    distances = off_centre(TableTasks(tables))
    results = {"variants": rows, "off_centre": distances}
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(markdown_rows(rows), markdown_rows(distances), sep="\n\n")


if __name__ == "__main__":
    main()
