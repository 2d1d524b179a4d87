"""Hyperparameters that change with the amount of data."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import SubsetEvaluator
from optuna_rocket import scaling
from optuna_rocket.fidelity.scaling import Rung
from optuna_rocket.fidelity.scaling import fit_exponent
from optuna_rocket.scaling import EXPONENTS
from optuna_rocket.scaling import used_exponents
from tests.support import package_log


FRACTION = 1 / 9
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def rung(exponent: float, used: float = 0.0, n: int = 60, noise: float = 0.1) -> Rung:
    """Trials whose best rate is .01 on the full data and goes with the data's share."""
    rng = np.random.default_rng(round(100 * exponent) + 200)
    log_values = np.log(10.0) * rng.uniform(-4, 0, n)
    others = rng.uniform(0, 1, (n, 3))
    quality = -(((others - 0.5) ** 2).sum(-1))

    def scores(log_rate: Any, best: float) -> Any:
        return quality - 0.15 * (log_rate - best) ** 2 + noise * rng.normal(size=n)

    best = math.log(0.01)
    on_subset = log_values - used * math.log(FRACTION)
    finals = scores(log_values, best)
    return Rung(
        log_values,
        np.full(n, used),
        others,
        scores(on_subset, best - exponent * math.log(FRACTION)),
        np.where(rng.uniform(size=n) < 0.5, finals, np.nan),
        FRACTION,
    )


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("used", [0.0, 0.5])
def test_the_exponent_is_found(exponent: float, used: float) -> None:
    fitted = fit_exponent([rung(exponent, used)], guess=0.0)
    assert fitted.value == pytest.approx(exponent, abs=0.2)
    assert fitted.std < 0.2


def test_doubt_draws_to_the_guess() -> None:
    few = fit_exponent([rung(1.0, n=10, noise=1.0)], guess=0.0)
    many = fit_exponent([rung(1.0, n=200)], guess=0.0)
    assert few.std > 2 * many.std
    assert abs(few.value) < 0.5 * abs(many.value)


def test_the_same_trials_twice_are_no_more_evidence() -> None:
    one = rung(0.5)
    assert fit_exponent([one, one], 0.0) == fit_exponent([one], 0.0)


@given(
    scores=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=4, max_size=12),
    guess=st.floats(-0.5, 1.5),
)
def test_any_scores_give_an_exponent(scores: list[float], guess: float) -> None:
    n = len(scores)
    values = np.linspace(-9, 0, n)
    finals = np.where(np.arange(n) % 2, np.cos(values), np.nan)
    some = Rung(values, np.zeros(n), np.zeros((n, 1)), np.array(scores), finals, FRACTION)
    fitted = fit_exponent([some], guess)
    assert -0.5 <= fitted.mean <= 1.5 and 0 <= fitted.std < 1
    assert min(guess, fitted.mean) <= fitted.value <= max(guess, fitted.mean)


def make_evaluator(**arguments: Any) -> SubsetEvaluator:
    arguments = {"scale": {"lr": 0.0}, **arguments}
    return SubsetEvaluator(900, min_fraction=1 / 9, reduction_factor=9, **arguments)


def make_objective(evaluator: SubsetEvaluator, exponent: float) -> Any:
    """A loss whose best rate is .01 on all 900 examples and goes with their share."""

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("lr", 1e-4, 1.0, log=True)
        x = trial.suggest_float("x", 0, 1)
        trial.suggest_categorical("kind", ["a", "b"])
        for subset in evaluator.subsets(trial):
            best = math.log(0.01) - exponent * math.log(subset.fraction)
            subset.report((x - 0.5) ** 2 + 0.1 * (math.log(subset.params["lr"]) - best) ** 2)
        return float(subset.value)

    return objective


@pytest.mark.parametrize("exponent", [0.0, 0.75])
def test_a_study_learns_the_exponent(exponent: float) -> None:
    evaluator = make_evaluator()
    sampler = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.NopPruner())
    study.optimize(make_objective(evaluator, exponent), n_trials=40)
    assert evaluator.exponents(study)["lr"].value == pytest.approx(exponent, abs=0.15)
    used = [used_exponents(trial.user_attrs)["lr"] for trial in study.trials]
    assert used[:8] == [0.0] * 8 and used[-1] == pytest.approx(exponent, abs=0.25)
    # It stays as it is until there are half as many trials more.
    assert [i for i in range(1, 40) if used[i] != used[i - 1]] in ([8, 12, 18, 27], [])
    # Another evaluator reads the same from the same trials.
    assert make_evaluator().exponents(study) == evaluator.exponents(study)


