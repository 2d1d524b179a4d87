from __future__ import annotations

from collections.abc import Callable
import json
import math
from typing import Any
from typing import Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState
from optuna.trial import create_trial
import pytest
import torch

from optuna_rocket import trials
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import Space
from optuna_rocket.trials import ATTRIBUTE
from optuna_rocket.trials import Record
from optuna_rocket.trials import Suggestion
from optuna_rocket.trials import TrialReader


Direction = Literal["minimize", "maximize"]
X: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}


def new_study(direction: Direction = "minimize", seed: int = 0) -> Study:
    return optuna.create_study(
        direction=direction, sampler=optuna.samplers.RandomSampler(seed=seed)
    )


def add(study: Study, state: TrialState = TrialState.COMPLETE, **options: Any) -> None:
    options.setdefault("params", {"x": 0.5})
    options.setdefault("distributions", X)
    study.add_trial(create_trial(state=state, **options))


def records_of(study: Study, reader: TrialReader | None = None) -> list[Record]:
    """What a sampler would read when it is asked for the next trial."""
    study.ask()
    return (reader or TrialReader()).read(study, study.get_trials(deepcopy=False)[-1])


@pytest.mark.parametrize(("direction", "sign"), [("minimize", -1.0), ("maximize", 1.0)])
def test_trials_of_all_states(direction: Direction, sign: float) -> None:
    study = new_study(direction)
    add(study, value=3.0)
    add(study, TrialState.PRUNED, intermediate_values={1: 7.0})
    add(study, TrialState.FAIL)
    add(study, TrialState.RUNNING)
    study.add_trial(create_trial(state=TrialState.WAITING))
    add(study, value=4.0)
    # The waiting trial would be handed out by ``ask``: read as trial number 6 instead.
    study.tell(study.ask(), 1.0)
    records = records_of(study)

    assert [record.number for record in records] == [0, 1, 2, 3, 4, 5]
    expected = ["COMPLETE", "PRUNED", "FAILED", "PENDING", "COMPLETE", "COMPLETE"]
    assert [record.outcome.name for record in records] == expected
    assert [records[0].score, records[4].score, records[5].score] == [sign * 3, sign, sign * 4]
    assert records[1].score == sign * 7
    assert math.isnan(records[2].score) and math.isnan(records[3].score)
    assert records[0].fidelity == 1 and 0 < records[1].fidelity < 1


def test_waiting_trials_are_not_read() -> None:
    study = new_study()
    add(study, value=3.0)
    study.enqueue_trial({"x": 0.1})
    trial = create_trial(state=TrialState.RUNNING)
    trial.number = 2
    records = TrialReader().read(study, trial)
    assert [record.number for record in records] == [0]


def test_the_trial_itself_is_not_evidence() -> None:
    study = new_study()
    assert records_of(study) == []
    assert [record.number for record in records_of(study)] == [0]


def test_reading_again_reads_what_changed() -> None:
    study, reader = new_study(), TrialReader()
    running = study.ask(X)
    assert records_of(study, reader)[0].outcome == Outcome.PENDING
    study.tell(running, 2.0)
    again = records_of(study, reader)
    assert again[0].outcome == Outcome.COMPLETE and again[0].score == -2.0
    fresh = TrialReader().read(study, study.get_trials(deepcopy=False)[-1])
    assert [(r.number, r.outcome) for r in again] == [(r.number, r.outcome) for r in fresh]


def test_trials_left_running_by_dead_workers_are_dropped() -> None:
    study = new_study()
    add(study, TrialState.RUNNING)
    study.add_trials([create_trial(params={"x": 0.5}, distributions=X, value=1.0)] * 240)
    add(study, TrialState.RUNNING)
    numbers = [record.number for record in records_of(study)]
    assert 0 not in numbers and 241 in numbers and 1 in numbers and len(numbers) == 241


