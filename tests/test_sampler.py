from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import json
import math
import pickle
from typing import Any
from unittest import mock
import warnings

from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import PartialFixedSampler
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.testing.pytest_samplers import BasicSamplerTestCase
from optuna.testing.pytest_samplers import RelativeSamplerTestCase
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketSampler
from tests.support import MIXED
from tests.support import Crash
from tests.support import all_params
from tests.support import assert_valid
from tests.support import mixed_study
from tests.support import mixed_value
from tests.support import new_trial
from tests.support import print_mixed
from tests.support import run_here_named
from tests.support import sampler_log


class TestOptunaSuite(BasicSamplerTestCase, RelativeSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: RocketSampler()


# Reproducible


def constant(_: Mapping[str, Any]) -> float:
    return 1.0


def test_same_seed_same_study() -> None:
    first = all_params(mixed_study(RocketSampler(seed=1), 15))
    assert all_params(mixed_study(RocketSampler(seed=1), 15)) == first
    other = all_params(mixed_study(RocketSampler(seed=2), 15))
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_same_seed_same_study_of_a_constant() -> None:
    first = all_params(mixed_study(RocketSampler(seed=1), 15, constant))
    assert all_params(mixed_study(RocketSampler(seed=1), 15, constant)) == first
    other = all_params(mixed_study(RocketSampler(seed=2), 15, constant))
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert len({str(params) for params in first}) == 15


def test_no_seed_no_repetition() -> None:
    first, second = (mixed_study(RocketSampler(), 2) for _ in range(2))
    assert all(a != b for a, b in zip(all_params(first), all_params(second), strict=True))


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_same_study_in_another_process(hash_seed: str) -> None:
    here = all_params(mixed_study(RocketSampler(seed=3), 15))
    there = run_here_named(print_mixed, "3", "15", PYTHONHASHSEED=hash_seed)
    assert there.splitlines() == [str(params) for params in here]


def test_order_of_suggestions_in_the_objective_does_not_matter() -> None:
    sampler = RocketSampler(seed=4)
    study = mixed_study(sampler, 5)
    trial = new_trial(study)
    forward = sampler.sample_relative(study, trial, dict(MIXED))
    backward = sampler.sample_relative(study, trial, dict(reversed(MIXED.items())))
    assert forward == backward


def test_a_seed_may_be_a_numpy_integer() -> None:
    first = all_params(mixed_study(RocketSampler(seed=7), 3))
    assert all_params(mixed_study(RocketSampler(seed=np.int64(7)), 3)) == first  # type: ignore[arg-type]


def test_reseed_rng_changes_suggestions() -> None:
    sampler = RocketSampler(seed=1)
    study = mixed_study(sampler, 5)
    trial = new_trial(study)
    before = sampler.sample_relative(study, trial, MIXED)
    assert sampler.sample_relative(study, trial, MIXED) == before
    sampler.reseed_rng()
    assert sampler.sample_relative(study, trial, MIXED) != before


def test_one_sampler_may_serve_two_studies() -> None:
    values = (mixed_value, constant)
    alone = [all_params(mixed_study(RocketSampler(seed=6), 12, value)) for value in values]
    sampler = RocketSampler(seed=6)
    studies = [optuna.create_study(sampler=sampler) for _ in range(2)]
    for study, value in 12 * list(zip(studies, values, strict=True)):
        trial = study.ask(MIXED)
        study.tell(trial, value(trial.params))
    assert [all_params(study) for study in studies] == alone


def test_n_trials_is_accepted_and_outlived() -> None:
    study = mixed_study(RocketSampler(seed=1, n_trials=4), 8)
    assert len(study.trials) == 8


@pytest.mark.parametrize("n_used", [0, 6])
def test_pickled_sampler_and_study_go_on_alike(n_used: int) -> None:
    expected = all_params(mixed_study(RocketSampler(seed=5), 10))
    study: Study = pickle.loads(pickle.dumps(mixed_study(RocketSampler(seed=5), n_used)))
    study.sampler = pickle.loads(pickle.dumps(study.sampler))
    for _ in range(n_used, 10):
        trial = study.ask(MIXED)
        study.tell(trial, mixed_value(trial.params))
    assert all_params(study) == expected


# Arguments


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("seed", -1),
        ("seed", "a"),
        ("seed", True),
        ("seed", 1.0),
        ("n_trials", 0),
        ("n_trials", -3),
        ("n_trials", 1.5),
        ("n_trials", True),
        ("checkpoint", 5),
        ("checkpoint", b"weights"),
    ],
)
def test_bad_argument_is_named(argument: str, value: object) -> None:
    with pytest.raises(ValueError) as caught:
        RocketSampler(**{argument: value})  # type: ignore[arg-type]
    assert f"{argument}={value!r}" in str(caught.value)


