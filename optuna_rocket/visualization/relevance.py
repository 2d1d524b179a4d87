"""Which parameters move scores, as the memory has learned it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from optuna.study import Study
import torch

from optuna_rocket import hindsight
from optuna_rocket.quiet import quietly
from optuna_rocket.view import View
from optuna_rocket.visualization import drawing


if TYPE_CHECKING:
    from plotly import graph_objects as go


_TITLE = "Learned Parameter Relevance"


@dataclass(frozen=True)
class RelevanceInfo:
    """Learned relevance.

    Attributes:
        shares: For each of ``m`` objectives, parameter to its share, adding up to 1, greatest
            first; empty before the first fit and while all scores are equal.
        target_names: What the objectives are called, ready to be drawn.
        n_trials: Number of trials with a score behind it.
    """

    shares: tuple[Mapping[str, float], ...]
    target_names: tuple[str, ...]
    n_trials: int


def plot_relevance(study: Study) -> go.Figure:
    """Plot how much each parameter moves the agent's expectation.

    A parameter's share is its part of the squared distance, in the memory's kernel, of two random
    configurations: how fast the expectation forgets along it. It says where the agent looks, not
    how much could be gained, and is no substitute for ``optuna.importance``. Every objective has a
    memory, and bars, of its own.

    Args:
        study: A study.

    Raises:
        ImportError: If plotly is not installed.
    """
    drawing.graph_objects()
    return figure(hindsight.look(study))


def figure(view: View) -> go.Figure:
    """``plot_relevance`` of a view."""
    return _draw(relevance_info(view))


@quietly()
def relevance_info(view: View) -> RelevanceInfo:
    """The numbers behind ``plot_relevance``."""
    shares = [view.relevance(k) for k in range(view.n_objectives)]
    return RelevanceInfo(
        shares=tuple(MappingProxyType(share) for share in shares),
        target_names=tuple(drawing.target_names(view.study)),
        n_trials=int(torch.isfinite(view.scores).all(0).sum()),
    )


def _draw(info: RelevanceInfo) -> go.Figure:
    if not any(info.shares):
        reason = "Nothing is learned before three trials have ended and two values differ."
        return drawing.empty(_TITLE, reason)
    go = drawing.graph_objects()
    learned = [share for share in info.shares if share]
    highest = {name: max(share[name] for share in learned) for name in learned[0]}
    names = sorted(highest, key=lambda name: highest[name])
    rows, several = list(range(len(names))), len(info.shares) > 1
    figure = go.Figure(
        layout=drawing.layout(_TITLE, xaxis_title=f"Share ({info.n_trials} scored trials)")
    )
    # Bars are stacked from below: the first objective comes last, to stand above.
    for k in reversed(range(len(info.shares))):
        shares = [info.shares[k][name] for name in names] if info.shares[k] else []
        bar = go.Bar(
            x=drawing.rounded(shares) or [None],
            y=rows,
            orientation="h",
            name=info.target_names[k] + ("" if shares else " (all values are equal)"),
            marker={"color": drawing.OBJECTIVES[k % len(drawing.OBJECTIVES)]},
            text=[f"{share:.2f}" if share >= 0.01 else "&lt;0.01" for share in shares],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        )
        figure.add_trace(bar)
    top = 1.15 * max(highest.values())  # room for the text beside the longest bar
    figure.update_xaxes(range=[0, top])
    figure.update_yaxes(tickvals=rows, ticktext=drawing.all_plain(names), automargin=True)
    figure.update_layout(showlegend=several, legend={"traceorder": "reversed"})
    return figure
