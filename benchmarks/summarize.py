"""Summarise raw results as tables and a figure: `python -m benchmarks.summarize --help`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.aggregate import arrange
from benchmarks.comparison import summary_rows
from benchmarks.figures import save_regret_figure
from benchmarks.records import read_replications
from benchmarks.report import markdown
from benchmarks.report import write_csv


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    results = Path("benchmarks/results")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.summarize", description=__doc__)
    parser.add_argument("raw", type=Path, nargs="*", default=[results / "open_suite.jsonl"])
    parser.add_argument("--methods", nargs="+", help="only these methods, in this order")
    parser.add_argument("--candidate", default="rocket", help="compared with each other method")
    parser.add_argument("--table", type=Path, default=results / "table.csv")
    parser.add_argument("--figure", type=Path, default=results / "regret.svg")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = _parse(argv)
    replications = [record for path in args.raw for record in read_replications(path)]
    if args.methods:
        replications = [r for m in args.methods for r in replications if r.method == m]
    if not replications:
        raise SystemExit("No replications found. Run `python -m benchmarks.run` first.")
    results = arrange(replications)
    rows = summary_rows(results, args.candidate if args.candidate in results.regret else None)
    write_csv(args.table, rows)
    save_regret_figure(args.figure, results, args.candidate)
    print(markdown(rows))


if __name__ == "__main__":
    main()
