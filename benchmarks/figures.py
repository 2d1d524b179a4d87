"""The figure of the open suite: mean regret against trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from benchmarks.aggregate import Array
from benchmarks.aggregate import Results
from benchmarks.aggregate import bootstrap_interval
from benchmarks.aggregate import family_weights
from benchmarks.aggregate import weighted_mean


# Okabe and Ito's palette keeps apart for colour-blind readers; vermilion is the candidate's.
_CANDIDATE_COLOUR = "#d55e00"
_COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_RANDOM_COLOUR = "#8c8c8c"


def save_regret_figure(path: Path, results: Results, candidate: str) -> None:
    """Draw one panel for all families, equally weighted, and one per family.

    Args:
        path: Where the SVG file goes.
        results: The replications.
        candidate: The method that is drawn on top.
    """
    scopes = sorted(set(results.families.values()))
    panels = [("all families", scopes), *((family, [family]) for family in scopes)]
    colours = _colours(results.methods, candidate)
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "open suite", "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(3.1 * len(panels), 3.3), layout="constrained")
        axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
        for panel, (title, families) in zip(axes, panels, strict=True):
            for method, colour in colours.items():
                _draw_method(panel, results, method, families, colour, method == candidate)
            _finish_panel(panel, title)
        axes[0].set_ylabel("mean normalised regret")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})


def _colours(methods: Sequence[str], candidate: str) -> dict[str, str]:
    colours = {"random": _RANDOM_COLOUR, candidate: _CANDIDATE_COLOUR}
    others = [method for method in methods if method not in colours]
    colours |= {method: _COLOURS[i % len(_COLOURS)] for i, method in enumerate(others)}
    in_front = [*(m for m in methods if m != candidate), candidate]
    return {method: colours[method] for method in in_front if method in methods}


def _draw_method(
    panel: Axes,
    results: Results,
    method: str,
    families: Sequence[str],
    colour: str,
    is_candidate: bool,
) -> None:
    mean, low, high = mean_and_band(results, method, families)
    trials = np.arange(1, len(mean) + 1)
    panel.fill_between(trials, low, high, color=colour, alpha=0.15, linewidth=0)
    panel.plot(trials, mean, color=colour, linewidth=2.2 if is_candidate else 1.3, label=method)


def mean_and_band(
    results: Results, method: str, families: Sequence[str]
) -> tuple[Array, Array, Array]:
    """Return the mean curve and its 95 % interval over problems of some families."""
    problems = [p for p in results.regret[method] if results.families[p] in families]
    if not problems:
        return (np.empty(0),) * 3
    curves = results.curves(method, problems)
    weights = family_weights(curves, results.families)
    return (weighted_mean(curves, weights), *bootstrap_interval(curves, weights))


def _finish_panel(panel: Axes, title: str) -> None:
    panel.set_title(title)
    panel.set_xlabel("trials")
    panel.set_xlim(left=1)
    panel.set_yscale("log")
    ticks = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    panel.grid(color="#dddddd", linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)
