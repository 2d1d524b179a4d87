"""What the agent expects if one parameter of the best trial were different."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.study import Study
import torch

from optuna_rocket import hindsight
from optuna_rocket import trials
from optuna_rocket.hindsight import View
from optuna_rocket.history import Outcome
from optuna_rocket.suggest import quietly
from optuna_rocket.visualization import drawing


if TYPE_CHECKING:
    from plotly import graph_objects as go


_TITLE = "Slice of the Agent's Expectation"
_N_GRID = 61
_N_SHOWN = 3
_LONGEST_CHOICE = 12


@dataclass(frozen=True)
class SliceExpectation:
    """What the agent expects along one parameter, the others as in the best trial.

    Attributes:
        param: The parameter.
        labels: Of a categorical parameter, its choices as text; ``x`` then holds their indices.
        is_log: Whether the parameter has a log scale.
        x: ``m`` values of the parameter, rising.
        expected: Expected objective value there.
        low: Lower bound of what holds the value with probability 0.8, without noise.
        high: Upper bound.
        failure: Chance to fail there.
        trial_x: Values of the trials that have the parameter and a value.
        trial_values: Their objective values.
        trial_numbers: Their numbers.
        trial_distance: Their distance from the best trial over all parameters, 0 to 1.
        best_x: The best trial's value of the parameter.
    """

    param: str
    labels: tuple[str, ...] | None
    is_log: bool
    x: tuple[float, ...]
    expected: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    failure: tuple[float, ...]
    trial_x: tuple[float, ...]
    trial_values: tuple[float, ...]
    trial_numbers: tuple[int, ...]
    trial_distance: tuple[float, ...]
    best_x: float


@dataclass(frozen=True)
class SliceExpectationInfo:
    """Slices through the best complete trial.

    Attributes:
        best_number: Its number, None as long as no two complete trials differ in value.
        best_value: Its objective value, NaN without one.
        target_name: What the objective's axis is called, ready to be drawn.
        slices: One for each parameter.
    """

    best_number: int | None
    best_value: float
    target_name: str
    slices: tuple[SliceExpectation, ...]


def plot_slice_expectation(
    study: Study, params: Sequence[str] | None = None, n_recent_trials: int | None = None
) -> go.Figure:
    """Plot the value that the agent expects if one parameter of the best trial were different.

    The line is the expectation, the band holds the value with probability 0.8 (of the function,
    without the noise of an evaluation). Points are complete trials, the darker the nearer the best
    one; they need not lie on the line, because their other parameters differ.

    Args:
        study: A study of one objective.
        params: Names of the parameters; None takes the three of greatest learned relevance that
            the best trial has.
        n_recent_trials: Number of trials to show, the latest ones; None shows all. The expectation
            is always that of all trials.

    Raises:
        ImportError: If plotly is not installed.
        ValueError: If the study has several objectives, or the best trial no such parameter.
    """
    drawing.graph_objects()
    return _draw(slice_expectation_info(study, params, n_recent_trials))


@quietly()
def slice_expectation_info(
    study: Study, params: Sequence[str] | None = None, n_recent_trials: int | None = None
) -> SliceExpectationInfo:
    """The numbers behind ``plot_slice_expectation``."""
    hindsight.require_single_objective(study, "plot_slice_expectation")
    view = hindsight.look(study)
    recent, name = drawing.recent(n_recent_trials), drawing.target_name(study)
    best = _best_complete(view)
    if best is None:
        return SliceExpectationInfo(None, math.nan, name, ())
    held = [view.space.names[j] for j in view.history.active[0, best].nonzero()[:, 0].tolist()]
    if params is None:
        params = [param for param in view.relevance() or held if param in held][:_N_SHOWN]
    for param in params:
        if param not in held:
            raise ValueError(
                f"params={list(params)!r}: the best trial, {view.records[best].number}, has no "
                f"parameter {param!r} with more than one value. It has {held}."
            )
    slices = tuple(_slice(view, best, param, recent) for param in params)
    trial = view.records[best].trial
    return SliceExpectationInfo(trial.number, trial.values[0], name, slices)


def _best_complete(view: View) -> int | None:
    """Row of the best complete trial, None as long as there are no two different values."""
    scores = view.history.scores[0]
    complete = view.history.scored[0] & (view.history.outcomes[0] == Outcome.COMPLETE)
    if len(scores[complete].unique()) < 2:
        return None
    return int(scores.masked_fill(~complete, -torch.inf).argmax())


def _slice(view: View, best: int, param: str, recent: slice) -> SliceExpectation:
    column = view.space.names.index(param)
    distribution = view.space.distributions[param]
    x = _grid(distribution)
    units = view.history.units[:, [best]].repeat(1, len(x), 1)
    at = [view.space.encode(column, value) for value in x]
    units[0, :, column] = torch.tensor(at, dtype=torch.float64)
    active = view.geometry.activity(units)
    reading = view.read(view.geometry.fill_inactive(units, active), active)
    mean, half = reading.mean[0], reading.std[0] * hindsight.HALF_WIDTH
    bounds = zip(view.values(mean - half), view.values(mean + half), strict=True)
    low, high = zip(*(sorted(pair) for pair in bounds), strict=True)
    shown = [i for i, record in enumerate(view.records) if _is_shown(record, param)]
    shown = shown[recent]
    distance = view.distances(best)
    is_log = isinstance(distribution, (FloatDistribution, IntDistribution)) and distribution.log
    return SliceExpectation(
        param=param,
        labels=_labels(distribution),
        is_log=is_log,
        x=tuple(x),
        expected=tuple(view.values(mean)),
        low=low,
        high=high,
        failure=tuple(reading.failure[0].tolist()),
        trial_x=tuple(view.records[i].params[param] for i in shown),
        trial_values=tuple(view.records[i].trial.values[0] for i in shown),
        trial_numbers=tuple(view.records[i].number for i in shown),
        trial_distance=tuple(distance[i] for i in shown),
        best_x=view.records[best].params[param],
    )


def _is_shown(record: trials.Record, param: str) -> bool:
    is_complete = record.outcome == Outcome.COMPLETE and math.isfinite(record.score)
    return is_complete and param in record.params


def _grid(distribution: BaseDistribution) -> list[float]:
    """Values over a parameter's range, in Optuna's internal representation."""
    if isinstance(distribution, CategoricalDistribution):
        return [float(index) for index in range(len(distribution.choices))]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    spaced = np.geomspace if distribution.log else np.linspace
    grid = spaced(low, high, _N_GRID)
    if step is not None:
        cells = np.unique(((grid - low) / step).round())
        grid = low + step * cells
    return [float(value) for value in np.clip(grid, low, high)]


def _labels(distribution: BaseDistribution) -> tuple[str, ...] | None:
    if not isinstance(distribution, CategoricalDistribution):
        return None
    return tuple(drawing.plain(choice, _LONGEST_CHOICE) for choice in distribution.choices)


def _draw(info: SliceExpectationInfo) -> go.Figure:
    if not info.slices:
        return drawing.empty(_TITLE, "Two complete trials of different value are needed.")
    figure = drawing.subplots(rows=1, cols=len(info.slices), shared_yaxes=True)
    for c, one in enumerate(info.slices, start=1):
        for trace in _traces(one, info.best_value, is_first=c == 1):
            figure.add_trace(trace, 1, c)
        figure.update_xaxes(title_text=drawing.plain(one.param), tickangle=0, row=1, col=c)
        if one.labels is not None:
            choices = {"tickvals": list(one.x), "ticktext": list(one.labels)}
            figure.update_xaxes(**choices, range=[-0.5, len(one.x) - 0.5], row=1, col=c)
        elif one.is_log:
            figure.update_xaxes(**_log_axis(one), row=1, col=c)
    figure.update_yaxes(title_text=info.target_name, range=_range(info), row=1, col=1)
    figure.update_layout(drawing.layout(f"{_TITLE} around Trial {info.best_number}"))
    return figure


def _log_axis(one: SliceExpectation) -> dict[str, Any]:
    """Powers of ten as ticks, at most four of them where the range has so many."""
    decades = math.log10(one.x[-1] / one.x[0])
    dense = {"dtick": math.ceil(decades / 3)} if decades >= 2 else {"nticks": 4}
    return {"type": "log", "exponentformat": "power", **dense}


def _range(info: SliceExpectationInfo) -> list[float]:
    """All of the expectation and its band, and the trials that are not far beyond."""
    inside = [x for one in info.slices for x in (*one.low, *one.high)]
    low, high = min(inside), max(inside)
    seen = [x for one in info.slices for x in one.trial_values]
    room = 0.5 * (high - low)
    low = max(min([low, *seen]), low - room)
    high = min(max([high, *seen]), high + room)
    edge = 0.04 * (high - low)
    return [low - edge, high + edge]


def _traces(one: SliceExpectation, best_value: float, *, is_first: bool) -> list[Any]:
    go = drawing.graph_objects()
    x, digits = drawing.rounded(one.x, 6), 5
    expected = {
        "x": x,
        "y": drawing.rounded(one.expected, digits),
        "name": "expected",
        "showlegend": is_first,
        "customdata": drawing.rounded(one.failure, 2),
        "hovertemplate": "expected %{y}, chance to fail %{customdata}<extra></extra>",
    }
    trials = go.Scatter(
        x=drawing.rounded(one.trial_x, 6),
        y=drawing.rounded(one.trial_values, digits),
        mode="markers",
        name="trials",
        showlegend=is_first,
        marker={
            "color": drawing.rounded(one.trial_distance, 3),
            "colorscale": [[0, "#1f2d50"], [0.15, "#8d99b8"], [1, "#dde2ec"]],
            "cmin": 0,
            "cmax": 1,
            "size": 6,
            "line": {"color": "#555555", "width": 0.5},
        },
        customdata=list(one.trial_numbers),
        hovertemplate="trial %{customdata}: %{y}<extra></extra>",
    )
    best = go.Scatter(
        x=[one.best_x],
        y=[best_value],
        mode="markers",
        name="best trial",
        showlegend=is_first,
        marker={"symbol": "star", "size": 13, "color": drawing.ORANGE, "line": {"width": 1}},
        hoverinfo="skip",
    )
    if one.labels is not None:
        ends = list(zip(one.low, one.expected, one.high, strict=True))
        bars = {
            "array": drawing.rounded([high - mean for _, mean, high in ends], digits),
            "arrayminus": drawing.rounded([mean - low for low, mean, _ in ends], digits),
            "color": "rgba(51, 102, 204, 0.6)",
            "thickness": 6,
            "width": 0,
        }
        marker = {
            "color": drawing.BLUE,
            "size": 11,
            "symbol": "line-ew-open",
            "line": {"width": 3},
        }
        return [trials, go.Scatter(**expected, mode="markers", error_y=bars, marker=marker), best]
    band = go.Scatter(
        x=x + x[::-1],
        y=drawing.rounded(one.high, digits) + drawing.rounded(one.low[::-1], digits),
        mode="lines",
        fill="toself",
        fillcolor=drawing.BAND,
        line={"width": 0},
        name="80 % of outcomes",
        showlegend=is_first,
        hoverinfo="skip",
    )
    line = go.Scatter(**expected, mode="lines", line={"color": drawing.BLUE, "width": 2})
    return [band, trials, line, best]
