"""Tune scikit-learn estimators through its own search interface, OptunaSearchCV.

Needs ``pip install scikit-learn optuna-integration``.
"""

import warnings

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna_integration import OptunaSearchCV
from sklearn.datasets import load_digits
from sklearn.datasets import load_wine
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler


warnings.simplefilter("ignore", ExperimentalWarning)  # OptunaSearchCV is marked experimental
warnings.filterwarnings("ignore", ".*optuna.terminator.*", FutureWarning)  # which it still uses
optuna.logging.set_verbosity(optuna.logging.WARNING)

# A pipeline: its parameters are named as in GridSearchCV.
x_train, x_test, y_train, y_test = train_test_split(
    *load_wine(return_X_y=True), random_state=0, stratify=load_wine().target
)
search = OptunaSearchCV(
    make_pipeline(StandardScaler(), SVC()),
    {
        "svc__C": FloatDistribution(1e-3, 1e3, log=True),
        "svc__gamma": FloatDistribution(1e-5, 1e1, log=True),
        "svc__kernel": CategoricalDistribution(["rbf", "sigmoid"]),
    },
    study=optuna.create_study(direction="maximize", sampler=RocketSampler(seed=0)),
    n_trials=15,
    cv=3,
)
search.fit(x_train, y_train)
accuracy = search.score(x_test, y_test)
print(f"wine: {accuracy:.3f} on held-out data with {search.best_params_}")

# An estimator with partial_fit: scores are reported epoch by epoch, and a pruner may stop a trial.
images, labels = load_digits(return_X_y=True)
by_epoch = OptunaSearchCV(
    SGDClassifier(random_state=0),
    {
        "alpha": FloatDistribution(1e-7, 1e1, log=True),
        "eta0": FloatDistribution(1e-5, 1e1, log=True),
        "learning_rate": CategoricalDistribution(["constant", "invscaling", "adaptive"]),
        "loss": CategoricalDistribution(["hinge", "log_loss"]),
    },
    study=optuna.create_study(
        direction="maximize", sampler=RocketSampler(seed=0), pruner=RocketPruner()
    ),
    enable_pruning=True,
    max_iter=12,
    n_trials=20,
    cv=3,
)
by_epoch.fit(images / 16, labels)
states = [trial.state.name for trial in by_epoch.trials_]
print(f"digits: {by_epoch.best_score_:.3f}, {states.count('PRUNED')} of {len(states)} pruned")

assert accuracy > 0.9
assert by_epoch.best_score_ > 0.85