# Search spaces


def choices_study(space: dict[str, BaseDistribution], n_trials: int, seed: int = 0) -> Study:
    """A study whose value is a mere hash, so that nothing can be learned."""
    study = optuna.create_study(sampler=RocketSampler(seed=seed))
    for _ in range(n_trials):
        trial = study.ask(space)
        assert_valid(trial.params, space)
        study.tell(trial, float(len(str(trial.params)) % 7))
    return study


def distinct(study: Study) -> int:
    return len({str(sorted(trial.params.items())) for trial in study.trials})


@pytest.mark.parametrize(
    "space",
    [
        {"n": IntDistribution(1, 10**6, log=True), "m": IntDistribution(3, 5, log=True)},
        {"s": FloatDistribution(-0.3, 0.9, step=0.3), "t": FloatDistribution(0, 1.2, step=0.4)},
        {"k": IntDistribution(-(2**53), 2**53), "j": IntDistribution(-9, 9, step=9)},
        {"c": CategoricalDistribution([None, True, "1", 1.5, "None", 7])},
        {"c": CategoricalDistribution([0, False, 1, True])},
        {"e": FloatDistribution(1e-300, 1e300, log=True), "f": FloatDistribution(0, 1e-300)},
        {"many": CategoricalDistribution(list(range(1000))), "x": FloatDistribution(0, 1)},
        {"tiny": FloatDistribution(1.0, math.nextafter(1.0, 2.0)), "x": FloatDistribution(0, 1)},
        {"": FloatDistribution(0, 1), "naïve\n名": FloatDistribution(0, 1)},
    ],
    ids=str,
)
def test_unusual_distributions(space: dict[str, BaseDistribution]) -> None:
    with sampler_log() as messages:
        choices_study(space, 12)
    assert messages == []


def test_the_widest_range_of_doubles_is_modelled() -> None:
    space: dict[str, BaseDistribution] = {
        "huge": FloatDistribution(-1e308, 1e308),
        "x": FloatDistribution(0, 1),
    }
    with sampler_log() as messages:
        study = choices_study(space, 8)
    assert messages == [] and distinct(study) == 8


def test_a_range_wider_than_doubles_is_logged_once_and_drawn_at_random() -> None:
    space: dict[str, BaseDistribution] = {
        "huge": IntDistribution(-(10**400), 10**400),
        "x": FloatDistribution(0, 1),
    }
    sampler = RocketSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    with sampler_log() as messages:
        drawn = {
            sampler.sample_independent(
                study, study.ask()._cached_frozen_trial, "huge", space["huge"]
            )
            for _ in range(5)
        }
    assert len(messages) == 1 and "'huge'" in messages[0]
    assert len(drawn) == 5 and all(type(value) is int for value in drawn)


def test_hundred_parameters_and_what_is_stored() -> None:
    space: dict[str, BaseDistribution] = {
        f"a_rather_long_name_of_parameter_{k}": FloatDistribution(1e-9, 1, log=True)
        for k in range(100)
    }
    study = choices_study(space, 6)
    for trial in study.trials[1:]:
        text = trial.system_attrs["rocket:suggestion"]
        assert isinstance(text, str) and len(text.encode()) < 60_000
        assert json.loads(text)["params"] == trial.params
        assert set(trial.system_attrs) == {"rocket:suggestion"}


