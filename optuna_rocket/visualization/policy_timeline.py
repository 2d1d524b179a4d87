"""From exploration to exploitation: what the agent did trial by trial."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study
import torch

from optuna_rocket import fronts
from optuna_rocket import hindsight
from optuna_rocket import suggestions
from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.quiet import quietly
from optuna_rocket.view import View
from optuna_rocket.visualization import drawing


if TYPE_CHECKING:
    from plotly import graph_objects as go


_TITLE = "Policy Timeline"
OTHER = "unknown"
# From what explores to what exploits; trials whose kind is not known come last.
_COLORS = {
    "random": drawing.BLUE,
    "density": drawing.GREEN,
    "crossover": "#8ab83f",
    "mutation": drawing.ORANGE,
    "local": drawing.RED,
    OTHER: drawing.GRAY,
}
_SYMBOLS = {"COMPLETE": "circle", "PRUNED": "diamond", "FAIL": "x", "RUNNING": "circle-open"}
_N_COMPONENTS = 2
_BEST_TITLES = ("Distance<br>from Best", "Expected<br>Spread", "Recurrent<br>State")
_FRONT_TITLES = ("Distance<br>from Front", "Expected<br>Spread (1st)", "Hyper-<br>volume")
_KEY = "large: {best}, diamond: pruned, cross: failed, ring: running"


@dataclass(frozen=True)
class PolicyTimelineInfo:
    """One entry for each of ``n`` trials, by number.

    Attributes:
        numbers: Trial numbers.
        kinds: Kind of the proposal, one of ``features.PROPOSAL_KINDS``, or ``OTHER``.
        trial_states: Names of their ``TrialState``.
        spread: Expected standard deviation of the first objective, in transformed scores, when
            suggested; NaN if unknown, or if another configuration ran.
        distance: Distance from the best trial before, of several objectives the nearest one on
            the front, from 0 (the same) to 1, more where one of the two lies beyond today's
            ranges; NaN without one. Of one objective, while no trial is feasible, from the one
            that violates least.
        is_best: Whether the trial was the best one so far, or entered the front.
        target_names: What the objectives are called, ready to be drawn.
        hypervolume: Hypervolume of the front after the trial, as a share of that after the last
            one (``fronts`` says from which reference point); empty for one objective.
        state_numbers: ``k`` numbers of the finished trials; empty for several objectives, where
            the recurrent state takes no part.
        components: ``(k, 2)`` recurrent state after each of them, on its principal components.
        explained: Share of the recurrent state's variance on each component.
    """

    numbers: tuple[int, ...]
    kinds: tuple[str, ...]
    trial_states: tuple[str, ...]
    spread: tuple[float, ...]
    distance: tuple[float, ...]
    is_best: tuple[bool, ...]
    target_names: tuple[str, ...]
    hypervolume: tuple[float, ...]
    state_numbers: tuple[int, ...]
    components: NDArray[np.float64]
    explained: tuple[float, ...]

    @property
    def has_several(self) -> bool:
        """Whether there are several objectives."""
        return len(self.target_names) > 1

    @property
    def best_words(self) -> str:
        """What is said of a trial with ``is_best``."""
        return "entered the front" if self.has_several else "best so far"


def plot_policy_timeline(study: Study, n_recent_trials: int | None = None) -> go.Figure:
    """Plot how the agent moved from exploration to exploitation.

    Above: how far each trial is from the best one before it, coloured by the kind of proposal
    that won. Middle: how unsure the memory was of it, as stored with the trial. Below: the
    recurrent state, read again over all finished trials and projected onto its two principal
    components; where it settles, the agent sees no new phase of the search.

    With several objectives the distance is that from the nearest trial on the front before, the
    spread is that of the first objective, and below is how the front's hypervolume has grown to
    what it is after the last trial. It is measured from a tenth of the front's range behind its
    worst values; for a reference point of your own there is
    ``optuna.visualization.plot_hypervolume_history``.

    Args:
        study: A study.
        n_recent_trials: Number of trials to show, the latest ones; None shows all.

    Raises:
        ImportError: If plotly is not installed.
        ValueError: If an argument makes no sense.
    """
    drawing.graph_objects()
    return figure(hindsight.look(study), n_recent_trials)


def figure(view: View, n_recent_trials: int | None = None) -> go.Figure:
    """``plot_policy_timeline`` of a view."""
    return _draw(policy_timeline_info(view, n_recent_trials))


@quietly()
def policy_timeline_info(view: View, n_recent_trials: int | None = None) -> PolicyTimelineInfo:
    """The numbers behind ``plot_policy_timeline``."""
    recent = drawing.recent(n_recent_trials)
    records = view.records[recent]
    said = [suggestions.of_trial(record.trial) for record in records]
    known = {index: kind for index, kind in enumerate(PROPOSAL_KINDS)}
    is_single = view.n_objectives == 1
    numbers, states = view.recurrent_states() if is_single else ([], torch.zeros(0, 1))
    components, explained = principal_components(states.double().numpy(), _N_COMPONENTS)
    growth = [] if is_single else fronts.growth(view.scores, view.counted)
    distance, is_best = _against_the_best(view)
    return PolicyTimelineInfo(
        numbers=tuple(record.number for record in records),
        kinds=tuple(known.get(suggestion.kind, OTHER) for suggestion in said),
        trial_states=tuple(record.trial.state.name for record in records),
        spread=tuple(suggestion.std for suggestion in said),
        distance=tuple(distance[recent]),
        is_best=tuple(is_best[recent]),
        target_names=tuple(drawing.target_names(view.study)),
        hypervolume=tuple(growth[recent]),
        state_numbers=tuple(numbers[recent]),
        components=components[recent],
        explained=explained,
    )


def _against_the_best(view: View) -> tuple[list[float], list[bool]]:
    """Distance of every trial from the best before it, and whether it became one of these."""
    scores, counted = view.scores, view.counted
    distance, is_best = [], []
    before, *later = fronts.fronts(scores, counted)
    for i, after in enumerate(later):
        reference = before or _least_violating(view, i)
        distance.append(view.nearest(view.history.units[:, [i]], reference)[1])
        # Another trial of the same score is no better, though no other dominates it.
        is_equal = before and bool((scores[:, before] == scores[:, [i]]).all(0).any())
        is_best.append(i in after[-1:] and not is_equal)
        before = after
    return distance, is_best


def _least_violating(view: View, n: int) -> list[int]:
    """What takes the place of the best trial while none of the first ``n`` is feasible."""
    row = view.least_violating(n) if view.n_objectives == 1 else None
    return [] if row is None else [row]


def principal_components(
    rows: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """Rows ``(k, h)`` on their first principal components ``(k, count)``, and their shares.

    Signs are such that the last row is not below the first one.
    """
    projected, shares = np.zeros((len(rows), count)), np.zeros(count)
    if len(rows) > 1:
        left, scale, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        kept = min(count, len(scale))
        projected[:, :kept] = left[:, :kept] * scale[:kept]
        projected *= np.where(projected[-1] < projected[0], -1.0, 1.0)
        shares[:kept] = scale[:kept] ** 2 / max(float((scale**2).sum()), 1e-300)
    return projected, tuple(float(share) for share in shares)


def _draw(info: PolicyTimelineInfo) -> go.Figure:
    if not info.numbers:
        return drawing.empty(_TITLE, "No trial has started yet.")
    figure = drawing.subplots(
        rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.45, 0.25, 0.3]
    )
    for kind, color in _COLORS.items():
        rows = [i for i, other in enumerate(info.kinds) if other == kind]
        if rows:
            figure.add_trace(_legend(kind, color), 1, 1)
            for line, values in ((1, info.distance), (2, info.spread)):
                figure.add_trace(_markers(info, rows, values, kind, color), line, 1)
    for trace in _growth(info) if info.has_several else _states(info):
        figure.add_trace(trace, 3, 1)
    figure.update_layout(drawing.layout(_TITLE, _KEY.format(best=info.best_words)))
    titles = _FRONT_TITLES if info.has_several else _BEST_TITLES
    for line, text in enumerate(titles, start=1):
        figure.update_yaxes(title_text=text, row=line, col=1)
    for line, values in ((1, info.distance), (2, info.spread)):
        top = max((value for value in values if math.isfinite(value)), default=1.0) or 1.0
        figure.update_yaxes(range=[-0.08 * top, 1.1 * top], row=line, col=1)
    figure.update_xaxes(zeroline=False)
    figure.update_xaxes(title_text="Trial", row=3, col=1)
    return figure


def _states(info: PolicyTimelineInfo) -> list[go.Scatter]:
    """The recurrent state."""
    go = drawing.graph_objects()
    shares = [f"{100 * share:.0f} % of its variance" for share in info.explained]
    return [
        go.Scatter(
            x=list(info.state_numbers),
            y=drawing.rounded(info.components[:, c], 3),
            mode="lines",
            line={"color": (drawing.BLUE, drawing.GRAY)[c], "width": 1.5},
            showlegend=False,
            hovertemplate=f"component {c + 1}, {shares[c]}<extra></extra>",
        )
        for c in range(_N_COMPONENTS)
    ]


def _growth(info: PolicyTimelineInfo) -> list[go.Scatter]:
    """The hypervolume."""
    go = drawing.graph_objects()
    return [
        go.Scatter(
            x=list(info.numbers),
            y=drawing.rounded(info.hypervolume, 3),
            mode="lines",
            line={"color": drawing.BLUE, "width": 1.5, "shape": "hv"},
            showlegend=False,
            hovertemplate="after trial %{x}: %{y:.0%} of the last<extra></extra>",
        )
    ]


def _legend(kind: str, color: str) -> go.Scatter:
    """A plain entry in the legend: that of the markers would look like the first of them."""
    go = drawing.graph_objects()
    marker = {"color": color, "size": 8}
    return go.Scatter(
        x=[None], y=[None], mode="markers", name=kind, legendgroup=kind, marker=marker
    )


def _markers(
    info: PolicyTimelineInfo,
    rows: list[int],
    values: tuple[float, ...],
    kind: str,
    color: str,
) -> go.Scatter:
    go = drawing.graph_objects()
    best = [info.is_best[i] for i in rows]
    return go.Scatter(
        x=[info.numbers[i] for i in rows],
        y=drawing.rounded([values[i] for i in rows], 3),
        mode="markers",
        legendgroup=kind,
        showlegend=False,
        marker={
            "color": color,
            "symbol": [_SYMBOLS[info.trial_states[i]] for i in rows],
            "opacity": 1,
            "size": [11 if is_best else 7 for is_best in best],
            "line": {"color": "#333333", "width": [2 if is_best else 0.5 for is_best in best]},
        },
        customdata=[
            f"{info.trial_states[i].lower()}{', ' + info.best_words if info.is_best[i] else ''}"
            for i in rows
        ],
        hovertemplate="trial %{x}: %{y}<br>" + kind + ", %{customdata}<extra></extra>",
    )
