"""The command line of benchmarks that are small enough to write their whole table anew."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import torch

from benchmarks.pruning_summary import write_table
from benchmarks.report import markdown_rows


def run(
    argv: Sequence[str] | None,
    parser: argparse.ArgumentParser,
    methods: Sequence[str],
    n_seeds: int,
    path: Path,
    rows_of: Callable[[Sequence[str], int], list[dict[str, Any]]],
) -> None:
    """Measure, write the table and print it.

    Args:
        argv: Arguments of the command, those of the process for None.
        parser: Knows the command's name and what it is for.
        methods: The default methods.
        n_seeds: The default number of replications.
        path: The default file.
        rows_of: Makes the rows from methods and a number of replications.
    """
    parser.add_argument("--methods", nargs="+", default=list(methods))
    parser.add_argument("--seeds", type=int, default=n_seeds, help="number of replications")
    parser.add_argument("--out", type=Path, default=path)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = rows_of(args.methods, args.seeds)
    write_table(args.out, rows)
    print(markdown_rows(rows))
