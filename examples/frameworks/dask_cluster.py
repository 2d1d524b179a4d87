"""Run one study on the workers of a Dask cluster, with the storage on its scheduler.

Needs ``pip install optuna-integration 'dask[distributed]' scikit-learn``.
"""

import os
import warnings

from distributed import Client
from distributed import LocalCluster
from distributed import wait
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna_integration import DaskStorage
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_score

from optuna_rocket import RocketSampler


warnings.simplefilter("ignore", ExperimentalWarning)  # DaskStorage is marked experimental


def objective(trial: optuna.Trial) -> float:
    """Return the log loss of boosted trees in cross-validation."""
    trial.set_user_attr("worker", os.getpid())
    x, y = load_breast_cancer(return_X_y=True)
    model = HistGradientBoostingClassifier(
        learning_rate=trial.suggest_float("learning_rate", 1e-3, 1.0, log=True),
        max_iter=trial.suggest_int("max_iter", 10, 60),
        max_leaf_nodes=trial.suggest_int("max_leaf_nodes", 2, 32, log=True),
        l2_regularization=trial.suggest_float("l2_regularization", 1e-4, 1e2, log=True),
        random_state=0,
    )
    return -float(cross_val_score(model, x, y, cv=3, scoring="neg_log_loss").mean())


def main() -> None:
    """Share 16 trials among two workers that are processes of their own."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        # Every task gets a copy of the sampler. That is fine with one seed for all: the number of
        # the trial enters every suggestion, and what other workers run is seen in the storage.
        study = optuna.create_study(
            storage=DaskStorage(client=client), sampler=RocketSampler(seed=0)
        )
        tasks = [client.submit(study.optimize, objective, 2, pure=False) for _ in range(8)]
        wait(tasks)
        for task in tasks:
            task.result()  # what failed on a worker is raised here

        trials = study.trials
        workers = {trial.user_attrs["worker"] for trial in trials}
        print(f"{len(trials)} trials by {len(workers)} workers, log loss {study.best_value:.3f}")
        print(study.best_params)
        assert len(trials) == 16 and len(workers) == 2
        assert len({tuple(trial.params.values()) for trial in trials}) == 16, "no repeats"
        assert study.best_value < 0.15  # the share of classes alone has .66


if __name__ == "__main__":  # workers import this file
    main()
