"""Plots of what the agent does, in plotly and in the style of ``optuna.visualization``.

Every function returns a ``plotly.graph_objects.Figure`` of a study and writes nothing; those
about reports take studies of one objective. The numbers behind a figure come first, as a frozen
record that the module's ``*_info`` function computes; drawing is the second step. Needs
``pip install 'optuna-rocket[viz]'``.

For a web page ``figure.write_html("figure.html")`` always works. ``write_image("figure.pdf")``
(also PNG, SVG) needs the package ``kaleido``, and that a Chrome or Chromium browser: where it is
not found, set the environment variable ``BROWSER_PATH`` to it or run ``plotly_get_chrome``.
"""

from optuna_rocket.visualization.cost import plot_cost
from optuna_rocket.visualization.forecast import plot_forecast
from optuna_rocket.visualization.influence import plot_influence
from optuna_rocket.visualization.policy_timeline import plot_policy_timeline
from optuna_rocket.visualization.relevance import plot_relevance
from optuna_rocket.visualization.slice_expectation import plot_slice_expectation


__all__ = [
    "plot_cost",
    "plot_forecast",
    "plot_influence",
    "plot_policy_timeline",
    "plot_relevance",
    "plot_slice_expectation",
]
