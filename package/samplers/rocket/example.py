"""Minimise a toy function of a float, an int and a category."""

import optuna
import optunahub


def objective(trial: optuna.Trial) -> float:
    """Return a value that is lowest, 0, at x = 0.3, n = 7 and kind = "round"."""
    x = trial.suggest_float("x", 0.0, 1.0)
    n = trial.suggest_int("n", 1, 20)
    kind = trial.suggest_categorical("kind", ["flat", "round", "sharp"])
    return (x - 0.3) ** 2 + 0.01 * (n - 7) ** 2 + (0.0 if kind == "round" else 0.5)


if __name__ == "__main__":
    module = optunahub.load_module(package="samplers/rocket")
    study = optuna.create_study(sampler=module.RocketSampler(seed=0))
    study.optimize(objective, n_trials=30)
    print(study.best_params, study.best_value)