def study_with_reports() -> Study:
    study = new_study()
    for final, report in ((0.1, 1.0), (0.2, 2.0), (0.3, 3.0)):
        add(study, value=final, intermediate_values={1: report, 4: report - 0.5})
    return study


@pytest.mark.parametrize(
    ("report", "score"),
    [
        (2.0, -0.2),  # the median of its peers at that step: their median final
        (0.5, -0.1),  # better than all: the best final
        (9.0, -0.3),  # worse than all: the worst final
        (1.5, -0.1 - 0.1 * 2 / 3),  # better than two of three
    ],
)
def test_a_pruned_trial_is_ranked_among_its_peers(report: float, score: float) -> None:
    study = study_with_reports()
    add(study, TrialState.PRUNED, intermediate_values={1: report})
    record = records_of(study)[-1]
    assert record.score == pytest.approx(score)
    assert record.fidelity == pytest.approx(1 / 4)


def test_a_pruned_trial_is_ranked_at_its_own_step() -> None:
    study = study_with_reports()
    # At step 4 its peers had 0.5, 1.5 and 2.5: better than one of three.
    add(study, TrialState.PRUNED, intermediate_values={1: 0.0, 4: 1.6})
    assert records_of(study)[-1].score == pytest.approx(-0.3 + 0.1 * 2 / 3)


def test_ranks_turn_with_the_direction() -> None:
    study = new_study("maximize")
    for final in (0.1, 0.2, 0.3):
        add(study, value=final, intermediate_values={1: 10 * final})
    add(study, TrialState.PRUNED, intermediate_values={1: 100.0})
    add(study, TrialState.PRUNED, intermediate_values={1: -100.0})
    best, worst = records_of(study)[-2:]
    assert [best.score, worst.score] == pytest.approx([0.3, 0.1])


def test_a_pruned_trial_without_peers_stands_for_itself() -> None:
    study = new_study()
    add(study, value=1.0, intermediate_values={8: 1.0})
    add(study, TrialState.PRUNED, intermediate_values={2: 5.0})
    record = records_of(study)[-1]
    assert record.score == -5.0 and record.fidelity == pytest.approx(0.25)


def test_a_pruned_trial_without_reports_is_rather_bad() -> None:
    study = new_study()
    add(study, TrialState.PRUNED)
    for value in (0.0, 1.0, 2.0, 3.0, 4.0):
        add(study, value=value)
    add(study, TrialState.PRUNED)
    add(study, TrialState.PRUNED, intermediate_values={1: float("nan")})
    records = records_of(study)
    assert math.isnan(records[0].score)
    assert records[6].score == records[7].score == -3.0


def test_pruned_trials_with_infinite_reports_are_readable() -> None:
    study = study_with_reports()
    add(study, TrialState.PRUNED, intermediate_values={1: float("inf")})
    add(study, TrialState.PRUNED, intermediate_values={7: float("inf")})
    rows = trials.encode_rows(records_of(study), Space(X))
    scores = trials.history(rows).scores[0]
    assert scores[3].item() == pytest.approx(-0.3)
    assert bool(torch.isfinite(scores).all()) and scores[4] == scores.min()


def test_infinite_values_become_the_worst_finite_one() -> None:
    study = new_study()
    for value in (1.0, float("inf"), 2.0, -float("inf")):
        add(study, value=value)
    history = trials.history(trials.encode_rows(records_of(study), Space(X)))
    assert history.scores[0].tolist() == [-1.0, -2.0, -2.0, -1.0]


def test_union_takes_the_latest_distribution() -> None:
    study = new_study()
    add(study, value=1.0)
    wide: dict[str, BaseDistribution] = {
        "x": FloatDistribution(-1.0, 9.0),
        "y": IntDistribution(0, 3),
    }
    add(study, value=1.0, params={"x": 5.0, "y": 2}, distributions=wide)
    late: dict[str, BaseDistribution] = {"y": IntDistribution(0, 30)}
    add(study, TrialState.FAIL, params={"y": 20}, distributions=late)
    union = trials.union_distributions(records_of(study))
    assert union == {"x": wide["x"], "y": late["y"]}


