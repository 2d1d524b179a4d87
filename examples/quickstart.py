"""Tune a small network on handwritten digits and compare it with an expert's recipe.

Run it twice: the study lives in ``quickstart.db`` and the second run goes on from there.

    python examples/quickstart.py --trials 40

``--trials`` is the number of trials the study should hold in the end. A study that already holds
that many gets up to ten more.
"""

from __future__ import annotations

import argparse
import math
from statistics import mean
import time
from typing import Any
from typing import NamedTuple

import numpy as np
import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
import torch
from torch import nn
from torch.nn import functional

from optuna_rocket import RocketSampler


STUDY_NAME = "digits"
SPLIT_SEED = 0  # one fixed split, whatever the sampler's seed, so that a study can be resumed
TUNING_SEED = 0  # every trial starts from the same weights and sees the same shuffles
FINAL_SEEDS = (1, 2, 3)  # training seeds of the comparison; none of them was used in tuning
EPOCHS = 10  # the training budget, the same for every trial and for the expert

# What a careful person would take for small images and this budget. The network is that of
# PyTorch's own MNIST example (https://github.com/pytorch/examples/tree/main/mnist), with its
# dropout of 0.25 in both places; AdamW with a warmed-up cosine schedule is the customary choice
# since Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019), at a rate from
# the upper end of the customary range, because ten epochs are few.
EXPERT_PARAMS: dict[str, Any] = {
    "network": "cnn",
    "channels": 32,
    "activation": "relu",
    "head_width": 128,
    "dropout": 0.25,
    "batch_size": 32,
    "lr": 3e-3,
    "weight_decay": 1e-2,
    "label_smoothing": 0.0,
    "max_shift": 0,
    "optimizer": "adamw",
    "beta2_gap": 1e-3,
    "schedule": "cosine",
    "warmup": 0.1,
}

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class Split(NamedTuple):
    """Images of shape (n, 1, 8, 8) with their labels."""

    images: torch.Tensor
    labels: torch.Tensor


def load_splits() -> tuple[Split, Split, Split]:
    """Return the stratified training, validation and test splits (35, 25 and 40 %)."""
    digits = load_digits()
    images = (digits.images[:, None] / 16.0).astype(np.float32)
    rest, test = train_test_split(
        np.arange(len(images)), test_size=0.4, stratify=digits.target, random_state=SPLIT_SEED
    )
    train, validation = train_test_split(
        rest, test_size=0.25 / 0.6, stratify=digits.target[rest], random_state=SPLIT_SEED
    )

    def split(rows: np.ndarray) -> Split:
        return Split(torch.from_numpy(images[rows]), torch.from_numpy(digits.target[rows]))

    return split(train), split(validation), split(test)


def suggest_params(trial: optuna.Trial) -> dict[str, Any]:
    """Ask for one configuration: 17 hyperparameters, six conditional, 14 at most at once."""
    network = trial.suggest_categorical("network", ["mlp", "cnn"])
    if network == "mlp":
        trial.suggest_int("hidden_layers", 1, 3)
    else:
        trial.suggest_int("channels", 8, 32, step=8)
    trial.suggest_categorical("activation", list(ACTIVATIONS))
    trial.suggest_int("head_width", 32, 256, log=True)
    trial.suggest_float("dropout", 0.0, 0.6)
    trial.suggest_int("batch_size", 16, 128, step=16)
    trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
    trial.suggest_float("label_smoothing", 0.0, 0.2)
    trial.suggest_int("max_shift", 0, 1)
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw", "rmsprop"])
    if optimizer == "sgd":
        trial.suggest_float("momentum", 0.0, 0.98)
    elif optimizer == "adamw":
        trial.suggest_float("beta2_gap", 1e-4, 1e-1, log=True)
    else:
        trial.suggest_float("smoothing", 0.9, 0.999)
    schedule = trial.suggest_categorical("schedule", ["constant", "cosine"])
    if schedule == "cosine":
        trial.suggest_float("warmup", 0.0, 0.4)
    return trial.params


