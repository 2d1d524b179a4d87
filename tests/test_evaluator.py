from __future__ import annotations

from collections.abc import Callable
import copy
import gc
import math
from pathlib import Path
import pickle
import time
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import BaseTrial
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketPruner
from optuna_rocket import SubsetEvaluator
from optuna_rocket import loops
from optuna_rocket.costs import COSTS
from optuna_rocket.costs import read
from optuna_rocket.costs import summary
from tests.support import open_storage
from tests.support import package_log


# Optuna marks some of its pruners and its retries so.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SIZES = (100, 300, 900, 2700)
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=3),
    "percentile": lambda: optuna.pruners.PercentilePruner(50.0, n_startup_trials=3),
    "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(100, reduction_factor=3),
    "hyperband": lambda: optuna.pruners.HyperbandPruner(100, 2700, reduction_factor=3),
    "patient": lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(3), patience=0),
    "threshold": lambda: optuna.pruners.ThresholdPruner(upper=1.5),
    "nop": optuna.pruners.NopPruner,
    "rocket": RocketPruner,
}


class Recorder(BasePruner):
    """Notes at which report steps it is asked; stops where it is told to."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.asked: list[int | None] = []
        self._stop_at = stop_at

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        self.asked.append(trial.last_step)
        return trial.last_step == self._stop_at


@pytest.fixture
def evaluator() -> SubsetEvaluator:
    return SubsetEvaluator(2700, min_fraction=1 / 27)


def loss(x: float, n: int) -> float:
    return x**2 + 10 / math.sqrt(n)


def objective_of(evaluator: SubsetEvaluator) -> Callable[[optuna.Trial], float]:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1, 1)
        for subset in evaluator.subsets(trial):
            subset.report(loss(x, len(subset.indices)))
        return float(subset.value)

    return objective


def seeded_study(pruner: BasePruner | None = None, **arguments: Any) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.create_study(sampler=sampler, pruner=pruner, study_name="subsets", **arguments)


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_takes_the_reports(evaluator: SubsetEvaluator, name: str) -> None:
    study = seeded_study(PRUNERS[name]())
    study.optimize(objective_of(evaluator), n_trials=40)
    states = [trial.state for trial in study.trials]
    for trial in study.trials:
        steps = list(trial.intermediate_values)
        assert steps == list(SIZES[: len(steps)])
        if trial.state == TrialState.COMPLETE:
            assert trial.value == trial.intermediate_values[2700]
        else:
            assert trial.state == TrialState.PRUNED
            assert 2700 not in steps, "no trial is pruned after its full evaluation"
    assert study.best_trial.state == TrialState.COMPLETE
    if name not in ("nop", "patient"):
        assert states.count(TrialState.PRUNED) >= 5


def test_wilcoxon_by_instance() -> None:
    evaluator = SubsetEvaluator(12, min_fraction=0.25, by="instance")
    hardness = np.linspace(0, 1, 12)

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1, 1)
        for subset in evaluator.subsets(trial):
            (instance,) = subset.indices
            assert subset.step == instance
            subset.report(x**2 + hardness[instance])
        return float(subset.value)

    study = seeded_study(optuna.pruners.WilcoxonPruner())
    study.optimize(objective, n_trials=25)
    orders = set()
    for trial in study.trials:
        orders.add(tuple(trial.intermediate_values))
        assert len(trial.intermediate_values) >= 3, "nobody is asked before min_fraction"
        if trial.state == TrialState.COMPLETE:
            assert trial.value == pytest.approx(np.mean(list(trial.intermediate_values.values())))
            assert len(trial.intermediate_values) == 12
    assert len(orders) > 20, "each trial has an order of its own"
    assert any(trial.state == TrialState.PRUNED for trial in study.trials)


def test_the_pruner_is_never_asked_after_the_full_data(evaluator: SubsetEvaluator) -> None:
    pruner = Recorder()
    study = seeded_study(pruner)
    study.optimize(objective_of(evaluator), n_trials=1)
    assert pruner.asked == [100, 300, 900]


def test_what_a_subset_tells(evaluator: SubsetEvaluator) -> None:
    study = seeded_study(Recorder())
    seen = []
    for subset in evaluator.subsets(study.ask()):
        seen.append(subset)
        assert len(subset.indices) == subset.step
        assert subset.fraction == subset.step / 2700
        subset.report(1.0)
    assert [subset.is_full for subset in seen] == [False, False, False, True]
    assert evaluator.sizes == SIZES
    assert repr(seen[0]) == "Subset(step=100, fraction=0.03704, is_full=False)"


def test_ask_and_tell(evaluator: SubsetEvaluator) -> None:
    study = seeded_study(Recorder(stop_at=300))
    trial = study.ask()
    with pytest.raises(optuna.TrialPruned, match="report step 300"):
        for subset in evaluator.subsets(trial):
            subset.report(0.5)
    study.tell(trial, state=TrialState.PRUNED)
    assert study.trials[0].value == 0.5
    assert list(study.trials[0].intermediate_values) == [100, 300]


def test_threads_share_an_evaluator(evaluator: SubsetEvaluator) -> None:
    study = seeded_study(optuna.pruners.MedianPruner(n_startup_trials=3))
    study.optimize(objective_of(evaluator), n_trials=40, n_jobs=4)
    for trial in study.trials:
        x = trial.params["x"]
        for step, value in trial.intermediate_values.items():
            assert value == loss(x, step)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_retried_trial_goes_on(evaluator: SubsetEvaluator, kind: str, tmp_path: Path) -> None:
    place = str(tmp_path / ("study.db" if kind == "sqlite" else "study.log"))
    study = seeded_study(Recorder(), storage=open_storage(place))
    trial = study.ask()
    trial.suggest_float("x", -1, 1)
    with pytest.raises(KeyboardInterrupt):
        for subset in evaluator.subsets(trial):
            if subset.step == 900:
                raise KeyboardInterrupt
            subset.report(1.0)
    study.tell(trial, state=TrialState.FAIL)
    retry = optuna.storages.RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
    retry(study, study.trials[0])

    again = study.ask()
    again.suggest_float("x", -1, 1)
    steps = []
    for subset in evaluator.subsets(again):
        assert subset.carry is None
        steps.append(subset.step)
        subset.report(2.0)
    study.tell(again, subset.value)
    assert steps == [900, 2700]
    assert again.user_attrs["rocket:costs"]["steps"] == list(SIZES)
    assert study.trials[1].intermediate_values == {100: 1.0, 300: 1.0, 900: 2.0, 2700: 2.0}


@pytest.mark.parametrize(
    "stored",
    [summary(3, 1.5), {"steps": [4, 0, 3], "seconds": [0.5] * 3}],
    ids=["totals", "lists without a mark"],
)
def test_a_retried_trial_adds_to_the_costs_of_its_instances(stored: dict[str, Any]) -> None:
    evaluator = SubsetEvaluator(5, min_fraction=0.2, by="instance")
    study = seeded_study(Recorder())
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            user_attrs={COSTS: stored},
            intermediate_values={4: 1.0, 0: 1.0, 3: 1.0},
        )
    )
    for subset in evaluator.subsets(study.ask()):
        subset.report(2.0)
    known = read(study.trials[0].user_attrs)
    assert known.n_rounds == 5 and known.total >= 1.5
    assert known.by_instance and subset.value == pytest.approx(7 / 5)


def test_steps_tell_instances_from_examples_where_older_trials_have_no_mark() -> None:
    def is_told(steps: list[int]) -> bool:
        return read({COSTS: {"steps": steps, "seconds": [1.0] * len(steps)}}).by_instance

    assert is_told([3, 0, 1])
    assert not is_told([100, 300, 900, 900])
    assert not is_told([100, 300, 90, 270, 900]), "retried with another evaluator"
    assert not is_told([100, 900, 67, 600, 50, 450]), "three evaluators"


def test_a_trial_that_reported_all_repeats_the_last(evaluator: SubsetEvaluator) -> None:
    study = seeded_study(Recorder())
    for by, steps in (("resource", SIZES), ("instance", range(4))):
        chosen = evaluator
        if by == "instance":
            chosen = SubsetEvaluator(4, min_fraction=1, by="instance")
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING, intermediate_values={step: 1.0 for step in steps}
            )
        )
        rounds = list(_reporting(chosen, study.ask(), 1.0))
        assert len(rounds) == 1
        assert rounds[0].is_full
        assert rounds[0].value == 1.0


def _reporting(evaluator: SubsetEvaluator, trial: Any, value: float) -> Any:
    for subset in evaluator.subsets(trial):
        subset.report(value)
        yield subset


def test_trials_outside_of_a_study(evaluator: SubsetEvaluator) -> None:
    objective: Any = objective_of(evaluator)
    assert objective(optuna.trial.FixedTrial({"x": 0.5})) == loss(0.5, 2700)
    study = seeded_study(Recorder())
    study.optimize(objective, n_trials=2)
    assert objective(study.best_trial) == study.best_value
    rounds = [s.step for s in _reporting(evaluator, optuna.trial.FixedTrial({}), 1.0)]
    assert rounds == [2700]


def test_a_trial_made_by_hand_goes_through_all_instances() -> None:
    """Optuna gives it the number -1."""
    evaluator = SubsetEvaluator(5, min_fraction=0.4, by="instance")
    rounds = list(_reporting(evaluator, optuna.create_trial(value=0.0), 2.0))
    assert sorted(subset.step for subset in rounds) == [0, 1, 2, 3, 4]
    assert rounds[-1].value == 2.0


def test_many_instances_are_arranged_at_once() -> None:
    """Before the first round each was looked for among all: seconds for twenty thousand."""
    evaluator = SubsetEvaluator(20_000, min_fraction=0.1, by="instance")
    trial = seeded_study(Recorder()).ask()
    begun = time.perf_counter()
    next(evaluator.subsets(trial))
    assert time.perf_counter() - begun < 0.5


def stand_in(trial: optuna.Trial) -> Any:
    """Stands for a trial, as TorchDistributedTrial does, and passes on what it is asked."""

    def passed_on(name: str) -> property:
        return property(lambda _: getattr(trial, name))

    names = {*BaseTrial.__abstractmethods__, "number"}
    return type("StandIn", (BaseTrial,), {name: passed_on(name) for name in names})()


@pytest.mark.parametrize("by", ["resource", "instance"])
def test_a_trial_of_another_class_is_evaluated_in_full_and_told_once(by: Any) -> None:
    evaluator = SubsetEvaluator(90, min_fraction=1 / 9, by=by)
    objective: Any = objective_of(evaluator)
    study = seeded_study(Recorder(stop_at=10))
    with package_log("evaluator") as messages:
        study.optimize(lambda trial: float(objective(stand_in(trial))), n_trials=2)
        objective(optuna.trial.FixedTrial({"x": 0.5}))
        objective(study.trials[0])
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    assert [trial.intermediate_values for trial in study.trials] == [{}, {}]
    assert len(messages) == 1
    assert "StandIn" in messages[0] and "full data" in messages[0] and "rank 0" in messages[0]


@pytest.mark.parametrize("by", ["resource", "instance"])
def test_several_objectives(by: Any) -> None:
    evaluator = SubsetEvaluator(90, min_fraction=1 / 9, by=by)
    steps = []

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", -1, 1)
        for subset in evaluator.subsets(trial):
            steps.append(subset.step)
            subset.report((x, -x))  # type: ignore[arg-type]
        value: tuple[float, float] = subset.value
        return value

    study = seeded_study(directions=["minimize", "maximize"])
    study.optimize(objective, n_trials=1)
    x = study.trials[0].params["x"]
    assert study.trials[0].values == pytest.approx([x, -x])
    assert len(steps) == (1 if by == "resource" else 90)


def test_carry_is_handed_on(evaluator: SubsetEvaluator) -> None:
    study = seeded_study(Recorder())
    found, trained = [], 0.0
    for subset in evaluator.subsets(study.ask()):
        found.append(subset.carry)
        trained += subset.remaining * subset.step
        assert trained == pytest.approx(subset.step)  # what came before is not paid again
        subset.carry = f"weights of {subset.step}"
        subset.report(1.0)
    assert read(study.trials[0].user_attrs).examples == (100, 200, 600, 1800)
    assert found == [None, *(f"weights of {size}" for size in SIZES[:-1])]


def test_without_carry_every_subset_is_trained_whole(evaluator: SubsetEvaluator) -> None:
    study = seeded_study(Recorder())
    remaining = []
    for subset in evaluator.subsets(study.ask()):
        remaining.append(subset.remaining)
        subset.report(1.0)
    assert remaining == [1.0] * len(SIZES)
    folds = SubsetEvaluator(5, min_fraction=0.2, by="instance")
    for fold in folds.subsets(study.ask()):
        assert fold.remaining == 1.0
        fold.carry = "something"
        fold.report(1.0)


def test_costs_are_small_and_stored_for_pruned_trials_too(evaluator: SubsetEvaluator) -> None:
    study = seeded_study(Recorder(stop_at=300))
    study.optimize(objective_of(evaluator), n_trials=1)
    costs = study.trials[0].user_attrs["rocket:costs"]
    assert costs["steps"] == [100, 300]
    assert all(0 <= seconds < 10 for seconds in costs["seconds"])


def test_misuse_of_the_loop(evaluator: SubsetEvaluator) -> None:
    study = seeded_study(Recorder())
    rounds = evaluator.subsets(study.ask())
    first = next(rounds)
    with pytest.raises(RuntimeError, match="no result of the trial"):
        _ = first.value
    first.report(1.0)
    with pytest.raises(RuntimeError, match="reported already"):
        first.report(1.0)
    second = next(rounds)
    with pytest.raises(TypeError, match="value='many' is not a number"):
        second.report("many")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="was not reported"):
        next(rounds)

    (full,) = _reporting(evaluator, optuna.trial.FixedTrial({}), 3.0)
    assert full.value == 3.0
    unreported = next(evaluator.subsets(optuna.trial.FixedTrial({})))
    with pytest.raises(RuntimeError, match=r"call subset.report\(value\) first"):
        _ = unreported.value


def test_forgetting_the_last_report_fails_the_trial(evaluator: SubsetEvaluator) -> None:
    def objective(trial: optuna.Trial) -> float:
        for subset in evaluator.subsets(trial):
            if not subset.is_full:
                subset.report(1.0)
        return float(subset.value)

    study = seeded_study(Recorder())
    study.optimize(objective, n_trials=1, catch=(RuntimeError,))
    assert study.trials[0].state == TrialState.FAIL


@pytest.mark.parametrize(
    ("pruner", "state", "n_reports"),
    [
        (optuna.pruners.ThresholdPruner(upper=9.0), TrialState.PRUNED, 1),
        (optuna.pruners.NopPruner(), TrialState.FAIL, 4),
    ],
)
def test_nan_is_reported(
    evaluator: SubsetEvaluator, pruner: BasePruner, state: TrialState, n_reports: int
) -> None:
    def objective(trial: optuna.Trial) -> float:
        for subset in evaluator.subsets(trial):
            subset.report(math.nan)
        return float(subset.value)

    study = seeded_study(pruner)
    study.optimize(objective, n_trials=1)
    assert study.trials[0].state == state
    assert len(study.trials[0].intermediate_values) == n_reports


def useless_smallest(evaluator: SubsetEvaluator) -> Callable[[optuna.Trial], float]:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for subset in evaluator.subsets(trial):
            subset.report(-x if subset.step == 100 else x)
        return float(subset.value)

    return objective


def test_a_subset_that_misleads_is_not_pruned_on(evaluator: SubsetEvaluator) -> None:
    pruner = Recorder()
    study = seeded_study(pruner)
    study.optimize(useless_smallest(evaluator), n_trials=8)
    pruner.asked.clear()
    with package_log("evaluator") as messages:
        study.optimize(useless_smallest(evaluator), n_trials=5)
    assert pruner.asked == [300, 900] * 5
    assert sum("do not predict" in message for message in messages) == 1
    found = evaluator.rank_correlations(study)
    for size, expected in ((100, -1), (300, 1)):
        correlation, n_pairs = found[size]
        assert correlation == pytest.approx(expected)
        assert n_pairs == 13


def test_two_evaluators_in_one_trial_are_told_of_once() -> None:
    study = seeded_study(optuna.pruners.NopPruner())
    evaluators = [SubsetEvaluator(n, min_fraction=1 / 9, reduction_factor=9) for n in (900, 600)]

    def objective(trial: optuna.Trial) -> float:
        return sum(objective_of(evaluator)(trial) for evaluator in evaluators)

    with package_log("evaluator") as messages:
        study.optimize(objective, n_trials=4)
    (message,) = messages
    assert message.startswith("Trial 0 is evaluated with two SubsetEvaluators, but has one curve")
    assert list(study.trials[3].intermediate_values) == [100, 900, 67, 600]


@pytest.mark.parametrize("by", ["resource", "instance"])
def test_a_loop_that_has_ended_and_begins_again_is_told_of(by: Any) -> None:
    evaluator = SubsetEvaluator(90, min_fraction=1 / 9, by=by)
    study = seeded_study(optuna.pruners.NopPruner())
    trial = study.ask()
    rounds = list(_reporting(evaluator, trial, 1.0))
    assert len(rounds) == len(evaluator.sizes)
    copied: SubsetEvaluator = pickle.loads(pickle.dumps(evaluator))
    for again in (evaluator, copied, SubsetEvaluator(90, min_fraction=1 / 9, by=by)):
        with package_log("evaluator") as messages:
            assert len(list(_reporting(again, trial, 2.0))) == 1
        assert [x.startswith("Trial 0 has been evaluated on these") for x in messages] == [True]
    assert set(study.trials[0].intermediate_values.values()) == {1.0}
    with package_log("evaluator") as messages:
        assert len(list(_reporting(evaluator, study.ask(), 1.0))) == len(rounds)
    assert not messages, "another trial may"


def test_a_loop_with_the_full_data_alone_may_be_run_once_a_fold() -> None:
    evaluator = SubsetEvaluator(90, min_fraction=1)
    trial = seeded_study(optuna.pruners.NopPruner()).ask()
    with package_log("evaluator") as messages:
        for _ in range(3):
            assert [x.step for x in _reporting(evaluator, trial, 1.0)] == [90]
    assert not messages


def test_a_loop_that_was_broken_off_goes_on(evaluator: SubsetEvaluator) -> None:
    trial = seeded_study(optuna.pruners.NopPruner()).ask()
    for subset in evaluator.subsets(trial):
        if subset.step == 900:
            break  # as by an exception that the objective catches
        subset.report(1.0)
    assert [x.step for x in _reporting(evaluator, trial, 1.0)] == [900, 2700]


def test_where_nobody_is_reported_to_loops_may_be_many() -> None:
    evaluator = SubsetEvaluator(90, min_fraction=1 / 9)
    study = optuna.create_study(directions=["minimize", "minimize"])
    for trial in (study.ask(), optuna.trial.FixedTrial({})):
        for _ in range(3):
            assert len(list(_reporting(evaluator, trial, 1.0))) == 1


def test_loops_are_forgotten_with_their_trials(evaluator: SubsetEvaluator) -> None:
    study = seeded_study(optuna.pruners.NopPruner())
    study.optimize(objective_of(evaluator), n_trials=3)
    gc.collect()
    assert not [trial for trial in loops._loops if trial.study.study_name == study.study_name]


def test_another_grid_in_the_same_study_is_told(evaluator: SubsetEvaluator) -> None:
    study = seeded_study(optuna.pruners.MedianPruner())
    study.optimize(objective_of(SubsetEvaluator(2700, min_fraction=0.1)), n_trials=2)
    with package_log("evaluator") as messages:
        study.optimize(objective_of(evaluator), n_trials=3)
    assert sum("report at" in message for message in messages) == 1
    assert [trial.state for trial in study.trials].count(TrialState.COMPLETE) >= 2


def test_copies_and_pickles(evaluator: SubsetEvaluator) -> None:
    for twin in (copy.deepcopy(evaluator), pickle.loads(pickle.dumps(evaluator))):
        study = seeded_study(Recorder())
        study.optimize(objective_of(twin), n_trials=2)
        assert twin.sizes == SIZES


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"reduction_factor": 9}, "reduction_factor=9 "),
        ({"reduction_factor": 0.5}, "reduction_factor=0.5 "),
        ({"reduction_factor": np.array([3, 9])}, "reduction_factor=array([3, 9]) "),
        ({"stratify": "blocks"}, "stratify='blocks' "),
        ({"groups": [0] * 90}, "groups=[0, 0, 0, 0, 0, 0, ...] "),
        ({"groups": np.zeros(90)}, "groups=array("),
        ({"min_examples": 2}, "min_examples=2 "),
        ({"min_examples": True}, "min_examples=True "),
        ({"scale": {"lr": 0.0}}, "scale={'lr': 0.0} "),
        ({"scale": {}}, "scale={} "),
    ],
)
def test_what_means_nothing_for_instances_is_refused(given: dict[str, Any], shown: str) -> None:
    with pytest.raises(ValueError) as caught:
        SubsetEvaluator(90, min_fraction=0.5, by="instance", **given)
    assert str(caught.value).startswith(shown)
    assert str(caught.value).endswith(
        "means nothing with by='instance'. Leave it out, or use by='resource'."
    )


def test_defaults_may_be_given_for_instances() -> None:
    defaults: dict[str, Any] = {
        **{"stratify": None, "groups": None, "scale": None},
        **{"reduction_factor": 3.0, "min_examples": np.int64(10)},
    }
    assert len(SubsetEvaluator(5, min_fraction=0.2, by="instance", **defaults).sizes) == 5


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="by='fold'"):
        SubsetEvaluator(90, min_fraction=0.5, by="fold")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min_fraction=2"):
        SubsetEvaluator(90, min_fraction=2)
