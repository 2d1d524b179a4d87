"""A study from an installed wheel, run by ``release.check`` in a clean environment.

``python smoke.py`` needs the extra ``viz``. ``--without-torch`` checks an environment for which no
build of PyTorch was to be had: every module compiles, the package is imported, and a study says
what is missing.
"""

from __future__ import annotations

import argparse
import compileall
import logging
from pathlib import Path
import sys

import numpy as np
import optuna

import optuna_rocket


class Records(logging.Handler):
    """Keeps what was logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self.messages.append(record.getMessage())


def objective(trial: optuna.Trial) -> float:
    """Return a value of a float, an int, a category and a conditional parameter."""
    x = trial.suggest_float("x", 1e-3, 1e1, log=True)
    n = trial.suggest_int("n", 1, 9)
    value = abs(np.log10(x) + 1) + 0.1 * abs(n - 4)
    if trial.suggest_categorical("kind", ["a", "b"]) == "a":
        value += trial.suggest_float("extra", 0, 1)
    for step in (1, 3, 9):
        trial.report(value + 1 / step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return float(value)


def in_subsets(trial: optuna.Trial) -> float:
    """Return a value from nested subsets."""
    x = trial.suggest_float("x", 0, 1)
    evaluator = optuna_rocket.SubsetEvaluator(270, min_fraction=1 / 9)
    for subset in evaluator.subsets(trial):
        subset.report((x - 0.3) ** 2 + 1 / len(subset.indices))
    return float(subset.value)


def of_two(trial: optuna.Trial) -> tuple[float, float]:
    """Return two objectives that are at odds, under a constraint."""
    x = trial.suggest_float("x", 0, 1)
    trial.set_constraint("limit", x - 0.9)
    return x, 1 - x + trial.suggest_float("y", 0, 1)


def run_studies() -> None:
    """Resume a study in SQLite, draw and explain it; others have subsets and two objectives."""
    storage = "sqlite:///smoke.db"
    for _ in range(2):
        study = optuna.create_study(
            study_name="smoke",
            storage=storage,
            load_if_exists=True,
            sampler=optuna_rocket.RocketSampler(seed=0),
            pruner=optuna_rocket.RocketPruner(),
        )
        study.optimize(objective, n_trials=12)
    assert len(study.trials) == 24
    assert study.best_value < 1.5
    assert optuna_rocket.explain(study, study.trials[-1].number).origin == "agent"
    for name in ("policy_timeline", "relevance", "slice_expectation", "forecast", "cost"):
        figure = getattr(optuna_rocket.visualization, f"plot_{name}")(study)
        figure.write_html(f"{name}.html")
        assert Path(f"{name}.html").stat().st_size > 10_000
    optuna_rocket.dashboard.save_to_dashboard(study)

    partial = optuna.create_study(sampler=optuna_rocket.RocketSampler(seed=0))
    partial.optimize(in_subsets, n_trials=6)
    assert partial.best_trial.last_step == 270

    front = optuna.create_study(
        directions=["minimize", "minimize"], sampler=optuna_rocket.RocketSampler(seed=0)
    )
    front.optimize(of_two, n_trials=12)
    assert len(optuna_rocket.explain(front, 11).objectives) == 2
    optuna_rocket.dashboard.save_to_dashboard(front)


def main() -> None:
    """Run the studies and print the versions that were used."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--without-torch", action="store_true")
    without_torch = parser.parse_args().without_torch
    records = Records()
    logging.getLogger("optuna").addHandler(records)
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    folder = Path(optuna_rocket.__file__).parent
    assert not folder.is_relative_to(Path.cwd()), "the working tree was imported, not the wheel"
    versions = {"python": sys.version.split()[0], "optuna": optuna.__version__}
    versions |= {"numpy": np.__version__, "optuna-rocket": optuna_rocket.__version__}
    if without_torch:
        assert compileall.compile_dir(folder, quiet=1)
        study = optuna.create_study(sampler=optuna_rocket.RocketSampler(seed=0))
        try:
            study.optimize(objective, n_trials=1)
        except ModuleNotFoundError as error:
            assert error.name == "torch"
        else:
            raise AssertionError("PyTorch is installed: leave --without-torch out")
        versions["torch"] = "none: compiled and imported, nothing more"
    else:
        run_studies()
        import torch

        versions["torch"] = str(torch.__version__)
        assert not records.messages, records.messages
    print("smoke:", ", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
