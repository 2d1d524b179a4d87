"""Which parameters move scores, as the memory has learned it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from optuna.study import Study

from optuna_rocket import hindsight
from optuna_rocket.suggest import quietly
from optuna_rocket.visualization import drawing


if TYPE_CHECKING:
    from plotly import graph_objects as go


_TITLE = "Learned Parameter Relevance"


@dataclass(frozen=True)
class RelevanceInfo:
    """Learned relevance.

    Attributes:
        shares: Parameter to its share, adding up to 1, greatest first; empty before the first fit.
        n_trials: Number of trials with a score behind it.
    """

    shares: Mapping[str, float]
    n_trials: int


def plot_relevance(study: Study) -> go.Figure:
    """Plot how much each parameter moves the agent's expectation.

    A parameter's share is its part of the squared distance, in the memory's kernel, of two random
    configurations: how fast the expectation forgets along it. It says where the agent looks, not
    how much could be gained, and is no substitute for ``optuna.importance``.

    Args:
        study: A study of one objective.

    Raises:
        ImportError: If plotly is not installed.
        ValueError: If the study has several objectives.
    """
    drawing.graph_objects()
    return _draw(relevance_info(study))


@quietly()
def relevance_info(study: Study) -> RelevanceInfo:
    """The numbers behind ``plot_relevance``."""
    hindsight.require_single_objective(study, "plot_relevance")
    view = hindsight.look(study)
    return RelevanceInfo(MappingProxyType(view.relevance()), int(view.history.scored.sum()))


def _draw(info: RelevanceInfo) -> go.Figure:
    if not info.shares:
        return drawing.empty(_TITLE, "Nothing is learned before three trials have ended.")
    go = drawing.graph_objects()
    shares = list(info.shares.values())[::-1]
    rows = list(range(len(shares)))
    figure = go.Figure(
        go.Bar(
            x=drawing.rounded(shares),
            y=rows,
            orientation="h",
            marker={"color": drawing.BLUE},
            text=[f"{share:.2f}" if share >= 0.01 else "&lt;0.01" for share in shares],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        ),
        layout=drawing.layout(_TITLE, xaxis_title=f"Share ({info.n_trials} scored trials)"),
    )
    names = [drawing.plain(name) for name in info.shares][::-1]
    figure.update_yaxes(tickvals=rows, ticktext=names, automargin=True)
    return figure
