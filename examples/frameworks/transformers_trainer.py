"""Tune a small vision transformer with the Trainer's own ``hyperparameter_search``.

Needs ``pip install transformers accelerate scikit-learn``. The model is made from a configuration
and its data comes with scikit-learn: nothing is downloaded.
"""

from typing import Any

import numpy as np
import optuna
from sklearn.datasets import load_digits
import torch
from transformers import EvalPrediction
from transformers import Trainer
from transformers import TrainingArguments
from transformers import ViTConfig
from transformers import ViTForImageClassification
from transformers.utils import logging

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler


torch.set_num_threads(1)  # the model is too small to gain from a second thread
logging.set_verbosity_error()
logging.disable_progress_bar()
images, labels = load_digits(return_X_y=True)
pixels = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
examples = [{"pixel_values": x, "labels": int(y)} for x, y in zip(pixels, labels, strict=True)]
order = np.random.default_rng(0).permutation(len(examples))
training = [examples[i] for i in order[:1200]]
validation = [examples[i] for i in order[1200:]]


def make_model(trial: optuna.Trial | None) -> ViTForImageClassification:
    """Return an untrained model; the Trainer asks once without a trial."""
    depth = 1 if trial is None else trial.suggest_int("depth", 1, 3)
    heads = 2 if trial is None else trial.suggest_categorical("heads", [1, 2, 4])
    return ViTForImageClassification(
        ViTConfig(
            image_size=8,
            patch_size=2,
            num_channels=1,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            num_labels=10,
        )
    )


def training_space(trial: optuna.Trial) -> dict[str, Any]:
    """Return values for ``TrainingArguments``.

    The Trainer reports at optimizer steps. Under another batch size these would stand for other
    amounts of data, and a pruner would compare what cannot be compared: it stays as it is.
    """
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1.0, log=True),
    }


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Return the share of images that are classified correctly."""
    correct = prediction.predictions.argmax(1) == prediction.label_ids
    return {"accuracy": float(correct.mean())}


trainer = Trainer(
    model_init=make_model,
    args=TrainingArguments(
        output_dir="trainer_output",
        num_train_epochs=4,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        seed=0,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=256,
    ),
    train_dataset=training,
    eval_dataset=validation,
    compute_metrics=accuracy,
)
# What is not the Trainer's own goes to optuna.create_study.
best = trainer.hyperparameter_search(
    hp_space=training_space,
    compute_objective=lambda metrics: metrics["eval_accuracy"],
    n_trials=8,
    direction="maximize",
    backend="optuna",
    sampler=RocketSampler(seed=0),
    pruner=RocketPruner(),
    storage="sqlite:///trainer.db",
    study_name="digits",
    load_if_exists=True,
)
study = optuna.load_study(study_name="digits", storage="sqlite:///trainer.db")
states = [trial.state.name for trial in study.trials]
print(f"accuracy {best.objective:.3f} with {best.hyperparameters}")
print(f"{len(states)} trials, {states.count('PRUNED')} of them pruned")
assert set(best.hyperparameters) >= {"depth", "heads", "learning_rate"}
assert best.objective > 0.6  # guessing has 0.1
