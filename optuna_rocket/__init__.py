"""Rocket (recurrent HPO): an Optuna sampler with a recurrent, learned agent, and early rewards."""

import importlib
from typing import TYPE_CHECKING
from typing import Any

from optuna_rocket.agent.weights_file import CheckpointError
from optuna_rocket.evaluator import SubsetEvaluator
from optuna_rocket.pruner import RocketPruner
from optuna_rocket.sampler import RocketSampler


if TYPE_CHECKING:
    from optuna_rocket import dashboard
    from optuna_rocket import visualization
    from optuna_rocket.explanation import explain
    from optuna_rocket.explanation import influence


__all__ = [
    "CheckpointError",
    "RocketPruner",
    "RocketSampler",
    "SubsetEvaluator",
    "dashboard",
    "explain",
    "influence",
    "visualization",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the views when they are first asked for: most programs never do."""
    if name in ("explain", "influence"):
        return getattr(importlib.import_module("optuna_rocket.explanation"), name)
    if name in ("dashboard", "visualization"):
        return importlib.import_module(f"optuna_rocket.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