def test_trials_that_end_late_are_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the latest few neither the number nor the last one tells that they are others."""
    monkeypatch.setattr(scaling, "_MAX_TRIALS", 12)
    evaluator = make_evaluator()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    asked = [study.ask({"lr": FloatDistribution(1e-4, 1.0, log=True)}) for _ in range(30)]
    late = asked[8:20:3]
    for trial in asked:
        trial.report((math.log10(trial.params["lr"]) + 1) ** 2, 100)
        if trial not in late:
            trial.report(0.0, 900)
            study.tell(trial, (math.log10(trial.params["lr"]) + 2) ** 2)
    before = evaluator.exponents(study)
    for trial in late:
        study.tell(trial, state=TrialState.PRUNED)
    assert evaluator.exponents(study) == make_evaluator().exponents(study) != before
    assert evaluator.exponents(study) is evaluator.exponents(study), "kept"


def test_it_works_with_the_sampler_and_the_pruner() -> None:
    evaluator = make_evaluator()
    study = optuna.create_study(sampler=RocketSampler(seed=0), pruner=RocketPruner())
    study.optimize(make_objective(evaluator, 0.5), n_trials=30)
    assert study.best_trial.intermediate_values.keys() == {100, 900}
    assert study.best_value < 0.5


def test_what_a_subset_is_trained_with() -> None:
    study = optuna.create_study()
    trial = study.ask()
    trial.suggest_float("lr", 0.01, 0.01)
    trial.suggest_float("decay", 0.0, 0.0)
    evaluator = make_evaluator(scale={"lr": 0.5, "decay": 1.0, "absent": 1.0})
    seen = []
    for subset in evaluator.subsets(trial):
        seen.append(subset.params)
        subset.report(1.0)
    assert seen[0] == {"lr": pytest.approx(0.03), "decay": 0.0}
    assert seen[1] == trial.params == {"lr": 0.01, "decay": 0.0}
    assert trial.user_attrs[EXPONENTS] == {"lr": 0.5, "decay": 1.0, "absent": 1.0}


def test_a_parameter_may_be_asked_for_within_the_loop() -> None:
    trial, seen = optuna.create_study().ask(), []
    for subset in make_evaluator(scale={"lr": 0.5}).subsets(trial):
        trial.suggest_float("lr", 0.01, 0.01)
        seen.append(subset.params["lr"])
        subset.report(1.0)
    assert seen == [pytest.approx(0.03), 0.01]


def test_a_name_that_no_trial_has_is_told_once() -> None:
    study = optuna.create_study()
    evaluator = make_evaluator(scale={"learning_rate": 0.5})
    with package_log("evaluator") as messages:
        for _ in range(3):
            trial = study.ask()
            trial.suggest_float("lr", 0.01, 0.1)
            for subset in evaluator.subsets(trial):
                subset.report(1.0)
    assert [message for message in messages if "'learning_rate'" in message] == messages
    assert len(messages) == 1 and "['lr']" in messages[0]


def test_nothing_is_scaled_unless_tagged() -> None:
    study = optuna.create_study()
    trial = study.ask()
    trial.suggest_float("lr", 0.01, 0.01)
    for subset in make_evaluator(scale=None).subsets(trial):
        assert subset.params == {"lr": 0.01}
        subset.report(1.0)
    assert EXPONENTS not in trial.user_attrs


def test_a_trial_that_is_resumed_keeps_its_exponent() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"lr": 0.01}, user_attrs={EXPONENTS: {"lr": 0.5}})
    trial = study.ask()
    trial.suggest_float("lr", 1e-4, 1.0, log=True)
    first = next(make_evaluator().subsets(trial))
    assert first.params["lr"] == pytest.approx(0.03)


@pytest.mark.parametrize("stored", ["text", {"lr": "x"}, {"lr": 1e9}, {"lr": math.nan}, [1], None])
def test_foreign_attributes_are_ignored(stored: Any) -> None:
    assert used_exponents({EXPONENTS: stored}) == {}


def test_outside_of_a_study_there_is_one_round() -> None:
    trial = optuna.trial.FixedTrial({"lr": 0.01})
    trial.suggest_float("lr", 0.001, 0.1)
    (subset,) = [subset for subset in iterate(make_evaluator(scale={"lr": 1.0}), trial)]
    assert subset.params == {"lr": 0.01}


def iterate(evaluator: SubsetEvaluator, trial: Any) -> Any:
    for subset in evaluator.subsets(trial):
        subset.report(1.0)
        yield subset


@pytest.mark.parametrize("scale", [{"lr": 2.0}, {"lr": "a"}, {"lr": math.nan}, {"lr": None}])
def test_nonsense_is_refused(scale: Any) -> None:
    with pytest.raises(ValueError, match=r"scale=.* for 'lr'"):
        make_evaluator(scale=scale)


def test_instances_are_not_scaled() -> None:
    with pytest.raises(ValueError, match="is not a mapping from names to exponents"):
        SubsetEvaluator(90, min_fraction=0.5, scale=["lr"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"scale=\{'lr': 0.0\} means nothing"):
        SubsetEvaluator(10, min_fraction=0.5, by="instance", scale={"lr": 0.0})


@pytest.mark.parametrize("value", [3, "a", True])
def test_only_floats_are_scaled(value: Any) -> None:
    study = optuna.create_study()
    trial = study.ask()
    trial.suggest_categorical("lr", [value])
    with pytest.raises(ValueError, match="scale= names 'lr', which is"):
        next(make_evaluator().subsets(trial))


def asked(trial: optuna.Trial, value: Any) -> None:
    """Ask for a learning rate of this value, as a parameter of its kind."""
    if isinstance(value, str) or value is None or isinstance(value, bool):
        trial.suggest_categorical("lr", [value])
    elif isinstance(value, int):
        trial.suggest_int("lr", value, value)
    else:
        trial.suggest_float("lr", value, value)


@pytest.mark.parametrize("value", [5, "a", True, None, -0.5])
def test_only_floats_are_scaled_that_are_asked_for_within_the_loop(value: Any) -> None:
    trial, n_trained = optuna.create_study().ask(), 0
    with pytest.raises(ValueError) as caught:
        for subset in make_evaluator(scale={"lr": 0.5}).subsets(trial):
            asked(trial, value)
            _ = subset.params
            n_trained += 1
    assert str(caught.value).startswith(f"scale= names 'lr', which is {value!r} in this trial")
    assert "Leave it out of scale=, or suggest a float." in str(caught.value)
    assert n_trained == 0, "nothing is trained for a trial that cannot go on"


def test_only_floats_are_scaled_in_a_trial_that_is_resumed() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"lr": 5}, user_attrs={EXPONENTS: {"lr": 0.5}})
    trial = study.ask()
    trial.suggest_int("lr", 1, 9)
    with pytest.raises(ValueError, match="scale= names 'lr', which is 5 in this trial"):
        _ = next(make_evaluator().subsets(trial)).params


def test_a_trial_that_is_resumed_heeds_that_a_name_was_left_out() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"lr": 5}, user_attrs={EXPONENTS: {"lr": 0.5}})
    trial = study.ask()
    trial.suggest_int("lr", 1, 9)
    assert next(make_evaluator(scale={"decay": 0.5}).subsets(trial)).params == {"lr": 5}


def test_what_is_not_scaled_may_be_anything() -> None:
    trial = optuna.trial.FixedTrial({"lr": 5})
    for subset in make_evaluator(scale={"lr": 0.5}).subsets(trial):
        trial.suggest_int("lr", 1, 9)
        assert subset.params == {"lr": 5} and type(subset.params["lr"]) is int
        subset.report(1.0)


def test_a_trial_that_never_asks_for_what_suits_a_subset_is_not_lost() -> None:
    trial = optuna.create_study().ask()
    for subset in make_evaluator(scale={"lr": 0.5}).subsets(trial):
        trial.suggest_int("lr", 5, 5)
        subset.report(1.0)
    assert subset.value == 1.0


def test_an_enqueued_whole_number_is_a_float() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"lr": 1})
    subsets = SubsetEvaluator(
        1000, min_fraction=0.1, reduction_factor=3, min_examples=1, scale={"lr": 0.5}
    )
    trial = study.ask()
    for subset in subsets.subsets(trial):
        trial.suggest_float("lr", 0.1, 10)
        assert subset.params["lr"] == pytest.approx(subset.fraction**-0.5)
        subset.report(1.0)
