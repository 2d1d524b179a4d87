from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import Trial
from optuna.trial import TrialState
import pytest
import torch

import optuna_rocket
from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import alternatives
from optuna_rocket import bands
from optuna_rocket import explain
from optuna_rocket import hindsight
from optuna_rocket import suggestions
from optuna_rocket.curves import level_to_beat
from optuna_rocket.explanation import best_numbers
from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.history import History
from optuna_rocket.quiet import quietly
from optuna_rocket.space import Geometry
from optuna_rocket.suggestions import ATTRIBUTE
from optuna_rocket.trials import CurveReader
from optuna_rocket.wording import KIND_WORDS
from tests.support import MIXED
from tests.support import Crash
from tests.support import mixed_study
from tests.support import mixed_value
from tests.support import never_feasible
from tests.support import open_storage
from tests.support import rough
from tests.support import rough_study


def bowl(trial: Trial) -> float:
    x = trial.suggest_float("x", -3, 3)
    return (x - 1) ** 2 + 0.1 * trial.suggest_int("n", 1, 9)


def learning_curve(trial: Trial) -> float:
    x = trial.suggest_float("x", -3, 3)
    for epoch in range(1, 30):
        trial.report((x - 1) ** 2 + 2 / epoch, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return (x - 1) ** 2


@pytest.fixture(scope="module")
def bowl_study() -> Study:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(bowl, n_trials=25)
    return study


def test_a_suggested_trial_is_explained_by_what_is_stored(bowl_study: Study) -> None:
    found = explain(bowl_study, 20)
    assert found.origin == "agent"
    assert not found.is_recomputed
    assert found.kind in PROPOSAL_KINDS
    assert found.n_finished == 20
    assert found.n_running == 0
    assert 0 <= found.share <= 1
    assert 1 <= found.rank <= found.n_candidates
    assert 0 <= found.entropy <= math.log(found.n_candidates)
    assert found.interval[0] <= found.expected <= found.interval[1]
    assert found.incumbent is not None and found.incumbent < 20
    assert found.value == bowl_study.trials[20].value
    assert KIND_WORDS[found.kind] in str(found)
    assert str(found) == found.text


def test_the_best_trial_was_expected_to_be_good(bowl_study: Study) -> None:
    found = explain(bowl_study, bowl_study.best_trial.number)
    values = sorted(trial.values[0] for trial in bowl_study.trials)
    assert found.expected < values[len(values) // 2]


def test_explaining_twice_gives_the_same(bowl_study: Study) -> None:
    assert explain(bowl_study, 15) == explain(bowl_study, 15)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_counts_as_equally_bad_is_not_called_expected(sign: int) -> None:
    """A loss near 0.3 that explodes at large learning rates, tried there by somebody else."""
    study = optuna.create_study(
        direction="minimize" if sign == 1 else "maximize", sampler=RocketSampler(seed=1)
    )

    def loss(trial: Trial) -> float:
        rate = trial.suggest_float("rate", 1e-5, 1, log=True)
        return sign * (0.3 + 0.05 * (math.log10(rate) + 3) ** 2 + 5e4 * rate * (rate > 0.02))

    study.optimize(loss, n_trials=25)
    study.sampler = RandomSampler(seed=0)
    study.optimize(loss, n_trials=12)
    bad = [trial.number for trial in study.trials[8:] if abs(trial.values[0]) > 100]
    found = [explain(study, number) for number in bad]
    assert {one.is_cut for one in found} == {True, False}
    for one in found:
        worst = one.told_apart[sign == 1]
        assert abs(worst) < 10 and math.isinf(one.interval[sign == 1])
        assert (f"{worst:.4g} or worse, with 80 %" in one.text) == one.is_cut
        assert (", bad, as expected." in one.text) == one.is_cut
        side = f"{'above' if sign == 1 else 'below'} {worst:.4g}"
        assert (f"(values {side} counted as equally bad)" in one.text) == (not one.is_cut)


def test_maximising_mirrors_minimising() -> None:
    pair = []
    for direction, sign in ((StudyDirection.MINIMIZE, 1), (StudyDirection.MAXIMIZE, -1)):
        study = optuna.create_study(direction=direction, sampler=RocketSampler(seed=0))
        for _ in range(15):
            trial = study.ask()
            study.tell(trial, sign * bowl(trial))
        pair.append(explain(study, 14))
    assert pair[0].expected == pytest.approx(-pair[1].expected)
    assert pair[0].interval[0] == pytest.approx(-pair[1].interval[1])
    assert pair[0].mean == pair[1].mean


def test_the_first_trial_says_that_nothing_is_stored(bowl_study: Study) -> None:
    found = explain(bowl_study, 0)
    assert found.origin == "unknown"
    assert found.is_recomputed and found.is_start
    assert found.incumbent is None
    assert math.isnan(found.expected) and math.isnan(found.distance)
    assert "one by one" in found.text


def test_trials_of_another_sampler_say_so() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.optimize(bowl, n_trials=12)
    found = explain(study, 11)
    assert found.origin == "unknown"
    assert found.kind is None
    assert math.isfinite(found.expected)
    assert "another sampler" in found.text


def test_enqueued_trials_say_so() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.enqueue_trial({"x": 1.0, "n": 2})
    study.optimize(bowl, n_trials=8)
    study.enqueue_trial({"n": 3})
    study.enqueue_trial({"x": 2.0})
    assert explain(study, 9).origin == "waiting"
    assert "queue" in explain(study, 9).text
    study.optimize(bowl, n_trials=1)
    assert explain(study, 0).origin == "enqueued"
    partly = explain(study, 8)
    assert partly.origin == "agent"
    assert partly.enqueued == ("n",)
    assert "imposed" in partly.text


def narrowed(trial: Trial) -> float:
    """The best values of x are not allowed any more from trial 15 on."""
    x = trial.suggest_float("x", 0, 1 if trial.number < 15 else 0.5)
    return abs(x - 0.9) + 0.3 * abs(trial.suggest_float("y", 0, 1) - 0.2)


def test_what_was_said_of_another_configuration_is_not_quoted() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(narrowed, n_trials=18)
    before, stale = explain(study, 14), explain(study, 15)
    assert before.replaced == () and before.kind is not None and not before.is_recomputed
    assert stale.origin == "agent" and stale.replaced == ("x",)
    assert stale.kind is None and stale.is_recomputed
    assert stale.expected > 0.2, "the suggestion was for x near 0.9"
    assert "the value of x lay outside of the trial's own range" in stale.text
    assert "would have expected" in stale.text


def test_what_was_said_of_another_configuration_is_no_error_of_the_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The width of the interval of the next trials depends on what became of the earlier ones."""
    read: list[History] = []
    errors = bands.errors

    def seen(history: History, geometry: Geometry) -> torch.Tensor:
        read.append(history)
        return errors(history, geometry)

    monkeypatch.setattr(bands, "errors", seen)
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(narrowed, n_trials=18)
    explain(study, 17)
    known = read[0].predicted[0].isfinite().all(-1).tolist()
    assert known == [0 < number != 15 for number in range(17)]


def test_what_ran_is_told_where_ranges_depend_on_each_other() -> None:
    def objective(trial: Trial) -> float:
        n = trial.suggest_int("n", 1, 12)
        k = trial.suggest_int("k", 1, n)
        return (n - 9) ** 2 / 10 + abs(k - 3) + trial.suggest_float("x", 0, 1)

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=40)
    n_replaced = 0
    for trial in study.trials[1:]:
        said = suggestions.read(trial.system_attrs).params
        other = tuple(name for name in sorted(trial.params) if said[name] != trial.params[name])
        found = explain(study, trial.number)
        assert found.replaced == other and (found.kind is None) == bool(other)
        n_replaced += bool(other)
    assert n_replaced > 5


def test_a_claim_that_takes_the_place_of_another_says_nothing_of_it() -> None:
    """While others run, a value that is chosen anew is stored, as a claim."""
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for _ in range(14):
        trial = study.ask()
        x, y = trial.suggest_int("x", 0, 30), trial.suggest_int("y", 0, 30)
        study.tell(trial, abs(x - 27) + abs(y - 6))
    study.ask().suggest_int("x", 0, 30)
    trial = study.ask()
    trial.suggest_int("y", 0, 30)
    planned = suggestions.read(study.trials[trial.number].system_attrs)
    assert planned.kind >= 0 and planned.params["x"] > 15
    trial.suggest_int("x", 0, 15)
    stored = suggestions.read(study.trials[trial.number].system_attrs)
    assert stored.params["x"] == trial.params["x"] and stored.params["y"] == planned.params["y"]
    assert stored.replaced == ("x",)
    found = explain(study, trial.number)
    assert found.replaced == ("x",) and found.kind is None and found.is_recomputed


@pytest.mark.parametrize("file", ["study.db", "study.log"])
def test_values_that_were_stored_are_known_again(file: str, tmp_path: Path) -> None:
    space = {
        **MIXED,
        "like": CategoricalDistribution([False, 0, True, 1, 1.0, None]),
        "odd": CategoricalDistribution([math.nan, "nan", "1"]),
        "tiny": FloatDistribution(1e-300, 1e-12, log=True),
        "third": FloatDistribution(0.1, 0.9, step=0.1),
        "vast": IntDistribution(1, 2**53, log=True),
    }
    sampler = RocketSampler(seed=0)
    study = optuna.create_study(storage=open_storage(f"{tmp_path}/{file}"), sampler=sampler)
    for _ in range(14):
        asked = study.ask(space)
        study.tell(asked, mixed_value(asked.params))
    loaded = optuna.load_study(
        storage=open_storage(f"{tmp_path}/{file}"), study_name=study.study_name
    )
    for trial in loaded.trials:
        assert suggestions.of_trial(trial) == suggestions.read(trial.system_attrs)
        assert suggestions.replaced_params(trial) == ()
        assert trial.number == 0 or suggestions.of_trial(trial).kind >= 0


def test_pruned_trials_tell_what_the_forecast_said() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0), pruner=RocketPruner())
    study.optimize(learning_curve, n_trials=30)
    pruned = [trial.number for trial in study.trials if trial.state == TrialState.PRUNED]
    forecast = explain(study, pruned[-1]).forecast
    assert forecast is not None
    assert forecast.step == study.trials[pruned[-1]].last_step
    assert forecast.beats_best < 0.2
    assert forecast.interval[0] < forecast.expected < forecast.interval[1]
    assert "forecast" in explain(study, pruned[-1]).text


def test_every_state_is_explained_without_a_write() -> None:
    study = rough_study(None, seed=1)
    study.optimize(rough, n_trials=20, catch=(Crash,))
    running = study.ask()
    running.suggest_float("x", -3, 3)
    before = [(trial.system_attrs, trial.user_attrs) for trial in study.trials]
    texts = {trial.state: explain(study, trial.number).text for trial in study.trials}
    assert "failed" in texts[TrialState.FAIL]
    assert "pruned" in texts[TrialState.PRUNED]
    assert "running" in texts[TrialState.RUNNING]
    assert [(trial.system_attrs, trial.user_attrs) for trial in study.trials] == before


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "{",
        "[]",
        '{"params": {"x": "high"}}',
        '{"params": {}, "kind": 1e400}',
        '{"params": {"x": 1.0}, "kind": 42, "mean": NaN, "std": 1}',
        7,
        None,
    ],
)
def test_corrupted_attributes_do_not_matter(stored: Any) -> None:
    study = mixed_study(RocketSampler(seed=0), 8)
    storage = study._storage
    trial = study.ask({"x": FloatDistribution(-3, 3)})
    storage.set_trial_system_attr(trial._trial_id, ATTRIBUTE, stored)
    study.tell(trial, 1.0)
    found = explain(study, trial.number)
    assert found.kind is None
    assert found.is_recomputed
    assert math.isfinite(found.mean)


def test_violated_constraints_are_named() -> None:
    def objective(trial: Trial) -> float:
        trial.set_constraint("memory", 1.5)
        trial.set_constraint("time", -1)
        return bowl(trial)

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=3)
    assert explain(study, 2).constraints == {"memory": 1.5, "time": -1}
    assert "memory = 1.5" in explain(study, 2).text


@pytest.mark.parametrize("number", [-1, 25, True, "3", None])
def test_unknown_trials_name_the_fix(bowl_study: Study, number: int) -> None:
    with pytest.raises(ValueError, match=r"trial_number=.*numbers 0 to 24.*study\.trials"):
        explain(bowl_study, number)


def test_an_empty_study_has_no_trial() -> None:
    with pytest.raises(ValueError, match="no trials yet"):
        explain(optuna.create_study(), 0)


def two_goals(trial: Trial) -> tuple[float, float]:
    """An error that falls with the width, and a cost that rises; wide ones are not allowed."""
    width = trial.suggest_float("width", 0, 1)
    rate = trial.suggest_float("rate", 0, 1)
    trial.suggest_categorical("idle", ["a", "b"])
    trial.set_constraint("memory", width - 0.9)
    return (rate - 0.4) ** 2 + 1 - width, 100 * width


@pytest.fixture(scope="module")
def front_study() -> Study:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=RocketSampler(seed=0))
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["error", "cost"])
    study.optimize(two_goals, n_trials=30)
    return study


def test_every_objective_is_explained(front_study: Study) -> None:
    trial = front_study.trials[25]
    found = explain(front_study, 25)
    assert found.origin == "agent" and not found.is_recomputed
    assert [x.name for x in found.objectives] == ["error", "cost"]
    for objective, value in zip(found.objectives, trial.values, strict=True):
        assert objective.value == value
        assert objective.interval[0] <= objective.expected <= objective.interval[1]
    # The cost depends on the width alone, and the memory had 25 trials to find that out.
    assert next(iter(found.objectives[1].relevance)) == "width"
    assert found.objectives[1].relevance["width"] > found.objectives[0].relevance["width"]
    assert found.objectives[1].expected == pytest.approx(trial.values[1], abs=10)
    assert 0 <= found.feasibility <= 1
    assert 1 <= found.rank <= found.n_candidates
    assert "For error the agent expected" in found.text and "For cost the" in found.text
    assert "to the hypervolume of the front" in found.text


def test_the_front_is_that_of_the_time(front_study: Study) -> None:
    past = optuna.create_study(directions=["minimize", "minimize"])
    past.add_trials(front_study.trials[:25])
    found = explain(front_study, 25)
    front = {trial.number for trial in past.best_trials}
    assert found.n_best == len(front)
    assert found.incumbent in front
    assert found.is_best == (25 in {trial.number for trial in front_study.best_trials})
    assert f"of {len(front)} on the front then" in found.text


def test_a_trial_that_diverged_is_no_compromise() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    for values in ([2.0, 3.0], [math.inf, 1.0], [1.0, 9.0], [8.0, 3.5]):
        study.add_trial(optuna.create_trial(values=values))
    assert best_numbers(study) == [0, 1, 2]
    view = hindsight.look(study)
    assert view.front == [0, 1, 2] and view.incumbent == 0


def test_a_promising_trial_is_expected_to_add_more(front_study: Study) -> None:
    gains = []
    for rate in (0.4, 1.0):
        study = optuna.create_study(directions=["minimize", "minimize"])
        study.add_trials(front_study.trials[:20])
        study.enqueue_trial({"width": 0.55, "rate": rate, "idle": "a"})
        study.optimize(two_goals, n_trials=1)
        gains.append(explain(study, 20).hypervolume_gain)
    assert gains[0] > gains[1] >= 0


def test_several_objectives_have_no_single_expectation(front_study: Study) -> None:
    found = explain(front_study, 25)
    for name in ("value", "mean", "std", "expected", "interval", "relevance", "is_minimized"):
        with pytest.raises(RuntimeError, match="2 objectives: look into `objectives`"):
            getattr(found, name)


def test_maximising_objectives_mirrors_minimising_them() -> None:
    pair = []
    for direction, sign in ((StudyDirection.MINIMIZE, 1), (StudyDirection.MAXIMIZE, -1)):
        study = optuna.create_study(
            directions=[StudyDirection.MINIMIZE, direction], sampler=RocketSampler(seed=0)
        )
        for _ in range(12):
            trial = study.ask()
            error, cost = two_goals(trial)
            study.tell(trial, [error, sign * cost])
        pair.append(explain(study, 11))
    (_, falling), (_, rising) = pair[0].objectives, pair[1].objectives
    assert falling.expected == pytest.approx(-rising.expected)
    assert falling.is_minimized and not rising.is_minimized
    assert pair[0].hypervolume_gain == pytest.approx(pair[1].hypervolume_gain)
    assert rising.name == "Objective 1"


def test_relevance_is_told_when_it_is_learned(front_study: Study, bowl_study: Study) -> None:
    words = "tells configurations apart most by"
    for number in (4, 9):
        found = explain(bowl_study, number)
        assert found.n_scored == number and found.relevance and words not in found.text
    assert f"The agent's memory {words}" in explain(bowl_study, 10).text
    assert f"The agent's memory of cost {words} width" in explain(front_study, 25).text
    constant = optuna.create_study(sampler=RocketSampler(seed=0))
    constant.optimize(lambda trial: 0 * bowl(trial), n_trials=13)
    found = explain(constant, 12)
    assert found.n_scored == 12 and found.relevance == {} and words not in found.text


def test_without_a_feasible_trial_none_is_the_best() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(never_feasible, n_trials=10)
    found = explain(study, 9)
    least = min(study.trials[:9], key=lambda trial: float(trial.params["x"])).number
    assert found.n_best == 0 and found.incumbent == least
    assert f"from the trial that violated least then, number {least}" in found.text
    assert "best trial" not in found.text.split("It lies")[1]


def test_a_distance_beyond_the_range_is_explained() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(narrowed, n_trials=17)
    found = explain(study, 15)
    assert found.distance > 1
    assert "one of the two lies beyond the range of that time)" in found.text
    assert "beyond" not in explain(study, 14).text


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_another_run_of_a_trial_says_so() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(bowl, n_trials=6)
    again = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3)
    for number in (6, 7):
        bowl(study.ask())
        study._storage.set_trial_state_values(study.trials[number]._trial_id, TrialState.FAIL)
        again(study, study.trials[number])
    study.optimize(bowl, n_trials=1)
    assert explain(study, 6).earlier_runs == () and "another run" not in explain(study, 6).text
    assert explain(study, 7).earlier_runs == (6,)
    found = explain(study, 8)
    assert found.earlier_runs == (6, 7) and found.n_finished == 6
    assert "It is another run of trials 6 and 7, which did not come to an end." in found.text


def test_any_trial_of_several_objectives_is_explained() -> None:
    def rough_goals(trial: Trial) -> tuple[float, ...]:
        if trial.number == 3:
            raise Crash
        trial.set_constraint("never", 1.0)
        return trial.suggest_float("x", 0, 1), 1.0, float("inf") if trial.number == 4 else 2.0

    study = optuna.create_study(directions=["minimize"] * 3, sampler=RandomSampler(seed=0))
    study.optimize(rough_goals, n_trials=9, catch=(Crash,))
    running = study.ask()
    running.suggest_float("x", 0, 1)
    study.enqueue_trial({"x": 0.5})
    for trial in study.trials:
        found = explain(study, trial.number)
        assert f"Trial {trial.number}" in found.text
        assert math.isnan(found.hypervolume_gain), "no trial is feasible"
        assert found.n_best == 0 and found.incumbent is None


def test_trials_without_parameters_are_explained() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: float(trial.number), n_trials=3)
    assert "asked for no parameter. " in explain(study, 2).text
    assert "value is 2" in explain(study, 2).text


def test_trials_that_failed_early_are_explained_by_what_was_suggested() -> None:
    def objective(trial: Trial) -> float:
        if trial.number == 9:
            raise Crash
        x = trial.suggest_float("x", 0, 1)
        if trial.number == 8:
            raise Crash
        return (x - 0.3) ** 2 + trial.suggest_float("y", 0, 1)

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=10, catch=(Crash,))
    midway, before = explain(study, 8), explain(study, 9)
    assert study.trials[8].params.keys() == {"x"}
    past = optuna.create_study(sampler=RocketSampler(seed=0))
    past.optimize(lambda trial: objective(trial), n_trials=8)
    whole = past.ask()
    for name in ("x", "y"):
        whole.suggest_float(name, 0, 1)
    assert midway.distance == explain(past, 8).distance
    assert midway.share == explain(past, 8).share > 0
    assert before.origin == "none" and before.kind is None
    assert math.isnan(before.mean) and math.isnan(before.distance) and before.n_candidates == 0
    assert "asked for no parameter" in before.text and "It failed." in before.text
    assert "chance to fail" not in before.text and "recomputed" not in before.text


def test_trials_without_a_choice_are_explained() -> None:
    study = optuna.create_study(sampler=RandomSampler(0))
    study.optimize(lambda trial: trial.suggest_float("x", 1, 1) + trial.number, n_trials=6)
    assert "Trial 5" in explain(study, 5).text


def test_a_study_from_disk_is_explained_alike(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=storage, study_name="s", sampler=RocketSampler(seed=0))
    study.optimize(bowl, n_trials=8)
    loaded = optuna.load_study(storage=storage, study_name="s")
    assert explain(loaded, 7) == explain(study, 7)


def test_names_stay_on_one_line() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    name = "a\nb\x1b[31m" + 100 * "c"
    study.optimize(lambda trial: trial.suggest_float(name, 0, 1), n_trials=11)
    text = explain(study, 10).text
    assert "a b [31mcc" in text
    assert "\n" not in text and "\x1b" not in text and 50 * "c" not in text


def test_the_public_name_is_lazy() -> None:
    assert optuna_rocket.explain is explain
    with pytest.raises(AttributeError, match="no attribute 'explian'"):
        optuna_rocket.explian  # noqa: B018


def test_the_users_settings_of_torch_do_not_matter(bowl_study: Study) -> None:
    usual, n_threads = explain(bowl_study, 12), torch.get_num_threads()
    torch.set_default_device("meta")  # nothing can be computed there
    try:
        assert explain(bowl_study, 12) == usual
    finally:
        torch.set_default_device(None)
    assert torch.get_num_threads() == n_threads
    assert not torch.is_inference_mode_enabled()


def test_a_malformed_constraint_of_a_foreign_storage_is_left_out() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(bowl, n_trials=3)
    trial = study.ask()
    bowl(trial)
    study._storage.set_trial_system_attr(trial._trial_id, "constraints:memory", "much")
    study._storage.set_trial_system_attr(trial._trial_id, "constraints:time", 2.0)
    study.tell(trial, 1.0)
    assert explain(study, trial.number).constraints == {"time": 2.0}


def test_the_policy_is_asked_as_it_decides_under_constraints() -> None:
    def limited(trial: Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.set_constraint("x below a half", x - 0.5)
        return abs(x - 0.9)

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(limited, n_trials=20)
    view = hindsight.look(study)
    assert view.goals is not None
    active = torch.ones(1, 1, 1, dtype=torch.bool)
    with quietly():
        # Of all untried points this would be the best one, if it were allowed.
        best = torch.full((1, 1, 1), 0.8999, dtype=torch.float64)
        standing = alternatives.compare(view, best, active, 0, {}, seed=1)
    assert standing.rank > standing.n_candidates / 4


def test_infeasible_trials_are_no_level_to_beat() -> None:
    def curve(trial: Trial, infeasible: bool) -> float:
        x = trial.suggest_float("x", -3, 3)
        trial.set_constraint("c", 1.0 if infeasible else -1.0)
        final = -100.0 if infeasible else (x - 1) ** 2
        for epoch in range(1, 10):
            trial.report(final + 1 / epoch, epoch)
        return final

    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.optimize(lambda trial: curve(trial, trial.number == 2), n_trials=12)
    curves = CurveReader().read(study)
    feasible = [c.final for c in curves if c.trial.number != 2]
    assert level_to_beat(curves) == max(feasible)
    assert level_to_beat([c for c in curves if c.trial.number == 2]) is None


def branched(trial: Trial) -> float:
    kind = trial.suggest_categorical("kind", ["svm", "tree"])
    if kind == "svm":
        return 0.5 + abs(math.log10(trial.suggest_float("c", 1e-3, 1e3, log=True)))
    depth, split = trial.suggest_int("depth", 1, 16), trial.suggest_float("split", 0, 1)
    return 0.3 + 0.2 * abs(depth - 6) + abs(split - 0.3)


def test_the_choice_of_a_branch_is_explained() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(branched, n_trials=30)
    found = [explain(study, number) for number in range(6, 30)]
    focused = [one for one in found if one.branch is not None]
    assert [one.number for one in focused] == list(range(6, 30, 2))
    for one in focused:
        trial, branch = study.trials[one.number], one.branch
        assert branch is not None
        tree = trial.params["kind"] == "tree"
        assert branch.params == (("depth", "split") if tree else ("c",))
        same = [t for t in study.trials[: one.number] if t.params["kind"] == trial.params["kind"]]
        assert branch.n_trials == len(same)
        assert branch.n_branches == 2
        if same:
            assert branch.best == min(same, key=lambda t: float(t.values[0])).number
        # What was chosen then is chosen again, and stands high among its like.
        assert branch.is_first_choice
        assert branch.is_due or branch.rank == 1
        assert one.rank <= 20
        assert "turn to choose a branch" in one.text and "inside of this branch" in one.text
    assert "turn to choose a branch" not in explain(study, 7).text


def test_a_look_elsewhere_is_explained() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: 1.0 + 0 * trial.suggest_float("x", 0, 1), n_trials=16)
    found = [explain(study, number) for number in range(16)]
    assert [one.number for one in found if one.is_elsewhere] == [11, 14]
    for one in found:
        assert ("look far from all others" in one.text) == one.is_elsewhere
    assert found[11].rank <= 20, "it would be chosen again, or one like it"


@pytest.mark.filterwarnings("ignore:Fixed parameter n with value 3.5")
def test_an_enqueued_number_between_two_whole_ones_is_what_ran() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: float(trial.suggest_int("n", 1, 20)), n_trials=6)
    study.enqueue_trial({"n": 3.5})
    study.optimize(lambda trial: float(trial.suggest_int("n", 1, 20)), n_trials=1)
    assert study.trials[6].params == {"n": 3}
    assert explain(study, 6).replaced == ()


@pytest.mark.filterwarnings("ignore:PartialFixedSampler is experimental")
def test_held_values_are_not_compared_with_what_could_not_have_been() -> None:
    def objective(trial: optuna.Trial) -> float:
        return abs(trial.suggest_float("x", 0, 1) - 0.3) + abs(trial.suggest_int("n", 1, 20) - 3)

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=12)
    study.sampler = optuna.samplers.PartialFixedSampler({"n": 18}, study.sampler)
    study.optimize(objective, n_trials=4)
    # Among free candidates they would be among the last.
    assert sorted(explain(study, number).rank for number in (12, 13, 14, 15))[2] <= 10


def test_a_guided_start_is_told_from_a_spread_one() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0, priors={"x": 0.9}))
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1) - 0.8) ** 2, n_trials=5)
    guided, control = explain(study, 2), explain(study, 1)
    assert guided.priors["x"] > 0 and not guided.is_start
    assert control.is_start and "spread out" in control.text and "spread out" not in guided.text


def test_experience_that_is_not_heeded_makes_the_start_longer() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0, priors={"x": 0.9}))
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1) - 0.1) ** 2, n_trials=7)
    found = [explain(study, number) for number in (4, 5, 6)]
    assert [one.n_scored for one in found] == [4, 5, 6]
    assert [one.is_start for one in found] == [True, True, False]
    assert "With fewer than five scores the trials are spread out" in found[0].text
    assert "fewer than five" not in found[1].text and "trials are spread out" in found[1].text
