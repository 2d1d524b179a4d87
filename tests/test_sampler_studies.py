from __future__ import annotations

from collections import Counter
import copy
import math
from pathlib import Path
import pickle
import random
from typing import Any
import warnings

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import Trial
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketSampler
from tests.support import MIXED
from tests.support import Crash
from tests.support import add
from tests.support import all_params
from tests.support import assert_valid
from tests.support import mixed_study
from tests.support import mixed_value
from tests.support import new_trial
from tests.support import open_storage
from tests.support import rough
from tests.support import rough_study
from tests.support import run_here_named
from tests.support import run_python
from tests.support import run_rough
from tests.support import sampler_log


DIRECTIONS = [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
UNIT: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}


def uniform_study(seed: int = 0, n_trials: int = 15, frequency: float = 1.0) -> Study:
    """A study of one parameter whose finished trials lie evenly on it."""
    study = optuna.create_study(sampler=RocketSampler(seed=seed))
    for k in range(n_trials):
        x = (k + 0.5) / n_trials
        add(study, x, math.sin(frequency * x))
    return study


# Resume


@pytest.mark.parametrize("name", ["study.db", "study.journal"])
def test_resumed_in_another_process_is_uninterrupted(name: str, tmp_path: Path) -> None:
    place = str(tmp_path / name)
    whole = rough_study(None, seed=5)
    whole.optimize(rough, n_trials=20, catch=(Crash,))
    states = Counter(trial.state for trial in whole.trials)
    assert min(states[s] for s in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)) > 1

    part = rough_study(open_storage(place), seed=5)
    part.optimize(rough, n_trials=10, catch=(Crash,))
    run_here_named(run_rough, place, "5", "10")

    assert all_params(part) == all_params(whole)
    assert [t.state for t in part.trials] == [t.state for t in whole.trials]


def test_new_sampler_for_every_trial_is_uninterrupted() -> None:
    whole = rough_study(None, seed=2)
    whole.optimize(rough, n_trials=45, catch=(Crash,))
    part = rough_study(None, seed=2)
    for _ in range(45):
        part.sampler = RocketSampler(seed=2)
        part.optimize(rough, n_trials=1, catch=(Crash,))
    assert all_params(part) == all_params(whole)


@pytest.mark.parametrize("seed", range(2))
def test_new_sampler_is_uninterrupted_when_trials_overlap(seed: int) -> None:
    """Trials finish in another order than they started in, complete, pruned or failed."""

    def run(fresh: bool) -> list[dict[str, Any]]:
        study = optuna.create_study(sampler=RocketSampler(seed=seed))
        order = random.Random(seed)
        running: list[Trial] = []
        for _ in range(40):
            if fresh:
                study.sampler = RocketSampler(seed=seed)
            running.append(study.ask(UNIT))
            if len(running) < 4:
                continue
            trial = running.pop(order.randrange(4))
            state = order.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
            value = (trial.params["x"] - 0.3) ** 2
            trial.report(value + 0.1, 1)
            study.tell(trial, value if state == TrialState.COMPLETE else None, state)
        return all_params(study)

    assert run(fresh=False) == run(fresh=True)


@pytest.mark.parametrize("kind", ["pickle", "deepcopy"])
def test_copied_study_goes_on_alike(kind: str) -> None:
    study = mixed_study(RocketSampler(seed=1), 6)
    other: Study = (
        copy.deepcopy(study) if kind == "deepcopy" else pickle.loads(pickle.dumps(study))
    )
    for each in (study, other):
        for _ in range(4):
            trial = each.ask(MIXED)
            each.tell(trial, mixed_value(trial.params))
    assert all_params(other) == all_params(study)
    assert all_params(study) == all_params(mixed_study(RocketSampler(seed=1), 10))


# Parallel


