from __future__ import annotations

from collections.abc import Callable

import numpy as np
import optuna
from optuna.trial import Trial
from optuna.trial import TrialState
import torch

from optuna_rocket import conditions
from optuna_rocket import rows as encoding
from optuna_rocket.history import History
from optuna_rocket.space import Space
from optuna_rocket.trials import TrialReader
from tests.records import new_study
from tests.records import records_of


def seen(study: optuna.Study) -> tuple[History, Space, conditions.BoolArray]:
    """All trials, in the space of all parameters, and which may have stopped before some."""
    reader = TrialReader()
    records = records_of(study, reader)
    space = Space(reader.distributions(records))
    rows = encoding.encode_rows(records, space)
    return encoding.history(rows), space, rows.stopped


def history_after(
    objective: Callable[[Trial], None], n: int = 60, seed: int = 0
) -> tuple[History, Space, conditions.BoolArray]:
    study = new_study(seed=seed)
    for _ in range(n):
        trial = study.ask()
        objective(trial)
        study.tell(trial, 1.0)
    return seen(study)


def assert_conditions(
    objective: Callable[[Trial], None], expected: dict[str, str], n: int = 60
) -> None:
    """Parents by name, and an activity that is what the trials had."""
    past, space, stopped = history_after(objective, n)
    found = conditions.find(past, space, stopped)
    parents = {space.names[child]: space.names[parent] for child, (parent, _) in found.items()}
    assert parents == expected
    geometry = space.geometry(found, has_gaps=True)
    assert torch.equal(geometry.activity(past.units), past.active)


def test_a_category_is_found_to_switch_parameters() -> None:
    def objective(trial: Trial) -> None:
        kind = trial.suggest_categorical("kind", ["svm", "forest", "none"])
        trial.suggest_float("always", 0, 1)
        if kind == "svm":
            trial.suggest_float("c", 1e-3, 1e3, log=True)
        if kind != "none":
            trial.suggest_int("a_depth", 1, 900, log=True)

    assert_conditions(objective, {"c": "kind", "a_depth": "kind"})


def test_an_integer_is_found_to_switch_parameters() -> None:
    def objective(trial: Trial) -> None:
        for layer in range(trial.suggest_int("n_layers", 1, 4)):
            trial.suggest_float(f"units_{layer}", 0, 1)

    assert_conditions(objective, {f"units_{k}": "n_layers" for k in (1, 2, 3)})


def test_nested_conditions_are_found() -> None:
    def objective(trial: Trial) -> None:
        if trial.suggest_categorical("z_root", ["sgd", "adam"]) == "sgd":
            if trial.suggest_int("middle", 0, 2) > 0:
                trial.suggest_float("a_leaf", 0, 1)

    assert_conditions(objective, {"middle": "z_root", "a_leaf": "middle"}, n=80)


def test_a_parent_must_be_there_whenever_its_child_is() -> None:
    def objective(trial: Trial) -> None:
        root = trial.suggest_categorical("root", ["a", "b", "c"])
        if root == "a":
            trial.suggest_categorical("small", [False, True])
        if root != "c":
            trial.suggest_float("x", 0, 1)

    assert_conditions(objective, {"small": "root", "x": "root"})


def test_siblings_of_few_values_do_not_switch_each_other() -> None:
    def objective(trial: Trial) -> None:
        if trial.suggest_categorical("optimizer", ["sgd", "adam", "lion"]) == "sgd":
            trial.suggest_categorical("momentum", [False, True])
            trial.suggest_categorical("nesterov", [False, True])

    past, space, stopped = history_after(objective, 80)
    geometry = space.geometry(conditions.find(past, space, stopped), has_gaps=True)
    assert torch.equal(geometry.activity(past.units), past.active)


def test_no_conditions_are_invented() -> None:
    def complete(trial: Trial) -> None:
        trial.suggest_categorical("kind", ["a", "b"])
        trial.suggest_float("x", 0, 1)

    assert_conditions(complete, {})
    coin = np.random.default_rng(0)

    def capricious(trial: Trial) -> None:
        trial.suggest_categorical("kind", ["a", "b"])
        trial.suggest_int("depth", 1, 5)
        if coin.random() < 0.5:
            trial.suggest_float("x", 0, 1)

    def late(trial: Trial) -> None:
        trial.suggest_categorical("kind", ["a", "b"])
        if trial.number >= 30:
            trial.suggest_float("x", 0, 1)

    for objective in (capricious, late):
        past, space, stopped = history_after(objective)
        assert conditions.find(past, space, stopped) == {}


def test_failed_trials_say_nothing_about_conditions() -> None:
    study = new_study()
    for number in range(30):
        trial = study.ask()
        kind = trial.suggest_categorical("kind", ["a", "b"])
        if number % 3 == 0:
            study.tell(trial, state=TrialState.FAIL)  # before x was asked for
            continue
        if kind == "a":
            trial.suggest_float("x", 0, 1)
        study.tell(trial, 1.0)
    past, space, stopped = seen(study)
    assert conditions.find(past, space, stopped) == {1: (0, [True, False])}


def test_pending_trials_say_nothing_about_conditions() -> None:
    study = new_study()
    for number in range(30):
        trial = study.ask()
        kind = trial.suggest_categorical("kind", ["a", "b"])
        if number % 5 == 0:
            continue  # still before x
        if kind == "a":
            trial.suggest_float("x", 0, 1)
        study.tell(trial, 1.0)
    past, space, stopped = seen(study)
    assert conditions.find(past, space, stopped) == {1: (0, [True, False])}


def test_untried_values_of_a_parent_count_as_allowed() -> None:
    study = new_study()
    for number in range(6):
        kind = ("a", "b")[number % 2]
        study.enqueue_trial({"kind": kind})
        trial = study.ask()
        trial.suggest_categorical("kind", ["a", "b", "never"])
        if kind == "a":
            trial.suggest_float("x", 0, 1)
        study.tell(trial, 1.0)
    past, space, stopped = seen(study)
    assert conditions.find(past, space, stopped) == {1: (0, [True, False, True])}
