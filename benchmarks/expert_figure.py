"""The figure of the expert-level benchmark: share of tasks at the expert's level against cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from benchmarks.live_figure import COLOURS
from benchmarks.live_figure import STYLES


_BUDGET = 50


def save_expert_figure(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw one step curve per method.

    Args:
        path: Where the SVG file goes.
        rows: One row per task and method, see ``benchmarks.expert_summary``.
    """
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "experts", "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        panel = figure.subplots()
        for method in dict.fromkeys(row["method"] for row in rows):
            costs = np.sort([row["cost"] for row in rows if row["method"] == method])
            shares = np.arange(1, len(costs) + 1) / len(costs)
            reached = np.isfinite(costs)
            sampler, pruner = method.split("+")
            panel.step(
                np.concatenate([[0.05], costs[reached], [_BUDGET]]),
                np.concatenate([[0.0], shares[reached], [shares[reached].max(initial=0.0)]]),
                where="post",
                color=COLOURS.get(sampler, "black"),
                ls=STYLES.get(pruner, "-."),
                label=f"{method} ({len(costs)} tasks)",
            )
        panel.set_xlabel("cost (full evaluations)")
        panel.set_ylabel("share of tasks at the expert's level")
        panel.set_xscale("log")
        panel.set_xlim(0.8, _BUDGET)
        panel.set_ylim(0, 1)
        panel.grid(color="#dddddd", linewidth=0.5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(loc="upper left", frameon=False)
        figure.savefig(path, metadata={"Date": None})
