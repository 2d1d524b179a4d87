"""Keep every trial as a nested run in MLflow: parameters, value, curve and why it was chosen.

Needs ``pip install mlflow-skinny scikit-learn sqlalchemy``. A plain callback, since
``optuna_integration.MLflowCallback`` is deprecated. Look at the runs with ``mlflow ui
--backend-store-uri sqlite:///mlflow.db`` (of the full ``mlflow`` package).
"""

import mlflow
import optuna
from optuna.trial import FrozenTrial
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import explain


images, labels = load_digits(return_X_y=True)
x_train, x_val, y_train, y_val = train_test_split(images / 16, labels, random_state=0)


def objective(trial: optuna.Trial) -> float:
    """Return the validation accuracy of a linear classifier after 20 epochs."""
    model = SGDClassifier(
        loss=trial.suggest_categorical("loss", ["hinge", "log_loss", "modified_huber"]),
        alpha=trial.suggest_float("alpha", 1e-7, 1e1, log=True),
        eta0=trial.suggest_float("eta0", 1e-5, 1e1, log=True),
        learning_rate=trial.suggest_categorical("learning_rate", ["constant", "invscaling"]),
        random_state=0,
    )
    accuracy = 0.0
    for epoch in range(20):
        accuracy = model.partial_fit(x_train, y_train, classes=range(10)).score(x_val, y_val)
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy


def track(study: optuna.Study, trial: FrozenTrial) -> None:
    """Write a finished trial as a nested run."""
    with mlflow.start_run(run_name=f"trial {trial.number}", nested=True):
        mlflow.log_params(trial.params)
        for step, value in trial.intermediate_values.items():
            mlflow.log_metric("accuracy by epoch", value, step=step)
        if trial.value is not None:
            mlflow.log_metric("accuracy", trial.value)
        mlflow.set_tags({"state": trial.state.name, "reason": str(explain(study, trial.number))})


optuna.logging.set_verbosity(optuna.logging.WARNING)
mlflow.set_tracking_uri("sqlite:///mlflow.db")
experiment = mlflow.set_experiment("digits")
study = optuna.create_study(
    direction="maximize", sampler=RocketSampler(seed=0), pruner=RocketPruner()
)
with mlflow.start_run(run_name=study.study_name) as parent:
    study.optimize(objective, n_trials=20, callbacks=[track])
    mlflow.log_params({f"best {name}": value for name, value in study.best_params.items()})
    mlflow.log_metric("best accuracy", study.best_value)

runs = mlflow.MlflowClient().search_runs(
    [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
)
best = max(runs, key=lambda run: run.data.metrics.get("accuracy", 0.0))
pruned = sum(run.data.tags["state"] == "PRUNED" for run in runs)
print(f"{len(runs)} runs, {pruned} of them pruned. {best.info.run_name}:")
print(best.data.tags["reason"])
assert len(runs) == 20
assert best.data.metrics["accuracy"] == study.best_value > 0.85
