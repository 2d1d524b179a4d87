"""Rocket (recurrent HPO): a hyperparameter sampler for Optuna with a recurrent, learned agent."""

from optuna_rocket.agent.weights_file import CheckpointError
from optuna_rocket.sampler import RocketSampler


__all__ = ["CheckpointError", "RocketSampler"]
__version__ = "0.1.0"
