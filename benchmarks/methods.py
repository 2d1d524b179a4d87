"""The methods under comparison: samplers by name, with their default arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler

from benchmarks import rivals


_CHECKPOINT_PREFIX = "rocket:"


def _rocket(seed: int, checkpoint: str | None = None) -> BaseSampler:
    from optuna_rocket import RocketSampler

    return RocketSampler(seed=seed, checkpoint=checkpoint)


METHODS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed),
    # CMA-ES leaves categorical parameters to random sampling by design; on NASBench201, where all
    # parameters are categorical, it equals `random`.
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
    # `tpe` counts running trials as bad ones, Optuna's default; this one does not see them. Both
    # are the same as long as only one trial runs at a time.
    "tpe_no_liar": lambda seed: optuna.samplers.TPESampler(seed=seed, constant_liar=False),
    "gp": lambda seed: optuna.samplers.GPSampler(seed=seed),
    "rocket": _rocket,
    # These need packages that are not installed with the extra `bench`.
    "auto": rivals.auto_sampler,
    "hebo": rivals.HeboSampler,
    "smac": rivals.SmacSampler,
}
_ON_DEMAND = ("tpe_no_liar", "auto", "hebo", "smac")
SEQUENTIAL_METHODS = tuple(method for method in METHODS if method not in _ON_DEMAND)


def make_sampler(method: str, seed: int) -> BaseSampler:
    """Return the sampler of a method.

    Args:
        method: A key of `METHODS`, or `rocket:PATH` for the checkpoint at that path.
        seed: The seed of the replication.
    """
    if method.startswith(_CHECKPOINT_PREFIX):
        return _rocket(seed, checkpoint=method.removeprefix(_CHECKPOINT_PREFIX))
    return METHODS[method](seed)


def check_method(method: str) -> str:
    """Return the method when it exists; raise a ValueError that names the choices otherwise."""
    if method not in METHODS and not method.startswith(_CHECKPOINT_PREFIX):
        names = ", ".join([*METHODS, f"{_CHECKPOINT_PREFIX}PATH"])
        raise ValueError(f"Unknown method {method!r}. Choose from {names}.")
    return method


def method_label(method: str) -> str:
    """Return the method's name in results: `NAME:PATH` keeps the stem of a checkpoint's file."""
    name, _, path = method.partition(":")
    return f"{name}:{Path(path).stem}" if path else method
