"""Drawing of slices: see ``slice_expectation``, which computes them."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import math
import sys
from typing import TYPE_CHECKING
from typing import Any

from optuna_rocket.visualization import drawing


if TYPE_CHECKING:
    from plotly import graph_objects as go


_TITLE = "Slice of the Agent's Expectation"


@dataclass(frozen=True)
class SliceExpectation:
    """What the agent expects of one objective along one parameter.

    The other parameters are as in the trial around which the slices are.

    Attributes:
        param: The parameter.
        objective: Index of the objective.
        labels: Of a categorical parameter, its choices as short text; ``x`` then holds their
            indices.
        choices: The same as longer text.
        is_log: Whether the parameter has a log scale.
        x: ``m`` values of the parameter, rising.
        expected: Expected objective value there, cut at ``worst``.
        low: Lower bound of what holds the value with probability 0.8, without noise. Infinite
            where values beyond count as equally bad, or as equally better than the best one.
        high: Upper bound, likewise.
        worst: The value beyond which all count as equally bad.
        failure: Chance to fail there.
        feasibility: Chance to satisfy all constraints there.
        trial_x: Values of the trials that have the parameter and a value.
        trial_values: Their objective values.
        trial_numbers: Their numbers.
        trial_distance: Their distance from the central trial over all parameters, 0 to 1, more
            where one of the two lies beyond today's ranges.
        central_x: The central trial's value of the parameter.
        central_value: Its objective value.
    """

    param: str
    objective: int
    labels: tuple[str, ...] | None
    choices: tuple[str, ...] | None
    is_log: bool
    x: tuple[float, ...]
    expected: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    worst: float
    failure: tuple[float, ...]
    feasibility: tuple[float, ...]
    trial_x: tuple[float, ...]
    trial_values: tuple[float, ...]
    trial_numbers: tuple[int, ...]
    trial_distance: tuple[float, ...]
    central_x: float
    central_value: float


@dataclass(frozen=True)
class SliceExpectationInfo:
    """Slices around one complete trial, the central one.

    Attributes:
        central_number: Its number, None as long as no two complete trials differ in value.
        is_best: Whether it was taken for the best one, and not named.
        is_feasible: Whether it violates no constraint.
        target_names: What the objectives' axes are called, ready to be drawn.
        slices: For each objective that is shown, one for each parameter.
    """

    central_number: int | None
    is_best: bool
    is_feasible: bool
    target_names: tuple[str, ...]
    slices: tuple[tuple[SliceExpectation, ...], ...]


def draw(info: SliceExpectationInfo) -> go.Figure:
    """The figure."""
    several = len(info.target_names) > 1
    if not info.slices:
        feasible = ", and a feasible one," if several else ""
        reason = f"Two complete trials of different value{feasible} are needed."
        return drawing.empty(_TITLE, reason)
    n_rows, n_columns = len(info.slices), len(info.slices[0])
    if not n_columns:
        reason = f"Trial {info.central_number} has no parameter with more than one value."
        return drawing.empty(_TITLE, reason)
    figure = drawing.subplots(
        rows=n_rows, cols=n_columns, shared_yaxes=True, vertical_spacing=0.06
    )
    central = f"trial {info.central_number}"
    for row, slices in enumerate(info.slices, start=1):
        limits = _range(slices)
        for column, one in enumerate(slices, start=1):
            for trace in _traces(_clipped(one, *limits), central, is_first=row == column == 1):
                figure.add_trace(trace, row, column)
            axis = {**_axis(one), "showticklabels": row == n_rows}
            figure.update_xaxes(**axis, row=row, col=column)
        title = info.target_names[slices[0].objective]
        figure.update_yaxes(title_text=title, range=list(limits), row=row, col=1)
    titles = drawing.all_plain(one.param for one in info.slices[-1])
    for column, title in enumerate(titles, start=1):
        figure.update_xaxes(title_text=title, row=n_rows, col=column)
    best = "the best compromise on the front" if several else "the best one"
    if not info.is_feasible:
        best = "the one that violates least"
    subtitle = f"the others as in {central}" + (f", {best}" if info.is_best else "")
    figure.update_layout(drawing.layout(_TITLE, subtitle))
    if n_rows > 2:
        height = 150 + 170 * n_rows
        figure.update_layout(height=height, title_y=1 - 24 / height)
    return figure


def _axis(one: SliceExpectation) -> dict[str, Any]:
    """Range and central trial with a little room, and few ticks: on log scales powers of ten."""
    axis: dict[str, Any] = {"tickangle": 0}
    if one.labels is not None:
        choices = {"tickvals": list(one.x), "ticktext": list(one.labels)}
        return {**axis, **choices, "range": [-0.5, len(one.x) - 0.5]}
    low, high = one.x[0], one.x[-1]
    if one.central_x > 0 or not one.is_log:  # it may lie beyond the range of today
        low, high = min(low, one.central_x), max(high, one.central_x)
    if one.is_log:
        low, high = math.log10(low), math.log10(high)
        dense = {"dtick": math.ceil((high - low) / 3)} if high - low >= 2 else {"nticks": 4}
        axis |= {"type": "log", "exponentformat": "power", **dense}
    room = 0.04 * (high - low)
    return {**axis, "range": [low - room, high + room]}


def _range(slices: tuple[SliceExpectation, ...]) -> tuple[float, float]:
    """All of the expectation and its band, and the trials that are not far beyond."""
    seen = [x for one in slices for x in one.trial_values]
    drawn = [x for one in slices for x in (*one.low, *one.expected, *one.high)]
    inside = [x for x in drawn if math.isfinite(x)] or seen
    low, high = min(inside), max(inside)
    room = high / 2 - low / 2  # of huge values the difference would be infinite
    low = max(min([low, *seen]), low - room)
    high = min(max([high, *seen]), high + room)
    edge = 0.08 * (high / 2 - low / 2)
    most = sys.float_info.max
    return max(low - edge, -most), min(high + edge, most)


def _clipped(one: SliceExpectation, lowest: float, highest: float) -> SliceExpectation:
    """The same with a band that ends where the axis does."""
    return replace(
        one,
        low=tuple(lowest if low == -math.inf else low for low in one.low),
        high=tuple(highest if high == math.inf else high for high in one.high),
    )


def _traces(one: SliceExpectation, name: str, *, is_first: bool) -> list[Any]:
    go = drawing.graph_objects()
    x, digits = drawing.rounded(one.x, 6), 5
    expected = {
        "x": x,
        "y": drawing.rounded(one.expected, digits),
        "name": "expected",
        "showlegend": is_first,
        **_hover(one),
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
    central = go.Scatter(
        x=[one.central_x],
        y=[one.central_value],
        mode="markers",
        name=name,
        showlegend=is_first,
        marker={"symbol": "star", "size": 13, "color": drawing.ORANGE, "line": {"width": 1}},
        hoverinfo="skip",
    )
    if one.labels is not None:
        expected["name"] = "expected, with 80 % without noise"  # there is no band with a name
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
        return [
            trials,
            go.Scatter(**expected, mode="markers", error_y=bars, marker=marker),
            central,
        ]
    band = go.Scatter(
        x=x + x[::-1],
        y=drawing.rounded(one.high, digits) + drawing.rounded(one.low[::-1], digits),
        mode="lines",
        fill="toself",
        fillcolor=drawing.BAND,
        line={"width": 0},
        name="80 %, without noise",
        showlegend=is_first,
        hoverinfo="skip",
    )
    line = go.Scatter(**expected, mode="lines", line={"color": drawing.BLUE, "width": 2})
    return [band, trials, line, central]


def _hover(one: SliceExpectation) -> dict[str, Any]:
    """What is said at every point of the line: more than the value where that is not all."""
    said = "expected %{y}"
    columns: list[list[Any]] = []
    if one.choices is not None:
        columns.append(list(one.choices))
        said = f"%{{customdata[0]}}: {said}"
    if one.worst in one.expected:
        columns.append([" or worse" if value == one.worst else "" for value in one.expected])
        said += f"%{{customdata[{len(columns) - 1}]}}"
    if max(one.failure) > 0 or min(one.feasibility) < 1:
        columns += [drawing.rounded(one.failure, 2), drawing.rounded(one.feasibility, 2)]
        fail, feasible = (f"%{{customdata[{len(columns) - back}]}}" for back in (2, 1))
        said += f"<br>chance to fail {fail}, to be feasible {feasible}"
    hover: dict[str, Any] = {"hovertemplate": f"{said}<extra></extra>"}
    if columns:
        hover["customdata"] = [list(row) for row in zip(*columns, strict=True)]
    return hover