def test_eight_threads_lose_no_trial() -> None:
    study = optuna.create_study(
        sampler=RocketSampler(seed=0), pruner=optuna.pruners.MedianPruner(n_startup_trials=3)
    )
    with sampler_log() as messages:
        study.optimize(rough, n_trials=60, n_jobs=8, catch=(Crash,))
    assert messages == []
    assert [trial.number for trial in study.trials] == list(range(60))
    assert all(trial.state.is_finished() for trial in study.trials)
    for trial in study.trials:
        assert_valid(trial.params, trial.distributions)
        assert ("depth" in trial.params) == (trial.params["kind"] == "tree")
        assert (trial.state == TrialState.FAIL) == (trial.number % 7 == 3)


@pytest.mark.parametrize("frequency", [1.0, 10.0])
def test_outstanding_asks_differ(frequency: float) -> None:
    study = uniform_study(frequency=frequency)
    assert len({study.ask(UNIT).params["x"] for _ in range(6)}) == 6


@pytest.mark.parametrize("seed", range(3))
def test_outstanding_asks_spread_where_much_is_unknown(seed: int) -> None:
    study = uniform_study(seed, frequency=1000.0)
    asked = [study.ask(UNIT).params["x"] for _ in range(6)]
    assert len({round(x, 2) for x in asked}) >= 4


def test_a_pending_trial_moves_the_next_suggestion() -> None:
    def asked(seed: int, pending_at: float) -> float:
        study = uniform_study(seed, frequency=1000.0)
        pending = new_trial(study)
        study._storage.set_trial_param(pending._trial_id, "x", pending_at, UNIT["x"])
        return float(study.ask(UNIT).params["x"])

    moved = 0
    for seed in range(8):
        wanted = asked(seed, 0.5 / 15)  # with a pending trial where one was before
        moved += abs(asked(seed, wanted) - wanted) > 0.01
    assert moved >= 5


def test_batch_of_asks_before_any_suggestion() -> None:
    study = uniform_study(n_trials=10)
    batch = [study.ask() for _ in range(5)]
    assert len({trial.suggest_float("x", 0, 1) for trial in batch}) == 5


def test_workers_with_the_same_seed_differ(tmp_path: Path) -> None:
    studies = [rough_study(open_storage(str(tmp_path / "s.db")), seed=0) for _ in range(2)]
    asked = [study.ask(UNIT) for _ in range(4) for study in studies]
    assert len({trial.params["x"] for trial in asked}) == 8


def tell(place: str, number: str, value: str) -> None:
    rough_study(open_storage(place), seed=0).tell(int(number), float(value))


def test_asked_here_told_there(tmp_path: Path) -> None:
    place = str(tmp_path / "study.db")
    study = rough_study(open_storage(place), seed=0)
    for number in range(2):
        assert study.ask(MIXED).number == number
    there = "from tests.test_sampler_studies import tell; import sys; tell(*sys.argv[1:])"
    run_python(there, place, "1", "0.5")
    study.tell(0, 0.25)
    assert [trial.value for trial in study.trials] == [0.25, 0.5]
    trial = study.ask(MIXED)
    assert_valid(trial.params, MIXED)
    assert study._storage.get_trial(trial._trial_id).system_attrs.keys() == {"rocket:suggestion"}


def test_a_worker_that_died_does_not_block() -> None:
    study = uniform_study(n_trials=5)
    study.ask(UNIT)
    study.ask()
    for _ in range(5):
        trial = study.ask(UNIT)
        study.tell(trial, trial.params["x"])
    assert len({trial.params["x"] for trial in study.trials if trial.params}) == 11


# Evidence


def left_half(studies: list[Study]) -> int:
    return sum(study.ask(UNIT).params["x"] < 0.5 for study in studies)


def pruned_evidence(seed: int, good_left: bool) -> Study:
    """Complete trials are symmetric, those pruned were promising on one side only."""
    study = optuna.create_study(sampler=RocketSampler(seed=seed))
    for x, value in {0.05: 9.0, 0.2: 7.0, 0.35: 5.0, 0.5: 6.0}.items():
        for mirrored in {x, 1 - x}:
            reports = dict.fromkeys((1, 2, 3), value)
            add(study, mirrored, value, intermediate_values=reports)
    for x in (0.1, 0.15, 0.25, 0.3, 0.4, 0.6, 0.7, 0.75, 0.85, 0.9):
        report = 5.0 if (x < 0.5) == good_left else 9.0
        add(study, x, state=TrialState.PRUNED, intermediate_values={1: report})
    return study


