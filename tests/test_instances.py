from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import SubsetEvaluator
from optuna_rocket import costs
from optuna_rocket import explain
from optuna_rocket.forecasts import past_forecasts
from optuna_rocket.instances import N_PEERS
from optuna_rocket.records import Record
from optuna_rocket.trials import TrialReader
from optuna_rocket.trials import records_of
from tests.support import package_log


N = 12
HARDNESS = 10 * np.random.default_rng(0).normal(size=N)
MARKED = {costs.COSTS: costs.INSTANCE_MARK}


def stored(
    reports: Mapping[int, float] | Sequence[float],
    value: float | None = None,
    attributes: Mapping[str, Any] = MARKED,
) -> FrozenTrial:
    """A complete trial, or a pruned one where there is no value."""
    if not isinstance(reports, Mapping):
        reports = dict(enumerate(reports))
    return optuna.create_trial(
        state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
        value=value,
        params={"x": 0.5},
        distributions={"x": FloatDistribution(0, 1)},
        intermediate_values=dict(reports),
        user_attrs=dict(attributes),
    )


def last_record(*trials: FrozenTrial, direction: Any = "minimize") -> Record:
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    return records_of(study, study.get_trials(deepcopy=False), len(trials))[-1]


def by_instance(sampler: optuna.samplers.BaseSampler, n_trials: int) -> optuna.Study:
    evaluator = SubsetEvaluator(N, min_fraction=0.25, by="instance")

    def objective(trial: Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for subset in evaluator.subsets(trial):
            (i,) = subset.indices
            subset.report((x - 0.3) ** 2 + HARDNESS[i] + 0.01 * math.sin(20 * x + i))
        return float(subset.value)

    pruner = optuna.pruners.WilcoxonPruner(p_threshold=0.2)
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=n_trials)
    return study


@pytest.fixture(scope="module")
def study() -> optuna.Study:
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        return by_instance(RocketSampler(seed=0), 25)


def test_a_stopped_trial_is_judged_beside_others_on_its_instances(study: optuna.Study) -> None:
    records = records_of(study, study.get_trials(deepcopy=False), len(study.trials))
    pruned = [x for x in records if x.trial.state == TrialState.PRUNED]
    assert len(pruned) >= 5
    for record in pruned:
        true = (record.params["x"] - 0.3) ** 2 + HARDNESS.mean()
        assert -record.score == pytest.approx(true, abs=0.02), "instances differ by far more"
        assert record.fidelity == len(record.trial.intermediate_values) / N
    assert all(record.curve is None for record in records), "their numbers are no effort"


def test_records_are_those_of_a_new_reader(study: optuna.Study) -> None:
    reader, trials = TrialReader(), study.get_trials(deepcopy=False)
    growing = optuna.create_study()
    for k, trial in enumerate(trials):
        growing.add_trial(trial)
        held = growing.get_trials(deepcopy=False)
        kept = reader._arranged(held, (-1.0,), k + 1)
        new = records_of(growing, held, k + 1)
        assert [(x.score, x.fidelity) for x in kept] == [(x.score, x.fidelity) for x in new]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_scores_by_hand(direction: str) -> None:
    sign = 1 if direction == "maximize" else -1
    peers = [stored([1, 2, 3, 6], 3.0), stored([2, 2, 2, 3], 2.5)]  # a weighted mean
    record = last_record(*peers, stored({3: 5.0, 1: 2.0}), direction=direction)
    expected = np.mean([3.0 + (5 - 6 + 2 - 2) / 2, 2.5 + (5 - 3 + 2 - 2) / 2])
    assert record.score == pytest.approx(sign * expected)
    assert record.fidelity == 0.5


@pytest.mark.parametrize(
    "peer",
    [
        stored([1.0, 2.0, 3.0], 2.0, {}),
        stored([1.0, 2.0, 3.0], 2.0, {costs.COSTS: {"steps": [1, 2], "seconds": [1, 1]}}),
        stored([1.0, 2.0], 1.5),
        stored([1.0, math.inf, math.nan], 1.5),
        stored([1.0, 2.0, 3.0], math.inf),
        stored([1.0, 2.0, 3.0]),
    ],
    ids=["epochs", "sizes", "lacks one", "not finite", "value not finite", "pruned"],
)
def test_other_trials_tell_nothing(peer: FrozenTrial) -> None:
    record = last_record(peer, stored({2: 5.0, 1: 2.0}))
    assert record.score == -3.5, "the mean of what it has seen"