def test_what_is_stored_stays_small_in_a_huge_space() -> None:
    space: dict[str, BaseDistribution] = {
        f"{k}-{'naïve' * 30}": FloatDistribution(0, 1) for k in range(250)
    }
    study = choices_study(space, 3)
    assert all(
        len(trial.system_attrs["rocket:suggestion"].encode()) < 60_000
        for trial in study.trials[1:]
    )


def test_one_write_per_trial() -> None:
    study = mixed_study(RocketSampler(seed=0), 1)
    storage = study._storage
    with mock.patch.object(
        storage, "set_trial_system_attr", wraps=storage.set_trial_system_attr
    ) as write:
        for expected in range(1, 5):
            study.tell(study.ask(MIXED), 0.0)
            assert write.call_count == expected


@pytest.mark.parametrize("name", ["relative", "other"])
def test_a_parameter_asked_for_by_itself_leaves_what_is_stored(name: str) -> None:
    study = choices_study({"x": FloatDistribution(0, 1)}, 6)
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    before = study.trials[-1].system_attrs["rocket:suggestion"]
    trial.suggest_float(name, 0, 1)
    assert study.trials[-1].system_attrs["rocket:suggestion"] == before


def test_all_parameters_have_one_value() -> None:
    space: dict[str, BaseDistribution] = {
        "a": CategoricalDistribution(["only"]),
        "b": IntDistribution(3, 3),
        "c": FloatDistribution(2, 2),
    }
    study = choices_study(space, 3)
    assert study.sampler.infer_relative_search_space(study, new_trial(study)) == {}


def test_nothing_is_relative_in_the_first_trial() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    trial = new_trial(study)
    assert study.sampler.infer_relative_search_space(study, trial) == {}
    assert study.sampler.sample_relative(study, trial, {}) == {}


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
@pytest.mark.parametrize("first", ["x", "y"])
def test_values_held_by_partial_fixed_sampler_are_known(first: str) -> None:
    """The best ``x`` moves with ``y``; the agent knows of the held value as of an enqueued one."""

    def valley(trial: optuna.Trial) -> float:
        point = {name: trial.suggest_float(name, 0, 1) for name in sorted("xy", key=first.__ne__)}
        return (point["x"] - point["y"]) ** 2

    def last_trials(hold: bool) -> list[float]:
        study = optuna.create_study(sampler=RocketSampler(seed=0))
        study.optimize(valley, n_trials=15)
        if hold:
            inner = PartialFixedSampler({"absent": 3}, study.sampler)
            study.sampler = PartialFixedSampler({"y": 0.9}, inner)
        for _ in range(6):
            if not hold:
                study.enqueue_trial({"y": 0.9})
            study.optimize(valley, n_trials=1)
        return [trial.params["x"] for trial in study.trials[15:]]

    assert last_trials(hold=True) == last_trials(hold=False)
    assert min(abs(x - 0.9) for x in last_trials(hold=True)) < 0.05


def test_a_parameter_that_appears_late_is_learned() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda t: t.suggest_float("x", 0, 1), n_trials=6)
    study.optimize(lambda t: t.suggest_float("x", 0, 1) + t.suggest_float("y", 0, 1), n_trials=20)
    late = [trial.params["y"] for trial in study.trials[-8:]]
    assert len(set(late)) > 1 and float(np.mean(late)) < 0.4
    assert set(study.sampler.infer_relative_search_space(study, new_trial(study))) == {"x", "y"}


