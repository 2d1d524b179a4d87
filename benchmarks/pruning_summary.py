"""From replications of the pruning benchmark to one row per method."""

from __future__ import annotations

from collections.abc import Sequence
import csv
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.aggregate import REGRET_CLIP
from benchmarks.aggregate import Array
from benchmarks.aggregate import bootstrap_interval
from benchmarks.aggregate import plain_weights
from benchmarks.aggregate import weighted_mean
from benchmarks.records import PruningReplication


BUDGETS = (5, 10, 20, 40, 80)
BASELINE, TARGET_BUDGET = "tpe+none", 40
# Clock readings at which curves are compared: 0.5, 1, ...
_TICKS_PER_UNIT = 2


def curve(replication: PruningReplication) -> Array:
    """Clipped regret ``(ticks,)`` of the best complete trial, at every tick of the clock."""
    ticks = np.arange(1, replication.n_trials * _TICKS_PER_UNIT + 1) / _TICKS_PER_UNIT
    last = np.searchsorted(replication.spent, ticks + 1e-9, side="right")
    regret = [REGRET_CLIP] + [REGRET_CLIP if x is None else x for x in replication.regret]
    return np.asarray(np.minimum(np.array(regret)[last], REGRET_CLIP))


def pruning_rows(replications: Sequence[PruningReplication]) -> list[dict[str, Any]]:
    """One row per method, over the problems and seeds that all methods ran.

    Returns:
        Regret at each budget with its interval, the share of the baseline's cost after which the
        mean regret of a problem is what the baseline has after ``TARGET_BUDGET`` full evaluations
        (median and worst over problems; infinity where it never is), and what was stopped.
    """
    by_method: dict[str, dict[tuple[str, int], PruningReplication]] = {}
    for replication in replications:
        cell = (replication.problem, replication.seed)
        by_method.setdefault(replication.method, {})[cell] = replication
    shared = set.intersection(*(set(cells) for cells in by_method.values()))
    tables = {
        method: {
            problem: np.stack(
                [curve(cells[p, seed]) for p, seed in sorted(shared) if p == problem]
            )
            for problem in sorted({p for p, _ in shared})
        }
        for method, cells in by_method.items()
    }
    return [
        _row(method, tables, [cells[cell] for cell in sorted(shared)])
        for method, cells in by_method.items()
    ]


def _row(
    method: str, tables: dict[str, dict[str, Array]], replications: list[PruningReplication]
) -> dict[str, Any]:
    curves = tables[method]
    weights = plain_weights(curves)
    at = [budget * _TICKS_PER_UNIT - 1 for budget in BUDGETS]
    mean = weighted_mean(curves, weights)
    low, high = bootstrap_interval(curves, weights)
    row: dict[str, Any] = {"method": method, "replications": len(replications)}
    for budget, tick in zip(BUDGETS, at, strict=True):
        if tick < len(mean):
            row[f"regret@{budget}"] = round(float(mean[tick]), 4)
            row[f"low@{budget}"] = round(float(low[tick]), 4)
            row[f"high@{budget}"] = round(float(high[tick]), 4)
    costs = _relative_costs(curves, tables.get(BASELINE, {}))
    n_pruned = sum(x.n_pruned for x in replications)
    n_run = sum(x.n_run for x in replications)
    return row | {
        "cost_median": round(float(np.median(costs)), 3) if costs else math.nan,
        "cost_worst": round(max(costs), 3) if costs else math.nan,
        "trials": round(n_run / len(replications), 1),
        "pruned": round(n_pruned / n_run, 4),
        "pruned_top": round(sum(x.n_pruned_top for x in replications) / max(n_pruned, 1), 4),
        "pruned_own_top": round(
            sum(x.n_pruned_own_top for x in replications) / max(n_pruned, 1), 4
        ),
        "own_top_pruned": round(
            sum(x.n_pruned_own_top for x in replications) / sum(x.n_own_top for x in replications),
            4,
        ),
        "ms_per_trial": round(float(np.mean([x.ms_per_trial for x in replications])), 2),
    }


def _relative_costs(curves: dict[str, Array], baseline: dict[str, Array]) -> list[float]:
    """Per problem: clock at which the mean regret reaches the target, relative to the target's."""
    costs = []
    for problem, rival in baseline.items():
        target = rival.mean(0)[TARGET_BUDGET * _TICKS_PER_UNIT - 1]
        first = rival.mean(0) <= target + 1e-9
        reached = curves[problem].mean(0) <= target + 1e-9
        # The baseline itself may have been there before the target's budget.
        spent = (np.argmax(reached) + 1) if reached.any() else math.inf
        costs.append(float(spent / (np.argmax(first) + 1)))
    return costs


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def pruning_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table; ``benchmarks/README.md`` explains the columns."""
    names = ["method"] + [f"@{budget}" for budget in BUDGETS]
    names += ["cost (median, worst)", "trials", "pruned", "wrong stops", "missed"]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        regret = [f"{row[f'regret@{b}']:.3f}" if f"regret@{b}" in row else "" for b in BUDGETS]
        cells = [
            row["method"],
            *regret,
            f"{row['cost_median']:.2f}, {row['cost_worst']:.2f}",
            f"{row['trials']:.0f}",
            f"{row['pruned']:.2f}",
            f"{row['pruned_own_top']:.3f}",
            f"{row['own_top_pruned']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
