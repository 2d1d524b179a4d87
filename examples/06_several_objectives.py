"""Tune for two objectives under a limit, ask why a trial was chosen, and draw what was learned.

The error of a network falls with its width, its latency rises, and memory ends somewhere. Needs
plotly: ``pip install 'optuna-rocket[viz]'``. Web pages are written into a folder ``plots``.
"""

from pathlib import Path

import numpy as np
import optuna

from optuna_rocket import RocketSampler
from optuna_rocket import explain
from optuna_rocket import visualization


def objective(trial: optuna.Trial) -> tuple[float, float]:
    """Return an error and a latency in milliseconds."""
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    width = trial.suggest_int("width", 8, 512, log=True)
    activation = trial.suggest_categorical("activation", ["relu", "gelu"])
    trial.set_constraint("width above 400", width - 400)
    error = 0.05 * (np.log10(lr) + 3) ** 2 + 1.5 / np.sqrt(width)
    return float(error - 0.02 * (activation == "gelu")), 0.02 * width + (activation == "gelu")


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(directions=["minimize", "minimize"], sampler=RocketSampler(seed=0))
study.optimize(objective, n_trials=40)

latest = explain(study, 39)
print(latest)
for outlook in latest.objectives:
    print(f"{outlook.name}: expected {outlook.expected:.3g}, found {outlook.value:.3g}")

plots = Path("plots")
plots.mkdir(exist_ok=True)
figures = {
    "front": optuna.visualization.plot_pareto_front(study),
    "policy": visualization.plot_policy_timeline(study),
    "relevance": visualization.plot_relevance(study),
    "slice of the latency": visualization.plot_slice_expectation(study, objective=1),
}
for name, figure in figures.items():
    figure.write_html(plots / f"{name}.html", include_plotlyjs="cdn")

front = study.best_trials
print(f"{len(front)} of {len(study.trials)} trials on the front")
assert len(front) > 10
assert all(trial.params["width"] <= 400 for trial in front)
assert list(latest.objectives[1].relevance)[-1] == "lr", "the latency knows nothing of the rate"