def test_reports_of_pruned_trials_are_evidence() -> None:
    left = left_half([pruned_evidence(seed, good_left=True) for seed in range(20)])
    right = left_half([pruned_evidence(seed, good_left=False) for seed in range(20)])
    assert left - right >= 8


def failed_evidence(seed: int, failed_left: bool) -> Study:
    """Complete trials are symmetric, the failed ones are all on one side."""
    study = optuna.create_study(sampler=RocketSampler(seed=seed))
    for x in (0.02, 0.2, 0.35, 0.5, 0.65, 0.8, 0.98):
        add(study, x, -abs(x - 0.5))
    for k in range(12):
        x = 0.04 + 0.035 * k
        add(study, x if failed_left else 1 - x, state=TrialState.FAIL)
    return study


def test_failed_trials_are_evidence() -> None:
    left = left_half([failed_evidence(seed, failed_left=False) for seed in range(20)])
    right = left_half([failed_evidence(seed, failed_left=True) for seed in range(20)])
    assert left - right >= 8


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_direction_matters(direction: StudyDirection) -> None:
    values: list[float] = []
    for seed in range(4):
        study = optuna.create_study(direction=direction, sampler=RocketSampler(seed=seed))
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=12)
        values += [trial.params["x"] for trial in study.trials[-4:]]
    mean = sum(values) / len(values)
    assert mean < 0.35 if direction == StudyDirection.MINIMIZE else mean > 0.65


# Values that are no ordinary numbers


@pytest.mark.parametrize(
    "values",
    [
        [math.inf] * 6,
        [-math.inf] * 6,
        [math.inf, -math.inf, 0.0] * 3,
        [1.7e308, -1.7e308, 0.0] * 3,
        [5e-324, 0.0, -5e-324] * 3,
        [math.nan, 1.0, 2.0] * 3,
        [math.nan] * 6,
        [1.0] * 9,
    ],
    ids=str,
)
@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
def test_extreme_objective_values(values: list[float], direction: StudyDirection) -> None:
    study = optuna.create_study(direction=direction, sampler=RocketSampler(seed=0))

    def objective(trial: Trial) -> float:
        trial.suggest_float("x", 0, 1)
        trial.suggest_categorical("c", ["a", "b"])
        return values[trial.number]

    with sampler_log() as messages:
        study.optimize(objective, n_trials=len(values))
    assert messages == []
    assert len({str(trial.params) for trial in study.trials}) == len(values)


def test_a_pruned_trial_may_have_any_reports() -> None:
    study = uniform_study(n_trials=5)
    reports: list[dict[int, float]] = [
        {},
        {0: math.nan},
        {0: math.inf},
        {3: -math.inf},
        {10**12: 1.0},
        {0: 1.7e308, 5: -1.7e308},
    ]
    with sampler_log() as messages:
        for number, report in enumerate(reports):
            add(study, number / 10, state=TrialState.PRUNED, intermediate_values=report)
            study.tell(study.ask(UNIT), 1.0)
    assert messages == []


# Histories by others


def test_trials_by_another_sampler_are_used() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(rough, n_trials=15, catch=(Crash,))
    study.sampler = RocketSampler(seed=0)
    with sampler_log() as messages:
        study.optimize(rough, n_trials=5, catch=(Crash,))
        study.sampler = optuna.samplers.TPESampler(seed=0)
        study.optimize(rough, n_trials=5, catch=(Crash,))
        study.sampler = RocketSampler(seed=0)
        study.optimize(rough, n_trials=5, catch=(Crash,))
    assert messages == []
    assert len({str(trial.params) for trial in study.trials}) == 30


