"""The figure of the calibration: what intervals hold against what they promise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure


# One colour per sampler (Okabe and Ito); by the reports alone the line is broken.
COLOURS = {"tpe": "#0072b2", "rocket": "#d55e00"}


def save_calibration_figure(path: Path, curves: Mapping[str, Mapping[float, float]]) -> None:
    """Draw the share of truths that intervals held against their nominal share.

    Args:
        path: Where the SVG file goes.
        curves: Label, ``METHOD, reports`` or ``METHOD, judged``, to nominal to observed share.
    """
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "calibration", "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.2, 4.2), layout="constrained")
        panel = figure.subplots()
        panel.plot([0, 1], [0, 1], color="#8c8c8c", lw=0.8)
        panel.plot([0.8, 0.8], [0.7, 0.9], color="#8c8c8c", lw=3, alpha=0.6, label="wanted at .8")
        for label, shares in curves.items():
            colour = COLOURS.get(label.split("+")[0], "black")
            line = "-" if label.endswith("judged") else "--"
            panel.plot(
                list(shares), list(shares.values()), "o", ls=line, color=colour, label=label
            )
        panel.set_xlabel("share that the interval promises to hold")
        panel.set_ylabel("share of final scores that it held")
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1)
        panel.grid(color="#dddddd", linewidth=0.5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, loc="upper left")
        figure.savefig(path, metadata={"Date": None})