def build_network(params: dict[str, Any]) -> nn.Module:
    """Return an untrained network: a body, MLP or convolutions, and a classifier head."""
    activation = ACTIVATIONS[params["activation"]]
    width = params["head_width"]
    if params["network"] == "mlp":
        body: list[nn.Module] = [nn.Flatten()]
        for layer in range(params["hidden_layers"] - 1):
            body += [nn.Linear(64 if layer == 0 else width, width), activation()]
        features = 64 if params["hidden_layers"] == 1 else width
    else:
        channels = params["channels"]
        body = [
            nn.Conv2d(1, channels, kernel_size=3, padding=1),
            activation(),
            nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1),
            activation(),
            nn.MaxPool2d(2),
            nn.Dropout(params["dropout"]),
            nn.Flatten(),
        ]
        features = 2 * channels * 16
    head = [nn.Linear(features, width), activation(), nn.Dropout(params["dropout"])]
    return nn.Sequential(*body, *head, nn.Linear(width, 10))


def build_optimizer(network: nn.Module, params: dict[str, Any]) -> torch.optim.Optimizer:
    """Return the optimizer the configuration names, with that optimizer's own settings."""
    lr, weight_decay = params["lr"], params["weight_decay"]
    if params["optimizer"] == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr, momentum=params["momentum"], weight_decay=weight_decay
        )
    if params["optimizer"] == "adamw":
        betas = (0.9, 1.0 - params["beta2_gap"])
        return torch.optim.AdamW(network.parameters(), lr, betas, weight_decay=weight_decay)
    return torch.optim.RMSprop(
        network.parameters(), lr, alpha=params["smoothing"], weight_decay=weight_decay
    )


def lr_factor(progress: float, params: dict[str, Any]) -> float:
    """Return the share of the full learning rate to use after ``progress`` (0 to 1)."""
    if params["schedule"] == "constant":
        return 1.0
    warmup: float = params["warmup"]
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (progress - warmup) / (1.0 - warmup)))


def shift_images(images: torch.Tensor, max_shift: int) -> torch.Tensor:
    """Return the batch moved by up to ``max_shift`` pixels, one random offset for all of it."""
    if max_shift == 0:
        return images
    row, column = torch.randint(2 * max_shift + 1, (2,)).tolist()
    padded = functional.pad(images, (max_shift,) * 4)
    return padded[:, :, row : row + 8, column : column + 8]


