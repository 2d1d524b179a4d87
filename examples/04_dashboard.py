"""Keep optuna-dashboard current while a study runs in ``dashboard.db``; call again to go on.

Needs ``pip install 'optuna-rocket[viz]'``. Meanwhile, in another terminal:
``optuna-dashboard sqlite:///dashboard.db``.
"""

import optuna

from optuna_rocket import RocketSampler
from optuna_rocket.dashboard import DashboardCallback
from optuna_rocket.dashboard import save_to_dashboard


def objective(trial: optuna.Trial) -> float:
    """Return a loss to be minimised, and how far the configuration is above a limit."""
    width = trial.suggest_int("width", 8, 512, log=True)
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    trial.set_constraint("width above 256", width - 256)
    return abs(lr - 0.003) / (lr + 0.003) + 8 / width


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    storage="sqlite:///dashboard.db",
    study_name="dashboard",
    load_if_exists=True,
    sampler=RocketSampler(seed=0),
)
study.optimize(objective, n_trials=20, callbacks=[DashboardCallback(every=10)])
save_to_dashboard(study)  # what came after the last update
print(f"{len(study.trials)} trials: optuna-dashboard sqlite:///dashboard.db")
assert study.best_value < 0.5
