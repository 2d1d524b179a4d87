"""How much earlier studies and guesses count for the next trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from optuna.study import Study

from optuna_rocket import hindsight
from optuna_rocket.quiet import quietly
from optuna_rocket.visualization import drawing


if TYPE_CHECKING:
    from plotly import graph_objects as go


_TITLE = "Influence of Experience"
_MOST_BARS = 20


@dataclass(frozen=True)
class InfluenceInfo:
    """What experience counts for the next trial.

    Attributes:
        sources: Earlier study to its coefficient in what is expected, greatest first; 0 where the
            trials have not borne it out, negative where it is read turned round
            (``Explanation.sources``).
        priors: Parameter to the coefficient of the guess for it.
        n_trials: Number of trials with a score behind it.
    """

    sources: Mapping[str, float]
    priors: Mapping[str, float]
    n_trials: int


def plot_influence(study: Study) -> go.Figure:
    """Plot how much each earlier study, and each guess, counts for the next trial.

    The numbers are those of ``influence`` and of ``Explanation.priors``. Of many earlier studies
    the 20 with most influence are shown.

    Args:
        study: A study of one objective whose sampler is a ``RocketSampler`` with
            ``source_studies`` or ``priors``.

    Raises:
        ImportError: If plotly is not installed.
        ValueError: If the study has several objectives.
    """
    drawing.graph_objects()
    return _draw(influence_info(study))


@quietly()
def influence_info(study: Study) -> InfluenceInfo:
    """The numbers behind ``plot_influence``."""
    hindsight.require_single_objective(
        study, "plot_influence", "earlier studies and guesses are left out with several"
    )
    view = hindsight.look(study, with_controls=False)
    sources, priors = view.influences()
    n_trials = int(view.history.scored.sum())
    return InfluenceInfo(MappingProxyType(sources), MappingProxyType(priors), n_trials)


def _draw(info: InfluenceInfo) -> go.Figure:
    if not info.sources and not info.priors:
        return drawing.empty(_TITLE, "The sampler has no experience of these parameters.")
    go = drawing.graph_objects()
    sources = list(info.sources.items())[:_MOST_BARS]
    priors = [(f"guess for {name}", share) for name, share in info.priors.items()]
    bars = (sources + priors)[::-1]
    colors = ([drawing.BLUE] * len(sources) + [drawing.ORANGE] * len(priors))[::-1]
    figure = go.Figure(
        go.Bar(
            x=drawing.rounded([share for _, share in bars]),
            y=list(range(len(bars))),
            orientation="h",
            marker={"color": colors},
            text=[f"{share:.2f}{', turned round' if share < 0 else ''}" for _, share in bars],
            textposition="outside",
            cliponaxis=False,
            hoverinfo="skip",
        ),
        layout=drawing.layout(
            _TITLE, xaxis_title=f"Coefficient of what each expects ({info.n_trials} scored trials)"
        ),
    )
    names = drawing.all_plain(name for name, _ in bars)
    figure.update_yaxes(tickvals=list(range(len(bars))), ticktext=names, automargin=True)
    return figure
