"""Train the small networks of the development suite and tabulate their validation results.

``python -m benchmarks.small_networks --help``. Tables that the file holds already are not trained
again, so that an interrupted command continues.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.development_tables import PATH
from benchmarks.development_tables import Table
from benchmarks.development_tables import read_tables
from benchmarks.development_tables import write_tables
from benchmarks.small_network_specs import SPECS
from benchmarks.small_network_specs import Spec
from benchmarks.small_network_training import train


_N_REPEATS = 2
_GROUP_SIZE = 192
_SHUFFLE_SEED = 7
_SEEDS_PER_REPEAT = 1000


def tabulate(spec: Spec, label: str = "") -> Table:
    """Train all networks of a table, twice.

    Networks are trained in groups of random configurations. A group shares split and mini-batches;
    every group and repeat has its own, so that this is noise between configurations.

    Args:
        spec: The table.
        label: What the progress bar says.
    """
    columns = spec.configurations()
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(next(iter(columns.values()))))
    groups = [order[i : i + _GROUP_SIZE] for i in range(0, len(order), _GROUP_SIZE)]
    results: NDArray[np.float64] = np.empty((len(order), len(spec.checkpoints), _N_REPEATS))
    cells = [(repeat, group) for repeat in range(_N_REPEATS) for group in range(len(groups))]
    for repeat, group in tqdm(cells, desc=label, disable=not label):
        rows = groups[group]
        part = {name: values[rows] for name, values in columns.items()}
        seed = _SEEDS_PER_REPEAT * repeat + group
        results[rows, :, repeat] = train(part, spec.data, spec.metric, spec.checkpoints, seed)
    values = results.reshape(*spec.shape, _N_REPEATS).astype(np.float32)
    return Table(spec.parameters, spec.categorical, values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the tables that the file does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_networks")
    parser.add_argument("--only", nargs="+", choices=sorted(SPECS), default=sorted(SPECS))
    parser.add_argument(
        "--replace", action="store_true", help="train tables again even if they are there"
    )
    parser.add_argument("--out", type=Path, default=PATH)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tables = read_tables(options.out)
    for name in options.only:
        if options.replace or name not in tables:
            tables[name] = tabulate(SPECS[name], name)
            write_tables(options.out, tables)
    print(f"{len(tables)} tables in {options.out}")


if __name__ == "__main__":
    main()
