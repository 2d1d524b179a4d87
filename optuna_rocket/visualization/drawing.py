"""What all figures share: plotly when it is needed, harmless text, colours, an empty figure."""

from __future__ import annotations

from collections.abc import Iterable
import html
import importlib
from typing import TYPE_CHECKING
from typing import Any

from optuna.study import Study

from optuna_rocket.hindsight import objective_names
from optuna_rocket.names import short_name
from optuna_rocket.names import short_names


if TYPE_CHECKING:
    from plotly import graph_objects as go


BLUE, ORANGE, GREEN, RED, GRAY = "#3366cc", "#ff9933", "#2ca58d", "#d1495b", "#a5acb8"
OBJECTIVES = (BLUE, ORANGE, GREEN, RED, "#7b5ea7")  # more objectives begin again
BAND, SAVED, LOST = "rgba(51,102,204,.18)", "rgba(44,165,141,.2)", "rgba(209,73,91,.2)"
# Why a plot of reports is for one objective.
NO_REPORTS = "trials of several objectives cannot report, and are never pruned"
_LEGEND_ABOVE = {"orientation": "h", "x": 0, "y": 1.0, "xanchor": "left", "yanchor": "bottom"}


def graph_objects() -> Any:
    """``plotly.graph_objects``, imported now.

    Raises:
        ImportError: If plotly is not installed.
    """
    try:
        return importlib.import_module("plotly.graph_objects")
    except ImportError as error:
        raise ImportError(
            f"The plots need plotly ({error}). Install it with: pip install 'optuna-rocket[viz]'"
        ) from error


def subplots(**arguments: Any) -> go.Figure:
    """``plotly.subplots.make_subplots``, imported now."""
    graph_objects()
    return importlib.import_module("plotly.subplots").make_subplots(**arguments)


def plain(name: object, longest: int = 40) -> str:
    """A name or value as one short line in which plotly finds no markup and no formula."""
    return html.escape(short_name(name, longest), quote=False).replace("$", "&#36;")


def all_plain(names: Iterable[object], longest: int = 40) -> list[str]:
    """``plain`` of names or values among each other: what differs still differs when it is cut."""
    return [plain(name, longest) for name in short_names(names, longest)]


def recent(n_recent_trials: int | None) -> slice:
    """The last so many of anything, all for None.

    Raises:
        ValueError: If it is less than 1.
    """
    if n_recent_trials is not None and n_recent_trials < 1:
        raise ValueError(
            f"n_recent_trials={n_recent_trials!r} is less than 1. Use None for all trials."
        )
    return slice(None if n_recent_trials is None else -n_recent_trials, None)


def target_names(study: Study) -> list[str]:
    """What the objectives' axes are called, ready to be drawn."""
    return [plain(name) for name in objective_names(study)]


def layout(title: str, subtitle: str = "", **options: Any) -> dict[str, Any]:
    """The layout of a figure with its legend in one line under the title."""
    margin = {"l": 70, "r": 20, "t": 95 if subtitle else 85, "b": 50}
    text = f"{title}<br><sup>{subtitle}</sup>" if subtitle else title
    above = {"text": text, "y": 0.95, "yanchor": "top"}
    return {"title": above, "legend": _LEGEND_ABOVE, "margin": margin, **options}


def empty(title: str, reason: str) -> go.Figure:
    """A figure that says why it shows nothing."""
    go = graph_objects()
    figure = go.Figure(layout=layout(title))
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(
        text=reason, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 15}
    )
    return figure


def rounded(values: Any, digits: int = 4) -> list[float | None]:
    """Numbers with few digits, so that a stored figure stays small; None where not finite."""
    return [
        float(f"{value:.{digits}g}") if value is not None and abs(value) < float("inf") else None
        for value in values
    ]
