"""Tune a Lightning module; stop trials by epoch with a callback, or on subsets of the data.

Needs ``pip install lightning optuna-integration scikit-learn``. One trial uses one of the two:
report steps are epochs for the callback and numbers of examples for ``SubsetEvaluator``.
"""

import logging
import warnings

import lightning
import optuna
from optuna_integration import PyTorchLightningPruningCallback
from sklearn.datasets import load_digits
import torch
from torch import Tensor
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data import Subset
from torch.utils.data import TensorDataset

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import SubsetEvaluator


torch.set_num_threads(1)  # the network is too small to gain from a second thread
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", ".*num_workers.*")  # the data is in memory
optuna.logging.set_verbosity(optuna.logging.WARNING)

images, labels = load_digits(return_X_y=True)
order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
data = TensorDataset(
    torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]
)
training, validation = Subset(data, range(1350)), Subset(data, range(1350, len(data)))


class Classifier(lightning.LightningModule):
    """A network with one hidden layer."""

    def __init__(self, width: int, dropout: float, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.network = nn.Sequential(
            nn.Linear(64, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 10)
        )

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        """Log the loss and accuracy of a batch; Lightning takes their means."""
        logits = self.network(batch[0])
        self.log("val_loss", nn.functional.cross_entropy(logits, batch[1]))
        self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), self.lr)


def suggest_classifier(trial: optuna.Trial) -> Classifier:
    """Return an untrained network with the trial's hyperparameters."""
    width = trial.suggest_int("width", 4, 256, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.6)
    return Classifier(width, dropout, trial.suggest_float("lr", 1e-5, 1.0, log=True))


def fit(
    model: Classifier,
    examples: Subset[tuple[Tensor, ...]],
    callbacks: list[lightning.Callback] | None = None,
) -> float:
    """Train for six epochs and return the validation loss."""
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(
        max_epochs=6,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        model,
        DataLoader(examples, batch_size=64, shuffle=True),
        DataLoader(validation, batch_size=512),
    )
    return float(trainer.callback_metrics["val_loss"])


def by_epoch(trial: optuna.Trial) -> float:
    """Report every epoch: the callback asks the study's pruner."""
    callback = PyTorchLightningPruningCallback(trial, monitor="val_loss")
    return fit(suggest_classifier(trial), training, [callback])


subsets = SubsetEvaluator([int(label) for _, label in training], min_fraction=1 / 9)


def by_subset(trial: optuna.Trial) -> float:
    """Report nested subsets of the training data, smallest first."""
    for subset in subsets.subsets(trial):
        model = suggest_classifier(trial)  # the same values again, an untrained network
        subset.report(fit(model, Subset(training, subset.indices.tolist())))
    return float(subset.value)


for objective in (by_epoch, by_subset):
    study = optuna.create_study(sampler=RocketSampler(seed=0), pruner=RocketPruner())
    study.optimize(objective, n_trials=12)
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    print(f"{objective.__name__}: loss {study.best_value:.3f}, {pruned} of 12 trials pruned")
    assert study.best_value < 0.4  # guessing has 2.3
