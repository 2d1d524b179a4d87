"""The figure of the live benchmark: best error rate against cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from benchmarks.live_summary import RANKING_METHOD
from benchmarks.live_summary import Studies
from benchmarks.live_summary import mean_curve


# One colour per sampler (Okabe and Ito), one line style per pruner.
COLOURS = {"tpe": "#0072b2", "gp": "#009e73", "rocket": "#d55e00", "random": "#8c8c8c"}
STYLES = {"none": "-", "rocket": "--", "hyperband": ":"}


def save_live_figure(path: Path, studies: Studies) -> None:
    """Draw one panel per task: validation error of the methods that ran on all of its seeds.

    Args:
        path: Where the SVG file goes.
        studies: Studies by task and method.
    """
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "live", "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.1 * len(studies), 3.3), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(studies)))
        for panel, (task, methods) in zip(panels, studies.items(), strict=True):
            n_seeds = max(len(own) for own in methods.values())
            for method, own in methods.items():
                if method == RANKING_METHOD or len(own) < n_seeds:
                    continue
                sampler, pruner = method.split("+")
                clock, best = mean_curve(own, "examples")
                colour, line = COLOURS.get(sampler, "black"), STYLES.get(pruner, "-.")
                panel.step(clock, 1 - best, where="post", color=colour, ls=line, label=method)
            panel.set_title(f"{task} ({n_seeds} seeds)")
            panel.set_xlabel("cost (full evaluations)")
            panel.set_xscale("log")
            panel.set_yscale("log")
            panel.set_xlim(left=1)
            panel.grid(color="#dddddd", linewidth=0.5)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel("best validation error, mean")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False)
        figure.savefig(path, metadata={"Date": None})
