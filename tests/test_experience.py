"""Earlier studies and priors: what is read of them, what they do, and what they must not do."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.study import StudyDirection
import pytest
import torch

from optuna_rocket import RocketSampler
from optuna_rocket import experience as reading
from optuna_rocket.agent import experience as agent_experience
from optuna_rocket.explanation import explain
from optuna_rocket.explanation import influence
from optuna_rocket.priors import parse
from optuna_rocket.source_studies import read_source
from optuna_rocket.space import Space
from tests.related_studies import BEST
from tests.related_studies import SPACE
from tests.related_studies import filled
from tests.related_studies import loss
from tests.related_studies import target
from tests.related_studies import with_sources
from tests.support import all_params
from tests.support import package_log


def mean_of_first(n: int, *sources: Any, **arguments: Any) -> float:
    """Mean over seeds of the best value after ``n`` trials."""
    bests = []
    for seed in range(3):
        sampler = RocketSampler(seed=seed, source_studies=sources, **arguments)
        bests.append(target(sampler, n).best_value)
    return sum(bests) / len(bests)


def rounded(params: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(
        float(f"{value:.6g}") if isinstance(value, float) else value
        for _, value in sorted(params.items())
    )


# What sources do


def test_sources_speed_up_a_study_like_theirs() -> None:
    assert mean_of_first(4, filled(), filled(seed=1)) < 0.5 * mean_of_first(4)


def test_the_first_trials_are_the_best_ones_of_the_sources() -> None:
    sources = [filled(seed=seed) for seed in range(4)]
    study = target(with_sources(*sources), 6)
    bests = {rounded(source.best_params) for source in sources}
    own = [rounded(trial.params) for trial in study.trials]
    # The second and the fifth trial are controls; a fourth source has no turn of its own.
    assert len({own[0], own[2], own[3]}) == 3 and {own[0], own[2], own[3]} < bests
    assert not bests & {own[1], own[4]}


def test_what_a_best_trial_had_no_use_for_is_not_missing() -> None:
    def conditional(trial: optuna.Trial) -> float:
        on = trial.suggest_categorical("on", [False, True])
        x = trial.suggest_float("x", 0, 1)
        return x + (1 + trial.suggest_float("y", 0, 1) if on else 0)

    def short(trial: optuna.Trial) -> float:
        return abs(trial.suggest_float("x", 0, 1) - 0.8)

    sources = []
    for objective in (conditional, short):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(objective, n_trials=20)
        sources.append(study)
    first = optuna.create_study(sampler=with_sources(*sources)).ask()
    # The first source knows all parameters, though its best trial has no ``y``.
    assert first.suggest_categorical("on", [False, True]) is False
    assert first.suggest_float("x", 0, 1) == pytest.approx(sources[0].best_params["x"])


def test_a_maximised_source_means_the_same() -> None:
    twin = filled(value=lambda params: -loss(params), direction=StudyDirection.MAXIMIZE)
    assert all_params(target(with_sources(twin), 6)) == all_params(
        target(with_sources(filled()), 6)
    )


def reversed_sources(count: int) -> list[optuna.Study]:
    return [
        filled(value=lambda params: -loss(params), seed=seed, name=f"wrong {seed}")
        for seed in range(count)
    ]


def test_reversed_sources_help_once_they_are_found_out() -> None:
    # Two of the first three trials are what they think best.
    assert mean_of_first(5, *reversed_sources(3)) < 0.6 * mean_of_first(5)
    assert mean_of_first(7, *reversed_sources(3)) < 0.3 * mean_of_first(5)


def test_reversed_sources_are_found_out_where_they_are_not_turned_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_experience, "TURNED_ODDS", -math.inf)
    assert mean_of_first(15, *reversed_sources(3)) < mean_of_first(4)


def test_turning_round_changes_nothing_for_honest_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [filled(), filled(seed=1)]
    before = all_params(target(with_sources(*sources), 15))
    monkeypatch.setattr(agent_experience, "TURNED_ODDS", -math.inf)
    assert all_params(target(with_sources(*sources), 15)) == before


def test_unrelated_sources_are_not_believed_turned_round() -> None:
    rng, turned = random.Random(0), []
    for seed in range(8):
        unrelated = [filled(value=lambda _: rng.random(), seed=3 * seed + k) for k in range(3)]
        study = filled(12, seed=100 + seed)
        study.sampler = with_sources(*unrelated)
        turned.append(-sum(min(share, 0.0) for share in influence(study).values()))
    assert sum(turned) / len(turned) < 0.1


def test_suggestions_repeat_in_another_process_of_the_study() -> None:
    sources = [filled(), filled(seed=1)]
    whole = target(with_sources(*sources), 12)
    study = optuna.create_study(sampler=with_sources(*sources))
    for k in range(12):
        study.sampler = with_sources(*sources) if k % 4 == 3 else study.sampler
        trial = study.ask(SPACE)
        study.tell(trial, loss(trial.params))
    assert all_params(study) == all_params(whole)


def test_without_sources_nothing_changes() -> None:
    plain = all_params(target(RocketSampler(seed=0), 8))
    assert all_params(target(RocketSampler(seed=0, source_studies=[], priors={}), 8)) == plain


def test_spaces_meet_by_name_and_value() -> None:
    theirs: dict[str, BaseDistribution] = {
        "rate": FloatDistribution(1e-7, 1e-1, log=True),
        "x": IntDistribution(0, 2),
        "kind": CategoricalDistribution(["c", "d", "a"]),
        "other": FloatDistribution(0, 1),
    }
    study = optuna.create_study()
    for k, (x, kind) in enumerate([(0, "a"), (1, "c"), (2, "d")] * 3):
        params = {"rate": 10.0 ** -(2 + k / 2), "x": x, "kind": kind, "other": 0.5}
        study.add_trial(optuna.create_trial(params=params, distributions=theirs, value=float(k)))
    sources = reading._over([read_source(study)], Space(SPACE))
    assert sources is not None
    history = sources.remembered.history
    kinds, rates, xs = history.units[0].T  # columns are in order of the names
    assert kinds[:3].tolist() == [0.0, 2.0, 3.0]  # "d" is none of today's choices
    assert rates[:3].tolist() == pytest.approx([0.6, 0.5, 0.4])
    assert xs[:3].tolist() == [0.0, 1.0, 2.0]  # beyond today's range
    assert bool(sources.remembered.geometry.present.all())


def test_a_source_without_a_parameter_says_nothing_of_it() -> None:
    part = {name: SPACE[name] for name in ("rate", "kind")}
    source = filled(value=lambda params: loss({**params, "x": 0.9}), space=part)
    sources = reading._over([read_source(source)], Space(SPACE))
    assert sources is not None
    units = torch.rand(2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    units[:, :2] = torch.tensor([1.0, 0.3], dtype=torch.float64)
    said = sources.read(units, torch.ones_like(units, dtype=torch.bool))
    assert said[0, 0] == said[0, 1]
    means = [target(with_sources(source, seed=seed), 6).best_value or 0 for seed in range(3)]
    assert sum(means) / 3 < 1


def test_sources_without_a_common_parameter_do_nothing() -> None:
    other = filled(space={"z": FloatDistribution(0, 1)}, value=lambda params: float(params["z"]))
    plain = all_params(target(RocketSampler(seed=0), 8))
    assert all_params(target(with_sources(other), 8)) == plain


def test_conditional_and_late_parameters() -> None:
    def objective(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["a", "b"])
        value = trial.suggest_float("x", 0, 1)
        if kind == "a":
            value += trial.suggest_float("only_a", 0, 1)
        if trial.number > 3:
            value += trial.suggest_float("late", 0, 1)
        return value

    source = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    source.optimize(objective, n_trials=20)
    study = optuna.create_study(sampler=with_sources(source))
    with package_log("experience") as log:
        study.optimize(objective, n_trials=15)
    assert not log
    assert study.best_value < 0.3


# How much is believed


def test_the_right_source_gains_and_the_wrong_one_loses() -> None:
    right, wrong = (
        filled(name="right"),
        filled(value=lambda params: -loss(params), seed=1, name="wrong"),
    )
    study = filled(12, seed=5)
    study.sampler = with_sources(right, wrong)
    found = influence(study)
    assert list(found) == ["right", "wrong"]
    assert found["right"] > 0.5
    assert found["wrong"] < 0.2


def test_explanations_tell_what_helped() -> None:
    sources = [filled(name="first"), filled(seed=1, name="first")]
    study = optuna.create_study(sampler=RocketSampler(seed=0, source_studies=sources, priors=BEST))
    for _ in range(9):
        trial = study.ask(SPACE)
        study.tell(trial, loss(trial.params))
    last = explain(study, 8)
    assert set(last.sources) == {"first", "first (2)"} and sum(last.sources.values()) > 0.3
    assert set(last.priors) == set(BEST)
    assert "Of 2 earlier studies 2 have influence" in last.text
    control = explain(study, 1)
    assert not any(control.sources.values())
    study.sampler = RocketSampler(seed=0)
    assert explain(study, 8).sources == {} and "earlier studies" not in explain(study, 8).text
    assert influence(study) == {}


def test_it_is_said_that_sources_are_read_turned_round() -> None:
    study = optuna.create_study(sampler=with_sources(*reversed_sources(2)))
    with package_log("experience") as log:
        for _ in range(9):
            trial = study.ask(SPACE)
            study.tell(trial, loss(trial.params))
    assert len(log) == 2 and all("wrong" in line and "turned round" in line for line in log)
    found = influence(study)
    assert set(found) == {"wrong 0", "wrong 1"} and sum(found.values()) < -0.5
    told = explain(study, 8)
    assert min(told.sources.values()) < -0.1
    assert "foretells the opposite" in told.text and "check its direction" in told.text


def test_one_surprise_is_not_enough_to_read_a_source_turned_round() -> None:
    study = optuna.create_study(sampler=with_sources(*reversed_sources(1)))
    for _ in range(3):
        assert min(influence(study).values(), default=0.0) >= 0
        trial = study.ask(SPACE)
        study.tell(trial, loss(trial.params))


def test_agreement_leaves_a_source_itself_out() -> None:
    sources = reading._over([read_source(filled(seed=seed)) for seed in range(2)], Space(SPACE))
    single = reading._over([read_source(filled())], Space(SPACE))
    assert sources is not None and single is not None
    assert single.consensus.tolist() == pytest.approx([1]) and single.agreement.tolist() == [0]
    assert sources.agreement.tolist() == pytest.approx((2 * sources.consensus - 1).tolist())
    assert 0.5 < float(sources.agreement.min()) < 1


def test_elites_of_turned_sources_are_their_worst_trials() -> None:
    sources = reading._over([read_source(filled())], Space(SPACE))
    twin = reading._over([read_source(reversed_sources(1)[0])], Space(SPACE))
    assert sources is not None and twin is not None
    turned = twin.turned()
    assert torch.equal(turned.elites, sources.elites)
    units = torch.rand(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    on = torch.ones_like(units, dtype=torch.bool)
    assert torch.equal(turned.read(units, on), sources.read(units, on))


# Priors


def test_good_priors_help_at_once() -> None:
    plain = mean_of_first(3)
    assert mean_of_first(3, priors=BEST) < 0.6 * plain
    soft = {
        "rate": {"mean": 0.02, "spread": 0.01},
        "x": (0.8, 1.0),
        "kind": {"c": 0.8, "b": 0.2},
    }
    assert mean_of_first(3, priors=soft) < 0.6 * plain


@pytest.mark.parametrize("known", ["rate", "x"])
def test_a_guess_about_one_parameter_leaves_the_others_at_the_centre(known: str) -> None:
    plain = target(RocketSampler(seed=0), 1).trials[0].params
    with_guess = target(RocketSampler(seed=0, priors={known: BEST[known]}), 1).trials[0].params
    assert with_guess[known] == pytest.approx(BEST[known], rel=0.1)
    assert {**with_guess, known: plain[known]} == plain


def test_a_source_without_a_parameter_leaves_it_at_the_centre() -> None:
    space = {name: x for name, x in SPACE.items() if name != "rate"}
    lacks = filled(value=lambda params: abs(params["x"] - 0.9), space=space)
    first = target(with_sources(lacks), 1).trials[0].params
    assert first["rate"] == target(RocketSampler(seed=0), 1).trials[0].params["rate"]
    assert abs(first["x"] - 0.9) < 0.15


@pytest.mark.parametrize("guess", [-3, 0, (-4, -2), {"mean": -3.0, "spread": 1.0}])
def test_an_exponent_is_no_guess_of_a_parameter_on_a_log_scale(guess: Any) -> None:
    with package_log("experience") as log:
        found = target(RocketSampler(seed=0, priors={"rate": guess}), 3)
    assert "priors['rate'] is left out" in "".join(log)
    assert all_params(found) == all_params(target(RocketSampler(seed=0), 3))


def test_wrong_priors_are_forgotten() -> None:
    wrong = {"rate": 1e-5, "x": 0.0, "kind": "a"}
    assert mean_of_first(15, priors=wrong) < mean_of_first(4)


def test_priors_that_mean_nothing_do_nothing() -> None:
    plain = all_params(target(RocketSampler(seed=0), 6))
    priors = {"absent": 3, "kind": "not a choice", "x": "text", "rate": 1e6}
    with package_log("experience") as log:
        assert all_params(target(RocketSampler(seed=0, priors=priors), 6)) == plain
    assert len(log) == 4
    for name in ("'kind'", "'x'", "'rate'"):
        assert f"priors[{name}] is left out" in "".join(log)
    assert "priors names 'absent', which no trial has had so far" in "".join(log)


@pytest.mark.parametrize(
    ("name", "guess", "fix"),
    [
        ("x", {"mean": 9.0, "spread": 0.1}, "Give a value from 0.0 to 1.0, a part of that as a"),
        ("x", {"x": 1}, "{'mean': m, 'spread': s}, in its own units."),
        ("x", (0, 1), "a part of that as a (low, high) range"),
        ("rate", -3, "in its own units, not as a logarithm."),
        ("kind", {"mean": 1.0, "spread": 0.5}, "Give one of its choices, or {choice: weight}"),
        ("kind", {"a": 1, "b": 1, "c": 1}, "with weights that are not all alike."),
    ],
)
def test_a_guess_that_is_left_out_is_named_as_it_was_given(
    name: str, guess: Any, fix: str
) -> None:
    with package_log("experience") as log:
        target(RocketSampler(seed=0, priors={name: guess}), 2)
    assert len(log) == 1 and fix in log[0]
    assert log[0].startswith(f"priors[{name!r}] is left out: {guess!r} says nothing about ")


def test_guesses_of_what_comes_in_time_are_no_misspellings() -> None:
    priors = {"x": 0.3, "inner": 0.5}
    study = optuna.create_study(sampler=RocketSampler(seed=0, priors=priors))
    with package_log("experience") as log:
        for number in range(8):
            trial = study.ask()
            value = trial.suggest_float("x", 0, 1)
            if number % 2:  # conditional, and asked for alone
                value += trial.suggest_float("inner", 0, 1)
            study.tell(trial, value)
    assert log == []


def test_constraints_leave_no_room_to_experience() -> None:
    study = optuna.create_study(sampler=with_sources(filled()))
    with package_log("experience") as log:
        for _ in range(6):
            trial = study.ask(SPACE)
            trial.set_constraint("c", trial.params["x"] - 0.8)
            study.tell(trial, loss(trial.params))
    assert len(log) == 1 and "without constraints" in log[0]


@pytest.mark.parametrize(
    "priors",
    [
        {"x": math.nan},
        {"x": np.float32("inf")},
        {"x": (1, 0)},
        {"x": (0, 1, 2)},
        {"x": ("a", "b")},
        {"x": {"mean": 0, "spread": 0}},
        {"kind": {"a": -1}},
        {"kind": {}},
        {"x": object()},
        {3: 1},
        [1],
    ],
)
def test_what_is_no_prior_is_refused(priors: Any) -> None:
    with pytest.raises(ValueError, match="priors"):
        RocketSampler(priors=priors)


@pytest.mark.parametrize("guess", [np.True_, {np.True_: 3, "b": 1}], ids=["value", "weights"])
def test_numpys_truth_values_are_choices(guess: Any) -> None:
    distribution = CategoricalDistribution([False, "b", True, 1.5])
    curve = parse({"flag": guess})["flag"].curve(Space({"flag": distribution}), 0, distribution)
    assert curve is not None and int(curve.argmax()) == 2


def test_curves_peak_where_they_were_told() -> None:
    space = Space(SPACE)
    priors = parse({"rate": 1e-2, "x": (0.25, 0.5), "kind": {"b": 2, "c": 1}})
    by_name = {
        name: priors[name].curve(space, column, distribution)
        for column, (name, distribution) in enumerate(space.distributions.items())
    }
    rate, x, kind = by_name["rate"], by_name["x"], by_name["kind"]
    assert rate is not None and x is not None and kind is not None
    assert (int(rate.argmax()) + 0.5) / len(rate) == pytest.approx(0.6, abs=0.02)
    flat = (x == x.max()).nonzero()[:, 0].double() / len(x)
    assert float(flat.min()) == pytest.approx(0.25, abs=0.02)
    assert float(flat.max()) == pytest.approx(0.5, abs=0.02)
    assert kind[1] > kind[2] > kind[0]
    for curve in (rate, x, kind):
        assert float(curve.mean()) == pytest.approx(0, abs=1e-9)
        assert float(curve.square().mean()) == pytest.approx(1)


def test_every_source_has_a_name_of_its_own() -> None:
    def named(*names: str) -> list[str]:
        sources = [read_source(filled(3, name=name)) for name in names]
        return reading.Experience(sources, {}).names

    assert named("a", "a", "a") == ["a", "a (2)", "a (3)"]
    assert named("a", "a", "a (2)") == ["a", "a (3)", "a (2)"]
    assert named("a (2)", "a", "a", "a (2)") == ["a (2)", "a", "a (3)", "a (2) (2)"]