def history_after(
    objective: Callable[[Trial], None], n: int = 60, seed: int = 0
) -> tuple[History, Space]:
    study = new_study(seed=seed)
    for _ in range(n):
        trial = study.ask()
        objective(trial)
        study.tell(trial, 1.0)
    records = records_of(study)
    space = Space(trials.union_distributions(records))
    return trials.history(trials.encode_rows(records, space)), space


def assert_conditions(
    objective: Callable[[Trial], None], expected: dict[str, str], n: int = 60
) -> None:
    """Parents by name, and an activity that is what the trials had."""
    past, space = history_after(objective, n)
    found = trials.conditions(past, space)
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

    past, space = history_after(objective, 80)
    geometry = space.geometry(trials.conditions(past, space), has_gaps=True)
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
        past, space = history_after(objective)
        assert trials.conditions(past, space) == {}


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
    records = records_of(study)
    space = Space(trials.union_distributions(records))
    past = trials.history(trials.encode_rows(records, space))
    assert trials.conditions(past, space) == {1: (0, [True, False])}


def test_rows_are_encoded_as_the_space_does() -> None:
    study = new_study()
    distributions: dict[str, BaseDistribution] = {
        "c": CategoricalDistribution([None, "u", 3]),
        "i": IntDistribution(1, 100, log=True),
    }
    add(study, value=1.0, params={"c": 3, "i": 7}, distributions=distributions)
    add(study, value=1.0, params={"i": 100}, distributions={"i": distributions["i"]})
    space = Space(distributions)
    past = trials.history(trials.encode_rows(records_of(study), space))
    assert past.active[0].tolist() == [[True, True], [False, True]]
    decoded = [space.decode(row) for row in past.units[0].tolist()]
    assert decoded[0] == {"c": 3, "i": 7} and decoded[1]["i"] == 100
    assert past.units[0, 1, 0].item() == -1


def test_values_of_another_kind_are_left_out() -> None:
    study = new_study()
    add(study, value=1.0, params={"x": 0.5}, distributions=X)
    other: dict[str, BaseDistribution] = {"x": CategoricalDistribution(["a", "b"])}
    fresh = Space(other)
    past = trials.history(trials.encode_rows(records_of(study), fresh))
    assert not bool(past.active.any())
    narrowed = trials.encode_rows(records_of(study), Space({"x": FloatDistribution(0, 0.4)}))
    assert bool(narrowed.active[0, 0]) and float(narrowed.units[0, 0]) == pytest.approx(1.25)


def test_known_rows_save_time_alone() -> None:
    study, reader = new_study(), TrialReader()
    rng = np.random.default_rng(0)
    for k in range(12):
        state = TrialState.PRUNED if k % 4 == 3 else TrialState.COMPLETE
        value = None if k % 4 == 3 else float(k)
        add(study, state, value=value, params={"x": rng.random()}, intermediate_values={1: 2.0})
    known = trials.encode_rows(records_of(study, reader), Space(X))
    for _ in range(4):
        add(study, value=1.0, params={"x": rng.random()})
    records = records_of(study, reader)
    wider = {"x": FloatDistribution(0.0, 2.0)}
    for space in (Space(X), Space(wider)):
        with_known = trials.history(trials.encode_rows(records, space, known))
        without = trials.history(trials.encode_rows(records, space))
        for name in ("units", "active", "outcomes", "scores", "fidelity", "predicted", "kind"):
            mine, other = getattr(with_known, name), getattr(without, name)
            torch.testing.assert_close(mine, other, equal_nan=True, atol=0, rtol=0)


def test_a_finished_trial_replaces_its_pending_row() -> None:
    study, reader = new_study(), TrialReader()
    first = study.ask(X)
    known = trials.encode_rows(records_of(study, reader), Space(X))
    assert known.outcomes.tolist() == [Outcome.PENDING]
    study.tell(first, 4.0)
    rows = trials.encode_rows(records_of(study, reader), Space(X), known)
    assert rows.outcomes.tolist()[0] == Outcome.COMPLETE and rows.scores[0] == -4.0


