"""What the agent expects if one parameter of a trial were different."""

from __future__ import annotations

from collections.abc import Sequence
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

from optuna_rocket import axes
from optuna_rocket import bands
from optuna_rocket import hindsight
from optuna_rocket import trials
from optuna_rocket.history import Outcome
from optuna_rocket.quiet import quietly
from optuna_rocket.records import Record
from optuna_rocket.view import View
from optuna_rocket.visualization import drawing
from optuna_rocket.visualization import slice_drawing
from optuna_rocket.visualization.slice_drawing import SliceExpectation
from optuna_rocket.visualization.slice_drawing import SliceExpectationInfo


if TYPE_CHECKING:
    from plotly import graph_objects as go


_N_GRID = (61, 31)  # of one objective, and of several, whose figures are many
_N_SHOWN = (3, 2)  # parameters, of up to three objectives and of more
_LONGEST_LABEL, _LONGEST_CHOICE = 12, 40


def plot_slice_expectation(
    study: Study,
    params: Sequence[str] | None = None,
    n_recent_trials: int | None = None,
    *,
    objective: int | str | None = None,
    trial_number: int | None = None,
) -> go.Figure:
    """Plot the value that the agent expects if one parameter of the best trial were different.

    The line is the expectation, the band holds the value with probability 0.8 (of the function,
    without the noise of an evaluation; ``benchmarks.coverage`` measures it). It is open, and ends
    where the axis does, where all values beyond count as equally bad. Points are complete
    trials, the darker the nearer the best one; they need not lie on the line, because their other
    parameters differ.

    With several objectives there is a row for each. The best trial is then the best compromise on
    the front: the one whose worst objective is best, on scales from the front's worst to best.

    Args:
        study: A study.
        params: Names of the parameters; None takes the three of greatest learned relevance (for
            any objective shown; two with more than three objectives) that the trial has.
        n_recent_trials: Number of trials to show, the latest ones; None shows all. The expectation
            is always that of all trials.
        objective: Index, or name in ``study.metric_names``, of the one objective to show; None
            shows all.
        trial_number: A complete trial to vary instead of the best one.

    Raises:
        ImportError: If plotly is not installed.
        ValueError: If an argument makes no sense, or the trial has no such parameter.
    """
    drawing.graph_objects()
    which = {"objective": objective, "trial_number": trial_number}
    return figure(hindsight.look(study), params, n_recent_trials, **which)


def figure(
    view: View,
    params: Sequence[str] | None = None,
    n_recent_trials: int | None = None,
    **which: Any,
) -> go.Figure:
    """``plot_slice_expectation`` of a view."""
    return slice_drawing.draw(slice_expectation_info(view, params, n_recent_trials, **which))


@quietly()
def slice_expectation_info(
    view: View,
    params: Sequence[str] | None = None,
    n_recent_trials: int | None = None,
    *,
    objective: int | str | None = None,
    trial_number: int | None = None,
) -> SliceExpectationInfo:
    """The numbers behind ``plot_slice_expectation``."""
    shown = _objectives(view, objective)
    recent, names = drawing.recent(n_recent_trials), tuple(drawing.target_names(view.study))
    central = _central(view, trial_number, shown)
    if central is None:
        return SliceExpectationInfo(None, trial_number is None, True, names, ())
    number, own = view.records[central].number, view.records[central].params
    active = view.history.active[0, central].tolist()  # also what has gone and is held since
    asked = [x for x, on in zip(view.space.names, active, strict=True) if on and x in own]
    if params is None:
        shares = [view.relevance(k) for k in shown]
        greatest = {x: max(share.get(x, 0.0) for share in shares) for x in asked}
        params = sorted(asked, key=lambda name: -greatest[name])[: _N_SHOWN[len(shown) > 3]]
    for param in params:
        if param not in asked:
            raise ValueError(
                f"params={list(params)!r}: trial {number}, which is varied, has no parameter "
                f"{param!r} with more than one value. Name some of {asked}."
            )
    slices = [tuple(_slice(view, central, x, k, recent) for x in params) for k in shown]
    is_feasible = bool(view.counted[central])
    return SliceExpectationInfo(number, trial_number is None, is_feasible, names, tuple(slices))


