"""Forecasts of final values against what became of them, with their calibration."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import Study

from optuna_rocket import hindsight
from optuna_rocket.fidelity.correlation import rank_correlation
from optuna_rocket.forecasts import RungForecast
from optuna_rocket.forecasts import past_forecasts
from optuna_rocket.visualization import drawing


if TYPE_CHECKING:
    from plotly import graph_objects as go


_TITLE = "Forecast against Final Value"
_SHARES = tuple(i / 20 for i in range(1, 20))


@dataclass(frozen=True)
class ForecastInfo:
    """Forecasts of complete trials.

    Attributes:
        forecasts: By trial and report step.
        shares: Nominal probabilities of central intervals.
        held: Share of the forecasts whose interval of that probability held the final value.
        correlation: Of the expected and the final ranks, NaN below 3 forecasts.
        target_name: What the objective is called, ready to be drawn.
    """

    forecasts: tuple[RungForecast, ...]
    shares: tuple[float, ...]
    held: tuple[float, ...]
    correlation: float
    target_name: str


def plot_forecast(study: Study, n_recent_trials: int | None = 100) -> go.Figure:
    """Plot what the forecast would have said of complete trials at their rungs, and the truth.

    Left: expected final value with 80 % intervals against the final value; on the diagonal the
    forecast was right. Right: how often intervals of each nominal probability held the final
    value; below the diagonal the forecast was too sure. Each forecast comes from the trials alone
    that had ended before its trial started. Pruned trials have no final value: the figure is about
    those that were let go on.

    Args:
        study: A study of one objective whose trials report intermediate values. Reports about one
            instance each (``SubsetEvaluator(by="instance")``) tell no course: they are left out.
        n_recent_trials: Number of complete trials, the latest ones; None takes all.

    Raises:
        ImportError: If plotly is not installed.
        ValueError: If an argument makes no sense or the study has several objectives.
    """
    drawing.graph_objects()
    return _draw(forecast_info(study, n_recent_trials))


def forecast_info(study: Study, n_recent_trials: int | None = 100) -> ForecastInfo:
    """The numbers behind ``plot_forecast``."""
    hindsight.require_single_objective(study, "plot_forecast", drawing.NO_REPORTS)
    recent = drawing.recent(n_recent_trials)
    usable = [f for f in past_forecasts(study, recent) if math.isfinite(f.truth)]
    held = np.array([abs(2 * forecast.rank - 1) for forecast in usable])
    expected = np.array([forecast.expected for forecast in usable])
    correlation, _ = rank_correlation(expected, np.array([f.truth for f in usable]))
    return ForecastInfo(
        forecasts=tuple(usable),
        shares=_SHARES,
        held=tuple(float((held <= share).mean()) if len(held) else math.nan for share in _SHARES),
        correlation=correlation,
        target_name=drawing.target_names(study)[0],
    )


def _draw(info: ForecastInfo) -> go.Figure:
    if not info.forecasts:
        reason = "No forecast yet: it takes several complete trials with reports by epoch or size."
        return drawing.empty(_TITLE, reason)
    figure = drawing.subplots(rows=1, cols=2, column_widths=[0.6, 0.4], horizontal_spacing=0.12)
    for trace in _scatter(info):
        figure.add_trace(trace, 1, 1)
    for trace in _calibration(info):
        figure.add_trace(trace, 1, 2)
    figure.update_xaxes(title_text=f"Forecast of {info.target_name}", row=1, col=1)
    figure.update_yaxes(title_text=f"Final {info.target_name}", row=1, col=1)
    figure.update_xaxes(title_text="Nominal Probability", range=[0, 1], row=1, col=2)
    figure.update_yaxes(title_text="Share Held", range=[0, 1], row=1, col=2)
    n_trials = len({forecast.number for forecast in info.forecasts})
    subtitle = f"{n_trials} complete trials, rank correlation {info.correlation:.2f}"
    subtitle += "; the darker a point, the later the report"
    figure.update_layout(drawing.layout(_TITLE, subtitle, showlegend=False))
    return figure


def _scatter(info: ForecastInfo) -> list[go.Scatter]:
    go = drawing.graph_objects()
    forecasts = info.forecasts
    truths = [forecast.truth for forecast in forecasts]
    ends = [min(truths), max(truths)]
    exact = {"color": drawing.GRAY, "dash": "dash", "width": 1}
    errors = [(f.interval[1] - f.expected, f.expected - f.interval[0]) for f in forecasts]
    points = go.Scatter(
        x=drawing.rounded(f.expected for f in forecasts),
        y=drawing.rounded(truths),
        mode="markers",
        error_x={
            "array": drawing.rounded((up for up, _ in errors), 3),
            "arrayminus": drawing.rounded((down for _, down in errors), 3),
            "color": "rgba(120, 130, 150, 0.35)",
            "thickness": 1,
            "width": 0,
        },
        marker={
            "color": drawing.rounded((100 * f.effort for f in forecasts), 3),
            "colorscale": [[0, "#cfe0f5"], [1, "#123a7a"]],
            "cmin": 0,
            "cmax": 100,
            "size": 8,
            "line": {"color": "#333333", "width": 0.5},
        },
        customdata=[[f.number, f.step] for f in forecasts],
        hovertemplate="trial %{customdata[0]} at step %{customdata[1]}<br>forecast %{x}, "
        "final %{y}<extra></extra>",
    )
    diagonal = go.Scatter(x=ends, y=ends, mode="lines", line=exact, hoverinfo="skip")
    return [diagonal, points]


def _calibration(info: ForecastInfo) -> list[go.Scatter]:
    go = drawing.graph_objects()
    exact = {"color": drawing.GRAY, "dash": "dash", "width": 1}
    return [
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=exact, hoverinfo="skip"),
        go.Scatter(
            x=[0, *info.shares, 1],
            y=drawing.rounded([0, *info.held, 1]),
            mode="lines+markers",
            line={"color": drawing.BLUE},
            marker={"size": 5},
            hovertemplate="intervals of %{x:.0%} held %{y:.0%}<extra></extra>",
        ),
    ]