def test_instances_tell_nothing_of_reports_by_epoch() -> None:
    peers = [stored([9.0, 8.0, 7.0, 6.0], 6.0 + k) for k in range(3)]
    record = last_record(*peers, stored({1: 3.0}, attributes={}))
    assert record.score == -3.0


@pytest.mark.parametrize(
    ("reports", "score"),
    [([1.0, math.inf], -math.inf), ([1.0, -math.inf], math.inf), ([1.0, math.nan], -2.75)],
)
def test_what_is_not_finite(reports: list[float], score: float) -> None:
    """NaN counts as the lower quartile, as a last report of NaN does."""
    peers = [stored([1.0, 2.0, 3.0], 2.0), stored([2.0, 3.0, 4.0], 3.0)]
    assert last_record(*peers, stored(reports)).score == score


def test_only_the_latest_trials_are_compared_with() -> None:
    old = stored([0.0, 0.0], 1000.0)
    peers = [stored([0.0, 2.0], 1.0)] * N_PEERS
    assert last_record(old, *peers, stored({0: 0.5})).score == -1.5


def test_a_trial_that_stops_by_itself_is_known_too() -> None:
    evaluator = SubsetEvaluator(4, min_fraction=1, by="instance")
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    trial = study.ask()
    rounds = evaluator.subsets(trial)
    next(rounds).report(1.0)
    assert costs.by_instance(study.trials[0].user_attrs)
    study.tell(trial, state=TrialState.PRUNED)
    assert "after 1 instance, with a mean of 1 there" in explain(study, 0).text


def test_explain_tells_where_a_trial_was_stopped(study: optuna.Study) -> None:
    pruned = [x for x in study.trials if x.state == TrialState.PRUNED][-1]
    found = explain(study, pruned.number)
    reports = list(pruned.intermediate_values.values())
    assert found.forecast is None and found.instances is not None
    assert found.value == found.instances.mean == pytest.approx(np.mean(reports))
    assert (found.instances.n_seen, found.instances.n_all) == (len(reports), N)
    records = records_of(study, study.get_trials(deepcopy=False), len(study.trials))
    assert found.instances.expected == -records[pruned.number].score
    assert (
        f"It was pruned after {len(reports)} of {N} instances, with a mean of "
        f"{np.mean(reports):.4g} there. Compared with complete trials on the same ones it stands "
        f"for {found.instances.expected:.4g} over all."
    ) in found.text
    assert "forecast" not in found.text
    assert explain(study, study.best_trial.number).instances is None


def test_numbers_of_instances_are_no_course(study: optuna.Study) -> None:
    assert past_forecasts(study, slice(None)) == []
    assert SubsetEvaluator(N, min_fraction=0.25, by="instance").rank_correlations(study) == {}


def test_rocket_pruner_stops_nobody_by_instance_and_says_so(study: optuna.Study) -> None:
    evaluator = SubsetEvaluator(N, min_fraction=0.25, by="instance")
    stopped = optuna.create_study(pruner=RocketPruner(n_startup_trials=3))
    # Beside trials by epoch there is a forecast.
    for k in range(6):
        stopped.add_trial(stored({3 * e: 1.0 + k + 1 / (e + 1) for e in range(9)}, 1.0 + k, {}))
    with package_log("evaluator") as messages, package_log("pruner") as failures:
        for _ in range(3):
            trial = stopped.ask()
            for subset in evaluator.subsets(trial):
                subset.report(1000.0)
            stopped.tell(trial, subset.value)
    assert len(messages) == 1 and "RocketPruner takes report steps for amounts" in messages[0]
    assert not failures


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_where_values_are_no_means_a_stopped_trial_counts_as_a_poor_one(direction: Any) -> None:
    reports = [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [3.0, 4.0, 5.0], [5.0, 6.0, 7.0]]
    sums = [stored(x, value=sum(x)) for x in reports]
    sign = -1 if direction == "minimize" else 1
    record = last_record(*sums, stored({0: 4.0, 2: 6.0}), direction=direction)
    assert record.score == pytest.approx(np.quantile([sign * sum(x) for x in reports], 0.25))
    study = optuna.create_study(direction=direction)
    study.add_trials([*sums, stored({0: 4.0, 2: 6.0})])
    assert "stands for" not in explain(study, 4).text


def test_infinite_instances_elsewhere_do_no_harm() -> None:
    odd = stored([math.inf, -math.inf, 1.0], value=2.0)
    assert last_record(odd, stored({2: 3.0})).score == -4.0
