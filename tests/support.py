"""What the sampler's tests share, and what the processes that they start run."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextlib import contextmanager
import logging
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import Trial

from optuna_rocket import RocketSampler


ROOT = Path(__file__).resolve().parent.parent
MIXED: dict[str, BaseDistribution] = {
    "x": FloatDistribution(-3, 3),
    "rate": FloatDistribution(1e-5, 1, log=True),
    "drop": FloatDistribution(0, 0.5, step=0.1),
    "depth": IntDistribution(1, 8),
    "width": IntDistribution(1, 512, log=True),
    "even": IntDistribution(0, 10, step=2),
    "kind": CategoricalDistribution(["a", "b", "c"]),
}


class Crash(Exception):
    """What the test objectives fail with."""


def mixed_value(params: Mapping[str, Any]) -> float:
    """A loss over ``MIXED``."""
    kind = {"a": 0.0, "b": 0.4, "c": 1.0}[params["kind"]]
    steps = abs(params["depth"] - 5) + params["width"] / 256 + params["even"] / 5
    loss = (params["x"] - 1) ** 2 + abs(params["rate"] - 0.01) + params["drop"] + steps + kind
    return float(loss)


def rough(trial: Trial) -> float:
    """Mixed and conditional parameters; some trials are pruned, some fail, one sees infinity."""
    x = trial.suggest_float("x", -3, 3)
    kind = trial.suggest_categorical("kind", ["svm", "tree", None])
    loss = x**2
    if kind == "svm":
        loss += abs(trial.suggest_float("c", 1e-3, 1e3, log=True) - 1)
    elif kind == "tree":
        depth = trial.suggest_int("depth", 1, 6)
        loss += abs(depth - 3)
        if depth > 2:
            loss += trial.suggest_float("split", 0, 1, step=0.25)
    if trial.number % 7 == 3:
        raise Crash
    if trial.number == 8:
        return float("inf")
    for step in range(1, 4):
        trial.report(loss * (1 + 1 / step), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


def never_feasible(trial: Trial) -> float:
    """A slope whose constraint is violated least where ``x`` is least."""
    x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
    trial.set_constraint("never", 0.5 + x)
    return x - y


def open_storage(place: str) -> BaseStorage:
    """SQLite for ``*.db``, otherwise a journal file."""
    if place.endswith(".db"):
        return RDBStorage(f"sqlite:///{place}")
    return JournalStorage(JournalFileBackend(place))


def rough_study(storage: BaseStorage | None, seed: int) -> Study:
    """The study of ``rough``, created or loaded."""
    return optuna.create_study(
        storage=storage,
        study_name="rough",
        load_if_exists=True,
        sampler=RocketSampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3),
    )


def run_rough(place: str, seed: str, n_trials: str) -> None:
    """Run in a process of its own: more trials of the stored study."""
    study = rough_study(open_storage(place), int(seed))
    study.optimize(rough, n_trials=int(n_trials), catch=(Crash,))


def print_mixed(seed: str, n_trials: str) -> None:
    """Run in a process of its own: the parameters of a new study."""
    for trial in mixed_study(RocketSampler(seed=int(seed)), int(n_trials)).trials:
        print(trial.params)


def mixed_study(
    sampler: BaseSampler,
    n_trials: int,
    value: Callable[[Mapping[str, Any]], float] = mixed_value,
) -> Study:
    """A study of ``MIXED`` with completed trials."""
    study = optuna.create_study(sampler=sampler)
    for _ in range(n_trials):
        trial = study.ask(MIXED)
        study.tell(trial, value(trial.params))
    return study


def all_params(study: Study) -> list[dict[str, Any]]:
    """The parameters of all trials."""
    return [trial.params for trial in study.trials]


def add(study: Study, x: float, value: float | None = None, **trial: Any) -> None:
    """Add a finished trial with one parameter ``x`` on [0, 1]."""
    study.add_trial(
        optuna.create_trial(
            params={"x": x}, distributions={"x": FloatDistribution(0, 1)}, value=value, **trial
        )
    )


def new_trial(study: Study) -> FrozenTrial:
    """A running trial as samplers see it."""
    return study._storage.get_trial(study._storage.create_new_trial(study._study_id))


def assert_valid(params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> None:
    """All parameters are there, in range, on their grid, and of builtin types."""
    assert set(params) == set(distributions)
    for name, value in params.items():
        distribution = distributions[name]
        assert distribution._contains(distribution.to_internal_repr(value)), (name, value)
        if isinstance(distribution, CategoricalDistribution):
            choices = distribution.choices
            assert any(type(value) is type(c) and value == c for c in choices), (name, value)
        else:
            expected = int if isinstance(distribution, IntDistribution) else float
            assert type(value) is expected, (name, value)


def run_python(code: str, *arguments: str, **environment: str) -> str:
    """Run code in a new process and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_here_named(function: Callable[..., None], *arguments: str, **environment: str) -> str:
    """Run a function of this module in a new process."""
    code = f"import sys; from tests import support; support.{function.__name__}(*sys.argv[1:])"
    return run_python(code, *arguments, **environment)


@contextmanager
def package_log(module: str) -> Iterator[list[str]]:
    """The messages that a module of the package logs meanwhile."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, handler = logging.getLogger(f"optuna.optuna_rocket.{module}"), Collector()
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def sampler_log() -> AbstractContextManager[list[str]]:
    """The messages that the sampler logs meanwhile."""
    return package_log("sampler")
