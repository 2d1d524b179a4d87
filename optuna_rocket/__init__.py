"""Rocket (recurrent HPO): an Optuna sampler with a recurrent, learned agent, and early rewards."""

from optuna_rocket.agent.weights_file import CheckpointError
from optuna_rocket.evaluator import SubsetEvaluator
from optuna_rocket.pruner import RocketPruner
from optuna_rocket.sampler import RocketSampler


__all__ = ["CheckpointError", "RocketPruner", "RocketSampler", "SubsetEvaluator"]
__version__ = "0.1.0"
