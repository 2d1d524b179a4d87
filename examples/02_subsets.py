"""Tune a network on noisy handwritten digits; poor configurations see a part of the data only.

Needs scikit-learn: ``pip install 'optuna-rocket[examples]'``.
"""

import numpy as np
import optuna
from sklearn.datasets import load_digits
import torch
from torch import nn

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import SubsetEvaluator


torch.set_num_threads(1)  # the network is too small to gain from a second thread
images, labels = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
order = rng.permutation(len(labels))
x, y = images[order] / 16, labels[order]
# Six noisy copies of each training image make a data set that takes a while.
images = np.concatenate([np.tile(x[:1350], (6, 1)), x[1350:]])
noisy = torch.tensor(images + rng.normal(0, 0.5, images.shape), dtype=torch.float32)
targets = torch.tensor(np.concatenate([np.tile(y[:1350], 6), y[1350:]]))
x_train, y_train, x_val, y_val = noisy[:8100], targets[:8100], noisy[8100:], targets[8100:]
subsets = SubsetEvaluator(y_train.numpy(), min_fraction=1 / 9)


def untrained(width: int) -> nn.Module:
    """Return a network, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def train(
    network: nn.Module, rows: np.ndarray, n_examples: int, lr: float, decay: float, batch: int
) -> float:
    """Train a network on so many examples among the rows, and return its validation loss."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr, weight_decay=decay)
    for _ in range(n_examples // batch):
        some = torch.as_tensor(rows)[torch.randint(len(rows), (batch,), generator=generator)]
        loss = nn.functional.cross_entropy(network(x_train[some]), y_train[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(network(x_val), y_val))


def objective(trial: optuna.Trial) -> float:
    """Return the loss with all training data; most trials are stopped before they get there."""
    lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
    width = trial.suggest_int("width", 4, 128, log=True)
    decay = trial.suggest_float("decay", 1e-5, 1.0, log=True)
    batch = trial.suggest_int("batch", 16, 256, log=True)
    for subset in subsets.subsets(trial):
        network = subset.carry or untrained(width)
        # Three epochs over each subset, less what the smaller ones took: they cost nothing extra.
        n_examples = round(3 * len(subset.indices) * subset.remaining)
        loss = train(network, subset.indices, n_examples, lr, decay, batch)
        subset.carry = network
        subset.report(loss)
    return float(subset.value)


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(sampler=RocketSampler(seed=0), pruner=RocketPruner())
study.optimize(objective, n_trials=20)

examples = sum(trial.last_step or 0 for trial in study.trials)
pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
print(f"{len(study.trials)} trials, {pruned} of them stopped early")
print(f"{examples / (20 * len(y_train)):.0%} of the examples that 20 full trainings take")
for size, (correlation, n_pairs) in subsets.rank_correlations(study).items():
    print(f"rank correlation of {size} examples with all: {correlation:.2f} ({n_pairs} trials)")
print(f"validation loss {study.best_value:.3f} with {study.best_params}")
assert study.best_value < 1.2  # guessing has a loss of 2.3
assert study.best_trial.last_step == len(y_train), "the answer is a full-data result"
