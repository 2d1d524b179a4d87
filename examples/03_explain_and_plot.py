"""Ask why a trial was chosen, and draw what the agent did, as web pages in a folder ``plots``.

Needs plotly: ``pip install 'optuna-rocket[viz]'``.
"""

from pathlib import Path

import optuna

from optuna_rocket import RocketSampler
from optuna_rocket import explain
from optuna_rocket import visualization


def objective(trial: optuna.Trial) -> float:
    """Return a loss that is lowest near lr = 0.003 with the second optimiser."""
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
    dropout = trial.suggest_float("dropout", 0.0, 0.6)
    distance = abs(lr - 0.003) / (lr + 0.003)
    return distance + (0.3 if optimizer == "sgd" else 0.0) + 0.2 * (dropout - 0.2) ** 2


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(sampler=RocketSampler(seed=0))
study.optimize(objective, n_trials=40)

best = explain(study, study.best_trial.number)
print(best)

plots = Path("plots")
plots.mkdir(exist_ok=True)
for name in ("plot_policy_timeline", "plot_relevance", "plot_slice_expectation"):
    figure = getattr(visualization, name)(study)
    figure.write_html(plots / f"{name}.html", include_plotlyjs="cdn")
    print(f"plots/{name}.html")

relevant = list(best.relevance)
print(f"most relevant when trial {best.number} was chosen: {relevant[0]}")
assert relevant[0] in ("lr", "optimizer"), "dropout hardly matters"
assert study.best_value < 0.3
