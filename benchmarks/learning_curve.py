"""The learning curve of a training run: ``python -m benchmarks.learning_curve LOG``.

Reads the log that ``optuna_rocket.training.self_play`` writes, keeps a copy of it beside the other
raw results, and draws validation utility and regret against the number of rollouts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
import json
from pathlib import Path
import shutil
from typing import Any

from matplotlib.figure import Figure


def read_log(path: Path) -> list[dict[str, Any]]:
    """The evaluations in the log; an iteration that a resumed run repeated counts once."""
    records = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    evaluated = {record["iteration"]: record for record in records if "valid_utility" in record}
    return [evaluated[iteration] for iteration in sorted(evaluated)]


def draw(records: Sequence[dict[str, Any]]) -> Figure:
    """Validation utility (left) and regret after 25 and 50 trials (right)."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    iterations = [record["iteration"] + 1 for record in records]
    left.plot(iterations, [record["valid_utility"] for record in records], label="agent")
    left.plot(iterations, [record["rule_utility"] for record in records], "k--", label="rule")
    left.set_ylabel("mean utility over 50 trials")
    for n, colour in ((10, "C2"), (25, "C0"), (50, "C1")):
        mine = [record[f"regret_{n}"] for record in records]
        rule = [record[f"rule_regret_{n}"] for record in records]
        right.plot(iterations, mine, colour, label=f"agent @{n}")
        right.plot(iterations, rule, colour, linestyle="--", label=f"rule @{n}")
    right.set_ylabel("mean normalised regret")
    for axes in (left, right):
        for before, after in pairwise(records):
            if before["phase"] != after["phase"]:
                axes.axvline(before["iteration"] + 1, color="grey", linewidth=0.7)
        axes.set_xlabel("iteration (grey: next phase)")
        axes.legend(fontsize="small")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """Copy the log and draw the figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_curve")
    parser.add_argument("log", type=Path, help="log.jsonl of a training run")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args(arguments)
    shutil.copyfile(options.log, options.out / "training.jsonl")
    draw(read_log(options.log)).savefig(options.out / "training.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
