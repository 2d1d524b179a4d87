"""What is said of arguments that make no sense: the argument, its value and the fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
import pytest

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import SubsetEvaluator
from optuna_rocket.arguments import check_integer
from optuna_rocket.axes import bounds
from optuna_rocket.dashboard import DashboardCallback
from optuna_rocket.past_studies import read_past_studies
from optuna_rocket.training.fine_tune import main


def labels(**arguments: object) -> Callable[[], object]:
    options: dict[str, object] = {"min_fraction": 0.5, **arguments}
    data = options.pop("data", np.arange(90) % 3)
    return lambda: SubsetEvaluator(data, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "argument", "fix"),
    [
        (lambda: RocketSampler(seed=-1), "seed=-1 ", "Use 0, or None, which draws one."),
        (lambda: RocketSampler(n_trials=0), "n_trials=0 ", "Use None if it is not known."),
        (lambda: RocketPruner(seed=-1), "seed=-1 ", "Use 0, or leave it out."),
        (lambda: RocketPruner(n_startup_trials=2), "n_startup_trials=2 ", "Use 4, or more"),
        (lambda: DashboardCallback(every=0), "every=0 ", "Use 10, for example."),
        (labels(seed=-1), "seed=-1 ", "Use 0, or leave it out."),
        (labels(min_examples=0), "min_examples=0 ", "Use 10, or 1 to allow any subset."),
        (labels(by="fold"), "by='fold' ", "or 'instance' for single folds"),
        (labels(data=0), "data=0 ", "Pass a list of one label or target per example"),
        (
            lambda: bounds(FloatDistribution(-1.7e308, 1.7e308, step=1.7e308)),
            "distribution=FloatDistribution",
            "Use a narrower one.",
        ),
        (
            lambda: bounds(FloatDistribution(0.0, 5e-324)),
            "distribution=FloatDistribution",
            "Use a wider one, or one nearer to 0.",
        ),
    ],
)
def test_a_refusal_names_argument_value_and_fix(
    call: Callable[[], object], argument: str, fix: str
) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value).startswith(argument) and fix in str(caught.value)


def test_numbers_of_numpy_are_integers_and_booleans_are_not() -> None:
    assert check_integer("n", np.int32(3), least=1, fix="Use 1.") == 3
    for wrong in (True, 3.0, "3", None):
        with pytest.raises(ValueError, match=r"n=.* is not an integer of at least 1\. Use 1\.$"):
            check_integer("n", wrong, least=1, fix="Use 1.")


def test_the_command_names_argument_value_and_fix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    optuna.create_study(storage=storage, study_name="held")
    assert main(["--storage", storage, "--out", str(tmp_path / "tuned"), "--iterations", "0"]) == 2
    assert "iterations=0 is less than 1. Use 1 or more." in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"Name some of the 1 that it has \('held'\), or none"):
        read_past_studies(storage, ["absent"])