def test_added_trials_with_other_distributions() -> None:
    study = mixed_study(RocketSampler(seed=0), 3)
    foreign: list[dict[str, tuple[Any, BaseDistribution]]] = [
        {},
        {"x": (90.0, FloatDistribution(80, 100))},
        {"x": (1, IntDistribution(0, 3)), "other": ("q", CategoricalDistribution(["q", "r"]))},
        {"kind": ("z", CategoricalDistribution(["z", "a"]))},
        {"rate": (0.5, FloatDistribution(-1, 1))},
    ]
    for trial in foreign:
        study.add_trial(
            optuna.create_trial(
                params={name: value for name, (value, _) in trial.items()},
                distributions={name: known for name, (_, known) in trial.items()},
                value=0.0,
            )
        )
    study.tell(study.ask({"note": FloatDistribution(0, 1)}), 1.0)
    with sampler_log() as messages:
        params = study.sampler.sample_relative(study, new_trial(study), MIXED)
    assert messages == []
    assert_valid(params, MIXED)


def test_a_completed_trial_without_parameters_costs_nothing() -> None:
    study = mixed_study(RocketSampler(seed=0), 4)
    study.tell(study.ask(), 1.0)
    assert (
        study.sampler.infer_relative_search_space(study, new_trial(study)).keys() == MIXED.keys()
    )