@pytest.mark.parametrize("second", [(0, 5), (0, 40), (20, 30), (9, 21)])
def test_a_range_may_change(second: tuple[int, int]) -> None:
    def objective(trial: Trial, low: int, high: int) -> float:
        assert low <= trial.suggest_float("f", low, high) <= high
        assert low + 1 <= trial.suggest_float("log", low + 1, high + 1, log=True) <= high + 1
        assert low <= trial.suggest_int("n", low, high) <= high
        return float(trial.params["f"])

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: objective(trial, 0, 10), n_trials=6)
    study.optimize(lambda trial: objective(trial, *second), n_trials=6)
    assert distinct(study) == 12
    # The new range is modelled jointly again: the suggestion is stored with all parameters.
    stored = json.loads(study.trials[-1].system_attrs["rocket:suggestion"])
    assert stored["params"] == pytest.approx(study.trials[-1].params)


def test_three_levels_of_conditions() -> None:
    def objective(trial: Trial) -> float:
        if trial.suggest_categorical("model", ["linear", "net"]) == "linear":
            return 4 + trial.suggest_float("ridge", 1e-3, 1, log=True)
        if trial.suggest_int("layers", 1, 3) == 1:
            return 3.0
        if trial.suggest_categorical("skip", [True, False]):
            return trial.suggest_float("gate", 0, 1, step=0.25)
        return 2.0

    with sampler_log() as messages:
        study = optuna.create_study(sampler=RocketSampler(seed=0))
        study.optimize(objective, n_trials=40)
    assert messages == []
    seen = {name for trial in study.trials for name in trial.params}
    assert seen == {"model", "ridge", "layers", "skip", "gate"}


# Finite spaces


@pytest.mark.parametrize("seed", [0, 1])
def test_no_repetition_in_a_small_space_and_life_after_it(seed: int) -> None:
    space: dict[str, BaseDistribution] = {
        "a": CategoricalDistribution(["x", "y", "z"]),
        "b": IntDistribution(2, 8, step=2),
        "c": FloatDistribution(0.0, 0.5, step=0.5),
    }
    assert distinct(choices_study(space, 24, seed)) == 24
    assert distinct(choices_study(space, 30, seed)) == 24


def test_failed_and_pruned_trials_count_as_tried() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    states = (TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED)
    for k in range(12):
        trial = study.ask({"n": IntDistribution(1, 12)})
        state = states[k % 3]
        study.tell(trial, 1.0 if state == TrialState.COMPLETE else None, state)
    assert distinct(study) == 12


def test_running_trials_count_as_tried() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.tell(study.ask({"n": IntDistribution(1, 12)}), 1.0)
    for _ in range(11):
        study.ask({"n": IntDistribution(1, 12)})
    assert distinct(study) == 12


def test_no_repetition_in_a_space_of_log_integers() -> None:
    space: dict[str, BaseDistribution] = {
        "n": IntDistribution(1, 20, log=True),
        "m": IntDistribution(5, 7, log=True),
    }
    assert distinct(choices_study(space, 60)) == 60


def test_a_space_of_200_is_exhausted_without_repetition() -> None:
    space: dict[str, BaseDistribution] = {
        "a": IntDistribution(1, 20),
        "b": FloatDistribution(0.1, 1.0, step=0.1),
    }
    assert distinct(choices_study(space, 200)) == 200


def test_no_repetition_in_a_larger_grid() -> None:
    space: dict[str, BaseDistribution] = {
        "a": IntDistribution(1, 40),
        "b": IntDistribution(1, 40),
    }
    assert distinct(choices_study(space, 120)) == 120


@pytest.mark.slow
def test_a_space_that_is_not_enumerated_at_first_is_exhausted() -> None:
    space: dict[str, BaseDistribution] = {
        "a": IntDistribution(1, 30),
        "b": IntDistribution(1, 20),
    }
    assert distinct(choices_study(space, 600)) == 600


def branches(trial: Trial) -> float:
    """Eight configurations: a with one of four, b with one of three, c alone."""
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    if kind == "a":
        return float(trial.suggest_int("n", 1, 4))
    if kind == "b":
        return trial.suggest_float("m", 0, 1, step=0.5)
    return 2.0


@pytest.mark.parametrize("seed", range(4))
def test_no_repetition_of_active_configurations(seed: int) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=seed))
    study.optimize(branches, n_trials=8)
    assert distinct(study) == 8
    study.optimize(branches, n_trials=4)


