from __future__ import annotations

from importlib.util import find_spec

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest

from benchmarks.methods import METHODS
from benchmarks.methods import SEQUENTIAL_METHODS
from benchmarks.methods import make_sampler
from benchmarks.rivals import AskTellSampler
from benchmarks.rivals import Codes
from benchmarks.rivals import Space


PACKAGES = {"auto": ("optunahub", "optunahub"), "hebo": ("hebo", "HEBO"), "smac": ("smac", "smac")}


class Scripted(AskTellSampler):
    """Proposes what it is given and notes what it is told."""

    def __init__(self, proposals: list[Codes]) -> None:
        super().__init__(seed=0)
        self.proposals = proposals
        self.told: list[tuple[Codes, float]] = []
        self.opened: list[Space] = []

    def _open(self, space: Space) -> None:
        self.opened.append(space)

    def _ask(self, number: int) -> Codes:
        return self.proposals[number - 1]

    def _tell(self, codes: Codes, loss: float) -> None:
        self.told.append((codes, loss))


def objective(trial: optuna.Trial) -> float:
    depth = trial.suggest_int("depth", 1, 4)
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    return depth + {"a": 0.0, "b": 0.5, "c": 1.0}[kind]


@pytest.mark.parametrize("method", PACKAGES)
def test_an_absent_package_is_named(method: str) -> None:
    module, package = PACKAGES[method]
    if find_spec(module) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(ModuleNotFoundError, match=rf"`pip install {package}`.*Other peers"):
        make_sampler(method, 0)


def test_rivals_are_run_on_demand_only() -> None:
    assert set(PACKAGES) <= set(METHODS)
    assert not set(PACKAGES) & set(SEQUENTIAL_METHODS)


def test_an_optimiser_is_told_the_random_first_trial_and_all_others() -> None:
    sampler = Scripted([{"depth": 3, "kind": 2}, {"depth": 1, "kind": 0}])
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=3)
    space = {"depth": IntDistribution(1, 4), "kind": CategoricalDistribution(["a", "b", "c"])}
    assert sampler.opened == [space]
    assert [trial.params for trial in study.trials[1:]] == [
        {"depth": 3, "kind": "c"},
        {"depth": 1, "kind": "a"},
    ]
    first = study.trials[0]
    code = ["a", "b", "c"].index(first.params["kind"])
    assert sampler.told == [
        ({"depth": first.params["depth"], "kind": code}, first.value),
        ({"depth": 3, "kind": 2}, 4.0),
        ({"depth": 1, "kind": 0}, 1.0),
    ]


def test_failed_trials_are_not_told() -> None:
    sampler = Scripted([{"depth": 2, "kind": 1}])
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=1)
    trial = study.ask()
    objective(trial)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert [loss for _, loss in sampler.told] == [study.trials[0].value]


def test_what_the_suite_does_not_need_is_refused() -> None:
    study = optuna.create_study(sampler=Scripted([]))
    study.add_trial(
        optuna.trial.create_trial(
            params={"rate": 0.5}, distributions={"rate": FloatDistribution(0, 1)}, value=0.0
        )
    )
    with pytest.raises(ValueError, match="rate"):
        study.ask().suggest_float("rate", 0, 1)
    study = optuna.create_study(sampler=Scripted([]), direction="maximize")
    study.optimize(objective, n_trials=1)
    with pytest.raises(ValueError, match="minimises"):
        study.optimize(objective, n_trials=1)
