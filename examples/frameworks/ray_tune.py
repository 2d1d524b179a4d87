"""Tune on the workers of a Ray cluster: the sampler goes into Ray Tune's OptunaSearch.

Needs ``pip install 'ray[tune]' scikit-learn``.
"""

import os
from pathlib import Path
import tempfile
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

from optuna_rocket import RocketSampler


EPOCHS = 10


def train(config: dict[str, Any]) -> None:
    """Train a linear classifier on handwritten digits and report its accuracy every epoch."""
    images, labels = load_digits(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(images / 16, labels, random_state=0)
    model = SGDClassifier(random_state=0, **config)
    for _ in range(EPOCHS):
        model.partial_fit(x_train, y_train, classes=range(10))
        tune.report({"accuracy": model.score(x_val, y_val), "worker": os.getpid()})


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
# The storage is Optuna's: the study can be looked at, explained and plotted while Ray runs it.
storage = optuna.storages.RDBStorage("sqlite:///ray.db")
search = OptunaSearch(
    sampler=RocketSampler(seed=0),
    metric="accuracy",
    mode="max",
    storage=storage,
    study_name="digits",
)
tuner = tune.Tuner(
    tune.with_resources(train, {"cpu": 1}),
    param_space={
        "alpha": tune.loguniform(1e-7, 1e1),
        "eta0": tune.loguniform(1e-5, 1e1),
        "learning_rate": tune.choice(["constant", "invscaling"]),
        "loss": tune.choice(["hinge", "log_loss", "modified_huber"]),
    },
    tune_config=tune.TuneConfig(
        metric="accuracy",
        mode="max",
        num_samples=16,
        # A process for every trial: reused ones are so fast here that one does all the work.
        reuse_actors=False,
        search_alg=ConcurrencyLimiter(search, max_concurrent=2),
    ),
    run_config=tune.RunConfig(storage_path=str(Path(tempfile.mkdtemp())), verbose=0),
)
results = tuner.fit()
ray.shutdown()

best = results.get_best_result()
workers = {result.metrics["worker"] for result in results}
study = optuna.load_study(study_name="digits", storage=storage)
print(f"accuracy {best.metrics['accuracy']:.3f} with {best.config}")
print(f"{len(study.trials)} trials by {len(workers)} worker processes")
assert len(study.trials) == 16
assert len(workers) >= 2
assert best.metrics["accuracy"] > 0.85