def _objectives(view: View, objective: int | str | None) -> list[int]:
    """Indices of the objectives to show."""
    indices, names = list(range(view.n_objectives)), view.study.metric_names or []
    if objective is None:
        return indices
    if isinstance(objective, str) and objective in names:
        return [names.index(objective)]
    if objective in indices and not isinstance(objective, bool):
        return [int(objective)]
    raise ValueError(
        f"objective={objective!r} is not in the study. Use an index, one of {indices}"
        + (f", or a name, one of {names}." if names else ".")
    )


def _central(view: View, number: int | None, shown: Sequence[int]) -> int | None:
    """Row of the trial to vary, None as long as no two values of what is shown differ."""
    complete = (view.history.outcomes[0] == Outcome.COMPLETE) & torch.isfinite(view.scores).all(0)
    if number is not None:
        rows = [i for i in complete.nonzero()[:, 0].tolist() if view.records[i].number == number]
        if not rows or isinstance(number, bool):
            raise ValueError(
                f"trial_number={number!r} is not a complete trial of the study. Use the `number` "
                "of one that is, or None for the best."
            )
    if all(len(view.scores[k][complete].unique()) < 2 for k in shown):
        return None
    if number is not None:
        return int(rows[0])
    if view.n_objectives > 1:
        return view.incumbent
    merit = view.scores[0] if view.goals is None else view.goals.standing
    return int(merit.masked_fill(~complete, -torch.inf).argmax())


def _slice(view: View, central: int, param: str, k: int, recent: slice) -> SliceExpectation:
    column = view.space.names.index(param)
    distribution = view.space.distributions[param]
    x = _grid(distribution, _N_GRID[view.n_objectives > 1])
    units = view.history.units[:, [central]].repeat(1, len(x), 1)
    at = [view.space.encode(column, value) for value in x]
    units[0, :, column] = torch.tensor(at, dtype=torch.float64)
    active = view.geometry.activity(units)
    reading, feasibility = view.read(view.geometry.fill_inactive(units, active), active)
    mean, half = reading.mean[k], reading.std[k] * bands.function(view.history.n_trials)[0, 1]
    band = view.intervals(torch.stack([mean - half, mean + half], -1), k)
    shown = [i for i, record in enumerate(view.records) if _is_shown(record, param)]
    shown = shown[recent]
    distance = view.distances(central)
    return SliceExpectation(
        param=param,
        objective=k,
        labels=_choices(distribution, _LONGEST_LABEL),
        choices=_choices(distribution, _LONGEST_CHOICE),
        is_log=axes.is_log(distribution),
        x=tuple(x),
        expected=tuple(view.values(mean, k)),
        low=tuple(low for low, _ in band),
        high=tuple(high for _, high in band),
        worst=view.told_apart(k)[trials.score_signs(view.study)[k] < 0],
        failure=tuple(reading.failure[0].tolist()),
        feasibility=tuple(feasibility.tolist()),
        trial_x=tuple(view.records[i].params[param] for i in shown),
        trial_values=tuple(view.records[i].trial.values[k] for i in shown),
        trial_numbers=tuple(view.records[i].number for i in shown),
        trial_distance=tuple(distance[i] for i in shown),
        central_x=view.records[central].params[param],
        central_value=view.records[central].trial.values[k],
    )


def _is_shown(record: Record, param: str) -> bool:
    is_complete = record.outcome == Outcome.COMPLETE and all(map(math.isfinite, record.scores))
    return is_complete and param in record.params


def _grid(distribution: BaseDistribution, n: int) -> list[float]:
    """Values over a parameter's range, in Optuna's internal representation."""
    if isinstance(distribution, CategoricalDistribution):
        return axes.grid_values(distribution)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    spaced = np.geomspace if distribution.log else np.linspace
    grid = spaced(low, high, n)
    if step is not None:
        cells = np.unique(((grid - low) / step).round())
        grid = low + step * cells
    return [float(value) for value in np.clip(grid, low, high)]


def _choices(distribution: BaseDistribution, longest: int) -> tuple[str, ...] | None:
    if not isinstance(distribution, CategoricalDistribution):
        return None
    return tuple(drawing.all_plain(distribution.choices, longest))
