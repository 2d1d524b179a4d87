"""RocketSampler for OptunaHub: the code and the agent's weights are in ``optuna-rocket``."""

try:
    from optuna_rocket import RocketSampler
except ImportError as error:
    raise ImportError(
        f"The package samplers/rocket needs optuna-rocket ({error}). Install it with: "
        "pip install optuna-rocket"
    ) from error


__all__ = ["RocketSampler"]