def test_no_repetition_of_active_configurations_when_a_branch_always_fails() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))

    def objective(trial: Trial) -> float:
        value = branches(trial)
        if trial.params["kind"] == "a":
            raise Crash
        return value

    study.optimize(objective, n_trials=8, catch=(Crash,))
    assert distinct(study) == 8


# Any space, any history


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


@st.composite
def float_distributions(draw: st.DrawFn) -> FloatDistribution:
    if draw(st.booleans()):
        low = draw(floats(1e-12, 1e6))
        return FloatDistribution(low, low * draw(floats(1, 1e9)), log=True)
    low, width = draw(floats(-1e12, 1e12)), draw(floats(0, 1e12))
    if draw(st.booleans()):
        return FloatDistribution(low, low + width)
    step, first = draw(st.sampled_from([0.1, 0.25, 3.0])), round(low / 1e10)
    last = first + draw(st.integers(0, 50))
    with warnings.catch_warnings():  # rounding may cost the last step
        warnings.simplefilter("ignore", UserWarning)
        return FloatDistribution(first * step, last * step, step=step)


@st.composite
def int_distributions(draw: st.DrawFn) -> IntDistribution:
    if draw(st.booleans()):
        low = draw(st.integers(1, 1000))
        return IntDistribution(low, low + draw(st.integers(0, 10**6)), log=True)
    low, step = draw(st.integers(-(10**9), 10**9)), draw(st.sampled_from([1, 2, 7]))
    return IntDistribution(low, low + step * draw(st.integers(0, 10**6)), step=step)


CHOICES = st.lists(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), floats(-5, 5), st.text(max_size=3)),
    min_size=1,
    max_size=6,
)
SPACES = st.dictionaries(
    st.text(min_size=1, max_size=4),
    st.one_of(float_distributions(), int_distributions(), CHOICES.map(CategoricalDistribution)),
    min_size=1,
    max_size=5,
)
VALUES = st.one_of(floats(-1e300, 1e300), st.sampled_from([math.inf, -math.inf, 0.0]))


@st.composite
def finished_trials(draw: st.DrawFn, space: dict[str, BaseDistribution]) -> FrozenTrial:
    """A finished trial with some of the parameters, some of them on another range."""
    random = optuna.samplers.RandomSampler(seed=draw(st.integers(0, 2**32 - 1)))
    other = draw(st.dictionaries(st.sampled_from(sorted(space)), float_distributions()))
    distributions = {name: known for name, known in space.items() if draw(st.integers(0, 4)) > 0}
    for name, known in distributions.items():
        moved = other.get(name)
        if isinstance(known, FloatDistribution) and moved is not None and moved.log == known.log:
            distributions[name] = moved
    study = optuna.create_study(sampler=random)
    params = study.ask(distributions).params
    state = draw(st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]))
    reports = draw(st.dictionaries(st.integers(0, 9), VALUES | st.just(math.nan), max_size=3))
    return optuna.create_trial(
        state=state,
        value=draw(VALUES) if state == TrialState.COMPLETE else None,
        params=params,
        distributions=distributions,
        intermediate_values=reports,
    )


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    data=st.data(),
    space=SPACES,
    direction=st.sampled_from([StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]),
)
def test_every_suggestion_is_valid(
    data: st.DataObject, space: dict[str, BaseDistribution], direction: StudyDirection
) -> None:
    study = optuna.create_study(direction=direction, sampler=RocketSampler(seed=0))
    study.add_trials(data.draw(st.lists(finished_trials(space), max_size=8)))
    with sampler_log() as messages:
        trial = study.ask(space)
        assert_valid(trial.params, space)
        wide = {name: known for name, known in space.items() if not known.single()}
        params = study.sampler.sample_relative(study, new_trial(study), wide)
        # A parameter that is conditional as far as the trials show it may be left out.
        assert_valid(params, {name: wide[name] for name in params})
    assert messages == []