def test_enqueued_trials() -> None:
    study = mixed_study(RocketSampler(seed=0), 5)
    full = study.trials[0].params | {"depth": 7}
    study.enqueue_trial(full)
    study.enqueue_trial({"kind": "c", "x": 2.5})
    study.enqueue_trial({"x": 50.0, "depth": 3})
    assert study.ask(MIXED).params == full
    part = study.ask(MIXED).params
    assert_valid(part, MIXED)
    assert (part["kind"], part["x"]) == ("c", 2.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Optuna's, about the range
        outside = study.ask(MIXED).params
    assert (outside.pop("x"), outside["depth"]) == (50.0, 3)
    assert_valid(outside, {name: known for name, known in MIXED.items() if name != "x"})


def test_an_enqueued_value_decides_what_is_suggested_with_it() -> None:
    """The best ``y`` is where ``x`` is, so it must follow an ``x`` that is given."""
    space: dict[str, BaseDistribution] = {
        "x": FloatDistribution(0, 1),
        "y": FloatDistribution(0, 1),
    }
    differences: list[float] = []
    for seed in range(6):
        study = optuna.create_study(sampler=RocketSampler(seed=seed))
        for k in range(64):
            x, y = (k % 8 + 0.5) / 8, (k // 8 + 0.5) / 8
            study.add_trial(
                optuna.create_trial(
                    params={"x": x, "y": y}, distributions=space, value=10 * (x - y) ** 2
                )
            )
        given = (0.1, 0.9)[seed % 2]
        study.enqueue_trial({"x": given})
        differences.append(abs(study.ask(space).params["y"] - given))
    assert sum(difference < 0.25 for difference in differences) >= 4


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_partial_fixed_sampler() -> None:
    study = mixed_study(RocketSampler(seed=0), 5)
    study.sampler = optuna.samplers.PartialFixedSampler({"kind": "c", "depth": 2}, study.sampler)
    for _ in range(4):
        trial = study.ask(MIXED)
        study.tell(trial, mixed_value(trial.params))
        assert_valid(trial.params, MIXED)
        assert (trial.params["kind"], trial.params["depth"]) == ("c", 2)
    assert len({str(trial.params) for trial in study.trials}) == 9


@pytest.mark.parametrize(
    "pruner",
    [
        optuna.pruners.HyperbandPruner(max_resource=9),
        optuna.pruners.SuccessiveHalvingPruner(),
        optuna.pruners.PercentilePruner(75.0),
    ],
    ids=lambda pruner: type(pruner).__name__,
)
def test_pruners(pruner: BasePruner) -> None:
    def objective(trial: Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for step in range(1, 9):
            trial.report(x + 1 / step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x

    study = optuna.create_study(
        study_name="brackets", sampler=RocketSampler(seed=0), pruner=pruner
    )
    with sampler_log() as messages:
        study.optimize(objective, n_trials=25)
    assert messages == []
    assert len({trial.params["x"] for trial in study.trials}) == 25
    assert min(trial.params["x"] for trial in study.trials) < 0.01  # random search: .04


# Many trials


def test_ten_thousand_trials() -> None:
    space: dict[str, BaseDistribution] = {
        "x": FloatDistribution(-1, 1),
        "n": IntDistribution(1, 20),
        "c": CategoricalDistribution(["a", "b"]),
    }
    draw = random.Random(0)
    states = [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    trials = []
    for k in range(10_000):
        state = states[k % 4]
        x, n = draw.uniform(-1, 1), draw.randint(1, 20)
        trials.append(
            optuna.create_trial(
                state=state,
                params={"x": x, "n": n, "c": draw.choice("ab")},
                distributions=space,
                value=x**2 + n if state == TrialState.COMPLETE else None,
                intermediate_values={1: x**2 + n + 1},
            )
        )
    study.add_trials(trials)
    with sampler_log() as messages:
        assert_valid(study.ask(space).params, space)
    assert messages == []


@pytest.mark.parametrize("n_params", [1, 2, 3, 4, 6])
def test_the_first_trials_of_any_space_lie_apart(n_params: int) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    names = [f"x{i}" for i in range(n_params)]
    study.optimize(lambda trial: sum(trial.suggest_float(x, 0, 1) for x in names), n_trials=4)
    points = np.array([[trial.params[name] for name in names] for trial in study.trials])
    apart = np.abs(points[:, None] - points[None]).max(-1)[np.triu_indices(4, 1)]
    assert apart.min() > 0.1


@pytest.mark.parametrize("n_params", [1, 2, 3])
def test_a_start_that_fails_for_long_leaves_the_centre(n_params: int) -> None:
    """A corner with a twentieth of the space is all that works."""
    least = 1 - 0.05 ** (1 / n_params)

    def objective(trial: optuna.Trial) -> float:
        x = [trial.suggest_float(f"x{i}", 0, 1) for i in range(n_params)]
        return sum(x) if min(x) > least else math.nan

    for seed in range(3):
        study = optuna.create_study(sampler=RocketSampler(seed=seed))
        study.optimize(objective, n_trials=50)
        assert any(trial.state == TrialState.COMPLETE for trial in study.trials)


def test_the_first_trial_may_have_hundreds_of_parameters() -> None:
    """Each is near the middle of its own range, also those that stand for themselves."""

    def objective(trial: Trial) -> float:
        trial.suggest_categorical("kind", ["a", "b"])
        x = np.array([trial.suggest_float(f"x{i:03d}", 0, 1) for i in range(120)])
        return float(np.abs(x - 0.5).mean())

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=3)
    first = [value for name, value in study.trials[0].params.items() if name != "kind"]
    assert max(abs(value - 0.5) for value in first) < 0.05
    assert len(set(first)) == 120
    assert study.trials[2].value is not None and study.trials[2].value > 0.05, "then they spread"


def test_a_report_at_a_negative_step_costs_no_suggestion() -> None:
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for k in range(8):
        study.add_trial(
            optuna.create_trial(params={"x": k / 8}, distributions=space, value=float(k))
        )
    for step in (-7, -1):
        pruned = optuna.create_trial(
            state=TrialState.PRUNED,
            params={"x": 0.3},
            distributions=space,
            intermediate_values={step: 2.0},
        )
        study.add_trial(pruned)
    with sampler_log() as log:
        study.ask(space)
    assert log == []


def test_experience_is_left_out_of_the_first_trial_of_several_objectives() -> None:
    firsts = []
    for priors in (None, {"x": 0.9}):
        sampler = RocketSampler(seed=0, priors=priors)
        study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
        firsts.append(study.ask().suggest_float("x", 0, 1))
    assert firsts[0] == firsts[1]