def written(study: Study, suggestion: Suggestion) -> FrozenTrial:
    study.ask()
    trials.write_suggestion(study, study.get_trials(deepcopy=False)[-1], suggestion)
    return study.get_trials(deepcopy=False)[-1]


def test_a_suggestion_is_read_back_by_others() -> None:
    study = new_study()
    suggestion = Suggestion({"x": 0.25, "kind": 2.0}, 3, -0.5, 1.25)
    written(study, suggestion)
    record = records_of(study)[0]
    assert record.suggestion == suggestion
    assert record.outcome == Outcome.PENDING and record.params == suggestion.params


def test_an_unknown_expectation_survives_the_storage() -> None:
    study = new_study()
    written(study, Suggestion({"x": 0.25}))
    record = records_of(study)[0]
    assert record.suggestion.params == {"x": 0.25} and record.suggestion.kind == -1
    assert math.isnan(record.suggestion.mean) and math.isnan(record.suggestion.std)


def test_huge_suggestions_are_cut_to_what_storages_hold() -> None:
    study = new_study()
    trial = written(
        study, Suggestion({f"parameter_{k:06}": 1 / 3 for k in range(5000)}, 1, 0.0, 1.0)
    )
    assert len(trial.system_attrs[ATTRIBUTE]) < 65_000
    assert records_of(study)[0].suggestion.kind == 1


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        7,
        "",
        "{",
        "[]",
        "null",
        "3",
        '"text"',
        "{}",
        '{"params": 3}',
        '{"params": {"x": "y"}, "kind": 1, "mean": 0, "std": 1}',
        '{"params": {"x": NaN}, "kind": 1, "mean": 0, "std": 1}',
        '{"params": {"x": 1e999}, "kind": 1, "mean": 0, "std": 1}',
        '{"params": {}, "kind": NaN, "mean": 0, "std": 1}',
        '{"params": {}, "kind": 1e999, "mean": 0, "std": 1}',
        '{"params": {}, "kind": 1, "mean": null, "std": 1}',
        '{"params": {}, "kind": 1, "mean": 0}',
        "[" * 50_000,
        "x" * 100_000,
        {"params": {}},
    ],
    ids=range(20),
)
def test_garbage_is_a_blank_suggestion(garbage: object) -> None:
    blank = trials._parse(garbage)
    assert blank.params == {} and blank.kind == -1
    assert math.isnan(blank.mean) and math.isnan(blank.std)


def frozen(params: dict[str, Any], system_attrs: dict[str, Any]) -> FrozenTrial:
    return create_trial(
        state=TrialState.RUNNING,
        params=params,
        distributions={name: X["x"] for name in params},
        system_attrs=system_attrs,
    )


def test_what_is_set_goes_before_what_is_enqueued_before_what_was_planned() -> None:
    distributions = {name: X["x"] for name in ("a", "b", "c", "d")}
    planned = {"params": {"a": 0.1, "b": 0.1, "c": 0.1, "z": 0.1}, "kind": 0, "mean": 0, "std": 1}
    trial = frozen(
        {"a": 0.3}, {ATTRIBUTE: json.dumps(planned), "fixed_params": {"a": 0.2, "b": 0.2, "y": 1}}
    )
    assert trials.imposed_params(trial, distributions) == {"a": 0.3, "b": 0.2, "c": 0.1}


def test_enqueued_values_that_do_not_fit_are_ignored() -> None:
    distributions = {"x": X["x"], "c": CategoricalDistribution(["a", "b"])}
    for bad in ({"x": "text"}, {"x": None}, {"x": float("nan")}, {"c": "other"}, {"w": 1}, 7):
        assert trials.imposed_params(frozen({}, {"fixed_params": bad}), distributions) == {}