def train(params: dict[str, Any], data: Split, seed: int) -> nn.Module | None:
    """Return a network trained for the full budget, or None when its loss left the numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(params).train()
        optimizer = build_optimizer(network, params)
        batches_per_epoch = math.ceil(len(data.labels) / params["batch_size"])
        for epoch in range(EPOCHS):
            order = torch.randperm(len(data.labels))
            for batch, rows in enumerate(order.split(params["batch_size"])):
                progress = (epoch + (batch + 1) / batches_per_epoch) / EPOCHS
                for group in optimizer.param_groups:
                    group["lr"] = params["lr"] * lr_factor(progress, params)
                logits = network(shift_images(data.images[rows], params["max_shift"]))
                loss = functional.cross_entropy(
                    logits, data.labels[rows], label_smoothing=params["label_smoothing"]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if not torch.isfinite(loss):
                return None
    return network.eval()


def accuracy(network: nn.Module | None, data: Split) -> float:
    """Return the share of images classified correctly; NaN for a training that diverged."""
    if network is None:
        return math.nan
    with torch.no_grad():
        correct = network(data.images).argmax(dim=1) == data.labels
    return float(correct.double().mean())


class Result(NamedTuple):
    """Test accuracies, one per training seed, and the seconds one training took."""

    accuracies: list[float]
    seconds: float


def measure(params: dict[str, Any], data: Split, test: Split, replications: int) -> Result:
    """Train afresh with each of the first ``replications`` seeds and score the test split."""
    start = time.perf_counter()
    networks = [train(params, data, seed) for seed in FINAL_SEEDS[:replications]]
    seconds = (time.perf_counter() - start) / replications
    return Result([accuracy(network, test) for network in networks], seconds)


def tune(study: optuna.Study, n_trials: int, training: Split, validation: Split) -> None:
    """Bring the study to ``n_trials`` finished trials, or past it when it is there already."""

    def objective(trial: optuna.Trial) -> float:
        params = suggest_params(trial)
        # A diverged training returns NaN, which Optuna records as a failed trial.
        return accuracy(train(params, training, TUNING_SEED), validation)

    held = sum(trial.state.is_finished() for trial in study.trials)
    more = n_trials - held if held < n_trials else min(n_trials, 10)
    if held:
        print(f"Resuming study '{study.study_name}': it holds {held} trials, running {more} more.")
    else:
        print(f"New study '{study.study_name}': running {more} trials.")
    study.optimize(objective, n_trials=more, show_progress_bar=True)


def tuning_seconds(study: optuna.Study) -> float:
    """Return the time spent in all finished trials, suggestions and earlier runs included."""
    durations = [trial.duration for trial in study.trials]
    return sum(duration.total_seconds() for duration in durations if duration is not None)


def print_best(study: optuna.Study) -> None:
    """Print the configuration with the best validation accuracy."""
    best = study.best_trial
    failed = len(study.get_trials(states=[optuna.trial.TrialState.FAIL]))
    print(f"\nBest configuration: trial {best.number}, validation accuracy {study.best_value:.2%}")
    print(f"({len(study.trials)} trials, {failed} failed)")
    for name, choice in best.params.items():
        text = f"{choice:.3g}" if isinstance(choice, float) else str(choice)
        print(f"  {name:16s} {text}")


def print_comparison(tuned: Result, expert: Result, study: optuna.Study, n_test: int) -> None:
    """Print both test accuracies and what each of them cost."""
    print("\nTest accuracy after training on all data but the test split")
    print(f"  {'':14s} {'mean':>7s}   {'per training seed':24s} time")
    times = [
        f"{tuning_seconds(study):.1f} s for {len(study.trials)} trials, "
        f"then {tuned.seconds:.1f} s a training",
        f"{expert.seconds:.1f} s a training",
    ]
    for name, result, cost in zip(("tuned", "expert recipe"), (tuned, expert), times, strict=True):
        each = " ".join(f"{value:.2%}" for value in result.accuracies)
        print(f"  {name:14s} {mean(result.accuracies):7.2%}   {each:24s} {cost}")
    typical = mean(expert.accuracies)
    error = math.sqrt(typical * (1.0 - typical) / n_test)
    print(f"  ({n_test} test images: one standard error is about {error:.2%})")


def parse_arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40, help="trials in total (default: 40)")
    parser.add_argument("--storage", default="sqlite:///quickstart.db", help="Optuna storage URL")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sampler")
    parser.add_argument(
        "--replications",
        type=int,
        choices=range(1, len(FINAL_SEEDS) + 1),
        default=len(FINAL_SEEDS),
        help="training seeds in the final comparison",
    )
    return parser.parse_args()


def main() -> None:
    """Tune, then compare the best configuration with the expert's under one protocol."""
    arguments = parse_arguments()
    torch.set_num_threads(1)  # the network is too small to gain from a second thread
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the progress bar speaks for the trials
    training, validation, test = load_splits()
    study = optuna.create_study(
        study_name=STUDY_NAME,
        storage=arguments.storage,
        load_if_exists=True,
        direction="maximize",
        sampler=RocketSampler(seed=arguments.seed),
    )
    tune(study, arguments.trials, training, validation)
    print_best(study)

    everything = Split(*(torch.cat(pair) for pair in zip(training, validation, strict=True)))
    tuned = measure(study.best_params, everything, test, arguments.replications)
    expert = measure(EXPERT_PARAMS, everything, test, arguments.replications)
    print_comparison(tuned, expert, study, len(test.labels))
    if len(study.trials) >= 20:  # fewer promise nothing
        assert mean(tuned.accuracies) > 0.9, "a tuned network should read nine digits in ten"


if __name__ == "__main__":
    main()
