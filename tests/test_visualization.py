from __future__ import annotations

import itertools
from itertools import count
import json
import math
from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import Trial
from optuna.trial import TrialState
import pytest
import torch

import optuna_rocket
from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import attributes
from optuna_rocket import costs
from optuna_rocket.hindsight import look
from optuna_rocket.names import short_names
from tests import related_studies
from tests.dashboard_page import noisy_error
from tests.support import Crash
from tests.support import never_feasible
from tests.support import rough
from tests.support import rough_study


pytest.importorskip("plotly", reason="plotly is not installed")
visualization = optuna_rocket.visualization
from optuna_rocket.visualization import cost  # noqa: E402
from optuna_rocket.visualization import forecast  # noqa: E402
from optuna_rocket.visualization import influence  # noqa: E402
from optuna_rocket.visualization import policy_timeline  # noqa: E402
from optuna_rocket.visualization import relevance  # noqa: E402
from optuna_rocket.visualization import slice_expectation  # noqa: E402


PLOTS = [getattr(visualization, name) for name in visualization.__all__]
MARKUP = "<b>x</b><a href='http://e'>$y$</a>%{x}"


@pytest.fixture(scope="module")
def reported() -> Study:
    study = optuna.create_study(sampler=RocketSampler(seed=1), pruner=RocketPruner())
    study.optimize(noisy_error, n_trials=40)
    return study


def three_goals(trial: Trial) -> tuple[float, float, float]:
    """An error of rate and width, a cost of the width alone, and a constant."""
    width = trial.suggest_float("width", 0, 1)
    rate = trial.suggest_float("rate", 1e-4, 1, log=True)
    trial.set_constraint("memory", width - 0.9)
    return (math.log10(rate) + 2) ** 2 + 1 - width, 100 * width, 7.0


def never_allowed(trial: Trial) -> tuple[float, float]:
    trial.set_constraint("never", 1.0)
    return trial.suggest_float("x", 0, 1), 1.0


@pytest.fixture(scope="module")
def goals() -> Study:
    study = optuna.create_study(
        directions=["minimize", "maximize", "minimize"], sampler=RocketSampler(seed=0)
    )
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["error", "gain", "idle"])
    study.optimize(three_goals, n_trials=25)
    return study


def figure_text(figure: Any) -> str:
    return json.dumps(json.loads(figure.to_json()), ensure_ascii=False)


@pytest.mark.parametrize("plot", PLOTS)
def test_plots_draw_any_study(plot: Any, reported: Study) -> None:
    go = pytest.importorskip("plotly.graph_objects")
    empty = optuna.create_study()
    waiting = optuna.create_study()
    waiting.enqueue_trial({"x": 1.0})
    failed = optuna.create_study()
    failed.tell(failed.ask(), state=TrialState.FAIL)
    mixed = rough_study(None, seed=2)
    mixed.optimize(rough, n_trials=16, catch=(Crash,))
    bare = optuna.create_study(sampler=RocketSampler(seed=0))
    bare.optimize(lambda trial: float(trial.number), n_trials=6)
    for study in (empty, waiting, failed, bare, mixed, reported):
        before = len(study.trials), str(study.trials[-1:])
        figure = plot(study)
        assert isinstance(figure, go.Figure)
        assert figure.layout.title.text
        assert (len(study.trials), str(study.trials[-1:])) == before


@pytest.mark.parametrize("name", ["plot_cost", "plot_forecast"])
def test_plots_of_reports_refuse_several_objectives(name: str) -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(ValueError, match=f"{name} is .* one objective and this one has 2: trials"):
        getattr(visualization, name)(study)


@pytest.mark.parametrize(
    "name", ["plot_policy_timeline", "plot_relevance", "plot_slice_expectation"]
)
def test_plots_draw_any_study_of_several_objectives(name: str, goals: Study) -> None:
    plot = getattr(visualization, name)
    empty = optuna.create_study(directions=["minimize"] * 3)
    waiting = optuna.create_study(directions=["minimize"] * 2)
    waiting.enqueue_trial({"x": 1.0})
    failed = optuna.create_study(directions=["minimize"] * 2)
    failed.tell(failed.ask(), state=TrialState.FAIL)
    forbidden = optuna.create_study(directions=["minimize"] * 2, sampler=RocketSampler(seed=0))
    forbidden.optimize(never_allowed, n_trials=8)
    for study in (empty, waiting, failed, forbidden, goals):
        figure = plot(study)
        assert figure.layout.title.text
        assert len(figure.to_json()) < 50_000


@pytest.mark.parametrize("plot", PLOTS)
def test_figures_stay_small_and_plain(plot: Any, reported: Study) -> None:
    text = plot(reported).to_json()
    assert len(text) < 50_000
    assert "bdata" not in text, "older versions of plotly.js do not read binary arrays"


@pytest.mark.parametrize("plot", PLOTS)
def test_markup_in_names_and_values_is_shown_as_text(plot: Any) -> None:
    def objective(trial: Trial) -> float:
        x = trial.suggest_float(MARKUP, 0, 1)
        kind = trial.suggest_categorical("kind", [MARKUP, "plain"])
        for epoch in range(1, 8):
            trial.report(x + (kind == "plain") + 1 / epoch, epoch)
        return x + (kind == "plain")

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=12)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names([MARKUP])
    text = figure_text(plot(study))
    for piece in ("<b>x", "<a", "$y$"):
        assert piece not in text
    named = {visualization.plot_relevance, visualization.plot_slice_expectation}
    if plot in named:
        assert "&lt;b&gt;x" in text


@pytest.mark.parametrize("plot", PLOTS)
def test_the_users_settings_of_torch_do_not_matter(plot: Any, reported: Study) -> None:
    usual = plot(reported).to_json()
    torch.set_default_device("meta")  # nothing can be computed there
    try:
        assert plot(reported).to_json() == usual
    finally:
        torch.set_default_device(None)


def test_timeline_tells_kinds_spread_and_distance(reported: Study) -> None:
    info = policy_timeline.policy_timeline_info(look(reported))
    assert info.numbers == tuple(range(40))
    assert info.kinds[0] == policy_timeline.OTHER
    assert set(info.kinds[1:]) > {"random", "local"}
    assert math.isnan(info.distance[0]) and all(0 <= d <= 1 for d in info.distance[1:])
    assert np.mean(info.spread[1:6]) > np.mean(info.spread[-10:])
    assert info.is_best[0] and 1 < sum(info.is_best) < 20
    assert info.components.shape == (len(info.state_numbers), 2)
    assert 0 < info.explained[1] <= info.explained[0] <= 1
    recent = policy_timeline.policy_timeline_info(look(reported), 7)
    assert recent.numbers == info.numbers[-7:]
    assert recent.distance == info.distance[-7:]


def test_principal_components_find_the_direction_of_change() -> None:
    t = np.linspace(0, 1, 20)
    rows = np.outer(t, [3.0, -4.0, 0.0]) + np.outer(np.sin(40 * t), [0.0, 0.0, 0.1])
    projected, explained = policy_timeline.principal_components(rows, 2)
    assert explained[0] > 0.99
    assert np.allclose(projected[:, 0], 5 * (t - t.mean()), atol=0.05)


def test_forecasts_come_from_earlier_trials_alone(reported: Study) -> None:
    info = forecast.forecast_info(reported)
    first = min(found.number for found in info.forecasts)
    complete = [t.number for t in reported.trials if t.state == TrialState.COMPLETE]
    assert first >= complete[3], "three pairs are needed before the first forecast"
    assert all(found.truth == reported.trials[found.number].value for found in info.forecasts)
    assert list(info.held) == sorted(info.held)

    target = info.forecasts[0].number
    changed = optuna.create_study()
    for trial in reported.trials:
        if trial.number > target and trial.state == TrialState.COMPLETE:
            trial.value = 9.0
        changed.add_trial(trial)
    again = forecast.forecast_info(changed).forecasts[0]
    assert again.expected == info.forecasts[0].expected


def test_calibrated_forecasts_lie_on_the_diagonal() -> None:
    """Learning curves without a trend between trials: the forecast's own assumptions."""

    def objective(trial: Trial) -> float:
        rng = np.random.default_rng(trial.number)
        level = rng.normal()
        for epoch in (1, 2, 4):
            trial.report(level + rng.normal(), epoch)
        trial.report(level, 8)
        return float(level)

    study = optuna.create_study()
    study.optimize(objective, n_trials=80)
    info = forecast.forecast_info(study)
    assert np.abs(np.array(info.held) - info.shares).max() < 0.15
    assert 0.3 < info.correlation < 1


def test_cost_counts_all_rounds_and_full_evaluations(reported: Study) -> None:
    info = cost.cost_info(reported)
    assert info.unit == "examples" and info.full == 9000
    for number, state, paid in zip(info.numbers, info.trial_states, info.costs, strict=True):
        steps = reported.trials[number].intermediate_values
        assert paid == pytest.approx(sum(steps) / 9000)
        assert (state == "COMPLETE") == (9000 in steps)
    assert info.saved == pytest.approx(1 - sum(info.costs) / 40)
    assert cost.cost_info(reported, "seconds").full > 0


def carried(study: Study, seconds: list[float], warm: bool) -> None:
    """Add a trial whose rounds took these seconds, on a ninth, a third and all of 900 examples."""
    steps = [100, 300, 900][: len(seconds)]
    costs: dict[str, Any] = {"steps": steps, "seconds": seconds}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.COMPLETE if len(steps) == 3 else TrialState.PRUNED,
            value=1.0,
            intermediate_values=dict.fromkeys(steps, 1.0),
            user_attrs={"rocket:costs": costs | ({"warm": True} if warm else {})},
        )
    )


def test_carried_weights_make_complete_trials_the_measure() -> None:
    """The last round of a warm trial takes less than a full evaluation from nothing would."""
    study = optuna.create_study()
    for seconds in ([4.0, 4.0, 4.0], [4.0], [4.0, 4.0, 4.0]):
        carried(study, seconds, warm=True)
    info = cost.cost_info(study, "seconds")
    assert info.is_warm and info.full == 12
    assert info.costs == pytest.approx((1, 1 / 3, 1))
    assert "instead of 3 complete trials, 22 % less" in figure_text(
        visualization.plot_cost(study, "seconds")
    )
    known = cost.cost_info(study, "seconds", full=10)
    assert not known.is_warm and known.costs == pytest.approx((1.2, 0.4, 1.2))
    assert cost.cost_info(study).costs == pytest.approx((13 / 9, 1 / 9, 13 / 9))


def test_without_carried_weights_the_last_round_is_the_measure() -> None:
    study = optuna.create_study()
    carried(study, [1.0, 3.0, 9.0], warm=False)
    info = cost.cost_info(study, "seconds")
    assert info.full == 9 and info.costs == pytest.approx((13 / 9,)) and not info.is_warm


def test_the_evaluator_tells_whether_weights_were_carried() -> None:
    def objective(trial: Trial) -> float:
        for subset in subsets.subsets(trial):
            subset.carry = "weights" if trial.number == 1 else None
            subset.report(1.0)
        return float(subset.value)

    subsets = optuna_rocket.SubsetEvaluator(900, min_fraction=1 / 9)
    study = optuna.create_study()
    study.optimize(objective, n_trials=2)
    assert [costs.read(trial.user_attrs).is_warm for trial in study.trials] == [False, True]


def test_what_remains_is_what_a_trial_costs() -> None:
    def objective(trial: Trial) -> float:
        for subset in subsets.subsets(trial):
            _ = subset.remaining if trial.number else None
            subset.carry = "weights"
            subset.report(1.0)
        return float(subset.value)

    subsets = optuna_rocket.SubsetEvaluator(900, min_fraction=1 / 9)
    study = optuna.create_study()
    study.optimize(objective, n_trials=2)
    assert costs.read(study.trials[0].user_attrs).examples == (100, 300, 900)
    assert costs.read(study.trials[1].user_attrs).examples == (100, 200, 600)
    assert cost.cost_info(study).costs == pytest.approx((13 / 9, 1))


@pytest.mark.parametrize("stored", [None, [1], [1, -1], [1, 10**9], ["a", "b"], [1, math.nan]])
def test_strange_examples_are_not_believed(stored: Any) -> None:
    attributes = {"rocket:costs": {"steps": [1, 2], "seconds": [0, 0], "examples": stored}}
    assert costs.read(attributes).examples == (1, 2)


@pytest.mark.parametrize("full", [0, -1.0, math.nan, math.inf])
def test_the_cost_of_a_full_evaluation_is_checked(full: float, reported: Study) -> None:
    with pytest.raises(ValueError, match="full="):
        visualization.plot_cost(reported, full=full)


def test_cost_of_plain_reports_is_the_last_step() -> None:
    study = optuna.create_study()
    for last in (10, 4, 10):
        trial = study.ask()
        for step in range(1, last + 1):
            trial.report(0.5, step)
        study.tell(
            trial,
            0.5 if last == 10 else None,
            TrialState.COMPLETE if last == 10 else TrialState.PRUNED,
        )
    info = cost.cost_info(study)
    assert info.costs == (1.0, 0.4, 1.0)
    assert info.unit == "report steps"


def test_running_and_failed_trials_have_saved_nothing() -> None:
    study = optuna.create_study()
    for last, state in ((10, TrialState.COMPLETE), (4, TrialState.PRUNED), (2, TrialState.FAIL)):
        trial = study.ask()
        for step in range(1, last + 1):
            trial.report(0.5, step)
        study.tell(trial, 0.5 if state == TrialState.COMPLETE else None, state)
    for _ in range(6):
        study.ask().report(0.5, 1)
    info = cost.cost_info(study)
    assert info.costs == pytest.approx((1.0, 0.4, 0.2, *[0.1] * 6))
    assert info.in_full == pytest.approx((1.0, 1.0, 0.2, *[0.1] * 6))
    assert info.saved == pytest.approx(0.6 / 2.8)
    figure = visualization.plot_cost(study)
    assert "2.2 instead of 2.8 full evaluations, 21 % less" in figure_text(figure)
    spent, in_full = figure.data[:2]
    assert spent.y[-1] == pytest.approx(2.2) and in_full.y[-1] == pytest.approx(2.8)


def test_epochs_from_zero_cost_as_much_as_from_one() -> None:
    study = optuna.create_study()
    for first in (0, 1):
        for last, state in ((4, TrialState.COMPLETE), (0, TrialState.PRUNED)):
            trial = study.ask()
            for epoch in range(last + 1):
                trial.report(0.5, epoch + first)
            study.tell(trial, 0.5 if last else None, state)
        info = cost.cost_info(study)
        if first == 0:
            assert info.costs == (1.0, 0.2) and info.full == 5
            study = optuna.create_study()
    assert info.costs == (1.0, 0.2) and info.full == 5


def test_short_trainings_have_saved_nothing() -> None:
    study = optuna.create_study()
    for last, state in (
        (8, TrialState.COMPLETE),
        (2, TrialState.COMPLETE),
        (4, TrialState.PRUNED),
    ):
        trial = study.ask()
        for epoch in range(1, last + 1):
            trial.report(0.5, epoch)
        study.tell(trial, 0.5 if state == TrialState.COMPLETE else None, state)
    assert cost.cost_info(study).costs == (1.0, 1.0, 0.5)
    assert cost.cost_info(study, full=8).costs == (1.0, 0.25, 0.5), "unless told what is full"


STRANGE_NUMBERS: list[Any] = [-1, math.inf, math.nan, "many", [], None]


@pytest.mark.parametrize(
    "stored",
    [7, {"steps": [1]}, {"steps": ["a"], "seconds": [1]}, {"by": "instance"}]
    + [{"by": "instance", "rounds": n, "seconds": 1} for n in (0, 2.5, *STRANGE_NUMBERS)]
    + [{"by": "instance", "rounds": 3, "seconds": x} for x in STRANGE_NUMBERS],
)
def test_strange_costs_are_left_out(stored: Any) -> None:
    study = optuna.create_study()
    trial = study.ask()
    trial.set_user_attr("rocket:costs", stored)
    study.tell(trial, 1.0)
    assert cost.cost_info(study).numbers == ()


def test_instances_are_counted_not_added() -> None:
    subsets = optuna_rocket.SubsetEvaluator(5, min_fraction=0.4, by="instance")

    def objective(trial: Trial) -> float:
        for fold in subsets.subsets(trial):
            fold.report(float(fold.step))
        return float(fold.value)

    study = optuna.create_study()
    study.optimize(objective, n_trials=2)
    assert cost.cost_info(study).costs == (1.0, 1.0)


def _retried(study: Study, trial: Trial, inherits: bool) -> Trial:
    """The next run of a trial whose worker died."""
    study.tell(trial, state=TrialState.FAIL)
    callback = optuna.storages.RetryHeartbeatStaleTrialCallback(
        inherit_intermediate_values=inherits
    )
    callback(study, study.trials[trial.number])
    return study.ask()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("inherits", [True, False])
def test_rounds_of_a_retried_trial_are_counted_once(
    inherits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = (float(k * k) for k in count())  # no two rounds take the same, as with trainings
    monkeypatch.setattr("optuna_rocket.rounds.time.perf_counter", lambda: next(clock))
    subsets = optuna_rocket.SubsetEvaluator(900, min_fraction=1 / 9)
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    trial = study.ask()
    for rounds in (1, 1, 3):  # in which two workers die after a round
        for subset, _ in zip(subsets.subsets(trial), range(rounds), strict=False):
            subset.report(1.0)
        if rounds == 1:
            trial = _retried(study, trial, inherits)
    study.tell(trial, subset.value)
    info = cost.cost_info(study)
    n = [100, 300, 900] if inherits else [100, 100, 1300]
    assert info.costs == pytest.approx([x / 900 for x in n])
    seconds = cost.cost_info(study, "seconds")
    stored = costs.read(study.trials[2].user_attrs).seconds
    own = sum(stored[2:] if inherits else stored)
    assert seconds.costs[2] * seconds.full == pytest.approx(own)


def test_what_was_copied_of_very_many_rounds_is_not_counted_again() -> None:
    def read(n: int, seconds: float) -> costs.Costs:
        return costs.read({costs.COSTS: costs.summary(n, seconds)})

    own = costs.without(read(30, 6.0), read(20, 4.0))
    assert (own.n_rounds, own.total) == (10, 2.0)
    assert costs.without(read(20, 4.0), read(20, 4.0)).n_rounds == 0, "died before its first round"
    assert costs.without(read(20, 4.5), read(20, 4.0)).n_rounds == 20, "began anew"
    assert costs.without(read(20, 4.5), costs.Costs()).n_rounds == 20


class _StopsAt21(optuna.pruners.BasePruner):
    """Stops all trials but the first at their 21st report."""

    def prune(self, study: Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.number > 0 and len(trial.intermediate_values) == 21


def test_very_many_instances_are_counted_not_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "MAX_LENGTH", 1000)  # as with thousands of instances
    subsets = optuna_rocket.SubsetEvaluator(200, min_fraction=0.1, by="instance")

    def objective(trial: Trial) -> float:
        for instance in subsets.subsets(trial):
            instance.report(1.0)
        return float(instance.value)

    study = optuna.create_study(pruner=_StopsAt21())
    study.optimize(objective, n_trials=3)
    rounds = [costs.read(trial.user_attrs).steps for trial in study.trials]
    assert [len(steps) for steps in rounds] == [0, 21, 21]
    assert not any(0 in steps for steps in rounds)
    running = study.ask()
    for step in range(150, 160):
        running.report(1.0, step)
    shown = optuna.create_study()
    shown.add_trials(study.trials)
    info = cost.cost_info(shown)
    assert info.costs == pytest.approx((1, 21 / 200, 21 / 200, 10 / 200))
    assert (info.full, info.unit) == (200, "instances")
    timed = cost.cost_info(shown, "seconds")
    assert timed.numbers == (0, 1, 2)
    assert timed.costs[:1] == (1.0,)


def test_relevance_is_sorted(reported: Study) -> None:
    info = relevance.relevance_info(look(reported))
    (shares,) = info.shares
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == {"learning rate", "optimizer", "layers", "dropout"}


def test_nothing_is_relevant_while_all_values_are_equal() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: 0 * trial.suggest_float("x", 0, 1), n_trials=12)
    assert relevance.relevance_info(look(study)).shares == ({},)
    assert "two values differ" in figure_text(visualization.plot_relevance(study))


def test_relevance_is_a_share_of_the_distance_that_a_grid_leaves() -> None:
    """With equal weights, the shares are those of the mean squared distances of random values."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))

    def objective(trial: Trial) -> float:
        few = trial.suggest_int("few", 1, 2)
        trial.suggest_categorical("kind", ["a", "b"])
        return few + trial.suggest_float("x", 0, 1)

    study.optimize(objective, n_trials=5)
    view = look(study)
    units = torch.tensor([[0.25, 0.0, 0.0], [0.75, 1.0, 1.0]], dtype=torch.float64)
    assert view.space.encode(0, 1.0) == units[0, 0] and view.space.encode(0, 2.0) == units[1, 0]
    weights = view.belief.weights.relevance[0].exp()
    # Half of all pairs differ in a parameter of two values; uniform numbers are 1/6 apart.
    apart = torch.tensor([0.5 * 0.5**2, 0.5, 1 / 6], dtype=torch.float64)
    parts = weights * apart
    expected = dict(zip(view.space.names, (parts / parts.sum()).tolist(), strict=True))
    assert view.space.names == ("few", "kind", "x")
    assert view.relevance() == pytest.approx(expected)


def test_slice_expects_the_best_trial_to_be_good(reported: Study) -> None:
    info = slice_expectation.slice_expectation_info(look(reported), ["learning rate", "optimizer"])
    ((rate, optimizer),) = info.slices
    assert info.central_number == reported.best_trial.number
    assert rate.is_log and rate.x[0] == pytest.approx(1e-5) and rate.x[-1] == pytest.approx(0.1)
    lowest = rate.x[int(np.argmin(rate.expected))]
    assert abs(math.log10(lowest / rate.central_x)) < 1
    assert all(a <= b <= c for a, b, c in zip(rate.low, rate.expected, rate.high, strict=True))
    assert optimizer.labels == ("sgd", "adamw", "lion")
    assert int(np.argmin(optimizer.expected)) == 1
    assert rate.central_value == reported.best_value
    assert info.is_best


def exploding(rate: float, width: float) -> float:
    """An ordinary loss that explodes at large learning rates."""
    return 0.3 + 0.05 * (math.log10(rate) + 3) ** 2 + 0.1 * width + 5e4 * rate * (rate > 0.02)


@pytest.fixture(scope="module")
def exploded() -> Study:
    study = optuna.create_study(sampler=TPESampler(seed=0))
    study.optimize(
        lambda trial: exploding(
            trial.suggest_float("rate", 1e-5, 1, log=True), trial.suggest_float("width", 0, 1)
        ),
        n_trials=40,
    )
    return study


def test_slices_are_open_where_all_values_count_as_equally_bad(exploded: Study) -> None:
    info = slice_expectation.slice_expectation_info(look(exploded), ["rate"])
    one = info.slices[0][0]
    held = {True: [], False: []}  # type: dict[bool, list[bool]]
    for rate, low, high in zip(one.x, one.low, one.high, strict=True):
        is_bad = rate > 0.02
        held[is_bad].append(low <= exploding(rate, exploded.best_params["width"]) <= high)
    assert np.mean(held[True]) > 0.8 and np.mean(held[False]) > 0.8
    assert max(one.expected) == one.worst < 1

    figure = visualization.plot_slice_expectation(exploded, ["rate"])
    bottom, top = figure.layout.yaxis.range
    assert [t.name for t in figure.data if t.fill] == ["80 %, without noise"]
    band = next(trace for trace in figure.data if trace.fill == "toself")
    assert None not in band.y and max(band.y) == pytest.approx(top, rel=1e-4)
    assert bottom < 0.3 < one.worst < top < 10, "the axis is for the values that matter"
    line = next(trace for trace in figure.data if trace.name == "expected")
    said = dict(zip(one.expected, line.customdata, strict=True))
    assert line.hovertemplate.startswith("expected %{y}%{customdata[0]}<")
    assert list(said[one.worst]) == [" or worse"] and list(said[min(one.expected)]) == [""]


def test_bars_of_choices_are_open_where_all_values_count_as_equally_bad() -> None:
    def objective(trial: Trial) -> float:
        branch = trial.suggest_categorical("branch", ["a", "b", "c"])
        return 2000.0 if branch == "c" else trial.suggest_float("x", 0, 1) + (branch == "b")

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=30)
    one = slice_expectation.slice_expectation_info(look(study), ["branch"]).slices[0][0]
    assert one.high[2] == math.inf
    figure = visualization.plot_slice_expectation(study, ["branch"])
    bars = next(trace for trace in figure.data if trace.name.startswith("expected"))
    drawn = bars.y[2] + bars.error_y.array[2]
    assert drawn == pytest.approx(figure.layout.yaxis.range[1], rel=1e-3)


def test_huge_values_have_an_axis() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1) - 0.5) * 1.5e308, n_trials=12)
    bottom, top = visualization.plot_slice_expectation(study).layout.yaxis.range
    assert math.isfinite(bottom) and math.isfinite(top) and bottom < top


MODELS = ("facebook/opt-125m", "facebook/opt-350m", "facebook/opt-1.3b")


def test_long_choices_differ_in_the_slices() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(
        lambda trial: float(MODELS.index(trial.suggest_categorical("model", MODELS))), n_trials=8
    )
    figure = visualization.plot_slice_expectation(study)
    assert figure.layout.xaxis.ticktext == ("facebo…-125m", "facebo…-350m", "facebo…-1.3b")
    points = next(trace for trace in figure.data if trace.name.startswith("expected"))
    assert [said[0] for said in points.customdata] == list(MODELS)
    assert points.hovertemplate.startswith("%{customdata[0]}: expected %{y}")


@pytest.mark.parametrize(
    "whole",
    [
        ["short", "a name that is long"],
        ["the same beginning 1", "the same beginning 2"],
        ["the same beginning 1 and end", "the same beginning 2 and end"],
        [f"{'a' * 20}{i}{'b' * 20}{i % 3}{'c' * 20}" for i in range(12)],
        ["twice the same long name", "twice the same long name", "another name that is long"],
        [],
    ],
)
def test_names_that_differ_still_do_when_they_are_cut(whole: list[str]) -> None:
    cut = short_names(whole, 12)
    assert len(cut) == len(whole) and max(map(len, cut), default=0) <= 12
    assert len(set(cut)) == len(set(whole)) == len(set(zip(whole, cut, strict=True)))


def test_long_names_differ_in_the_relevance() -> None:
    names = [f"encoder.{'block.' * 8}{i}.dropout" for i in range(2)]
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: sum(trial.suggest_float(x, 0, 1) for x in names), n_trials=6)
    drawn = visualization.plot_relevance(study).layout.yaxis.ticktext
    assert len(set(drawn)) == 2 and max(map(len, drawn)) <= 40


def test_a_best_trial_without_parameters_has_no_slices() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(
        lambda trial: -1.0 if trial.number == 5 else trial.suggest_float("x", 0, 1), n_trials=8
    )
    text = figure_text(visualization.plot_slice_expectation(study))
    assert "Trial 5 has no parameter with more than one value." in text


def test_without_a_feasible_trial_the_figures_are_about_the_least_violating() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(never_feasible, n_trials=9)
    info = slice_expectation.slice_expectation_info(look(study))
    assert info.central_number == min(study.trials, key=lambda t: float(t.params["x"])).number
    text = figure_text(visualization.plot_slice_expectation(study))
    assert "the one that violates least" in text and "the best one" not in text
    line = policy_timeline.policy_timeline_info(look(study))
    assert math.isnan(line.distance[0]) and all(map(math.isfinite, line.distance[1:]))
    assert line.distance[-1] == pytest.approx(optuna_rocket.explain(study, 8).distance)
    assert not any(line.is_best)


def test_a_best_trial_beyond_the_range_of_today_is_in_the_slice() -> None:
    def objective(trial: Trial) -> float:
        return abs(trial.suggest_float("x", 0, 1 if trial.number < 9 else 0.5) - 0.9)

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(objective, n_trials=12)
    assert study.best_params["x"] > 0.6
    line = policy_timeline.policy_timeline_info(look(study))
    assert line.kinds[9] == policy_timeline.OTHER and math.isnan(line.spread[9])
    assert line.kinds[8] != policy_timeline.OTHER and math.isfinite(line.spread[8])
    _, right = visualization.plot_slice_expectation(study).layout.xaxis.range
    assert right > study.best_params["x"]


def test_slice_names_the_parameters_that_there_are(reported: Study) -> None:
    with pytest.raises(ValueError, match=r"no parameter 'depth'.*Name some of .*'dropout'"):
        visualization.plot_slice_expectation(reported, ["depth"])


def test_timeline_tells_the_front_and_its_hypervolume(goals: Study) -> None:
    info = policy_timeline.policy_timeline_info(look(goals))
    assert info.hypervolume[-1] == pytest.approx(1)
    assert list(info.hypervolume) == sorted(info.hypervolume)
    grown = [b > a for a, b in itertools.pairwise((0.0, *info.hypervolume))]
    assert not any(more and not best for more, best in zip(grown, info.is_best, strict=True))
    front = {trial.number for trial in goals.best_trials}
    assert front <= {n for n, best in zip(info.numbers, info.is_best, strict=True) if best}
    assert math.isnan(info.distance[0]) and all(0 <= d <= 1 for d in info.distance[1:])
    assert info.state_numbers == ()
    recent = policy_timeline.policy_timeline_info(look(goals), 7)
    assert recent.hypervolume == info.hypervolume[-7:]
    drawn = visualization.plot_policy_timeline(goals)
    assert "Hyper" in drawn.layout.yaxis3.title.text


def test_every_objective_has_its_relevance(goals: Study) -> None:
    info = relevance.relevance_info(look(goals))
    error, gain, idle = info.shares
    assert idle == {}, "nothing moves a constant"
    assert info.target_names == ("error", "gain", "idle")
    assert gain["width"] > 0.8 and error["rate"] > gain["rate"]
    figure = visualization.plot_relevance(goals)
    names = [bar.name for bar in figure.data]
    assert names == ["idle (all values are equal)", "gain", "error"]


def test_every_objective_has_its_slices(goals: Study) -> None:
    info = slice_expectation.slice_expectation_info(look(goals), ["width"])
    (error,), (gain,), (idle,) = info.slices
    assert info.central_number in {trial.number for trial in goals.best_trials}
    tried = [k for k, x in enumerate(gain.x) if 0.65 < x < 0.97]  # most trials are there
    assert all(abs(gain.expected[k] - 100 * gain.x[k]) < 15 for k in tried)
    assert error.expected[tried[0]] > error.expected[tried[-1]]
    assert gain.feasibility[0] > 0.9 > 0.5 > gain.feasibility[-1]
    assert all(map(math.isnan, idle.expected)), "nothing is known of a constant"
    assert gain.central_value == goals.trials[info.central_number].values[1]


@pytest.mark.parametrize("objective", [1, "gain"])
def test_one_objective_of_several_is_sliced(objective: Any, goals: Study) -> None:
    figure = visualization.plot_slice_expectation(goals, objective=objective)
    assert {axis.title.text for axis in figure.select_yaxes()} == {"gain", None}


def test_any_complete_trial_is_sliced(reported: Study) -> None:
    complete = [t.number for t in reported.trials if t.state == TrialState.COMPLETE]
    other = next(n for n in complete if n != reported.best_trial.number)
    info = slice_expectation.slice_expectation_info(look(reported), trial_number=other)
    assert info.central_number == other and not info.is_best
    assert info.slices[0][0].central_value == reported.trials[other].value


def test_arguments_of_slices_are_checked(reported: Study, goals: Study) -> None:
    pruned = next(t.number for t in reported.trials if t.state == TrialState.PRUNED)
    for number in (pruned, -1, 1000, True):
        with pytest.raises(ValueError, match=f"trial_number={number} is .*None for the best"):
            visualization.plot_slice_expectation(reported, trial_number=number)
    unknown: list[Any] = [3, -1, True, "loss", 0.5]
    for objective in unknown:
        with pytest.raises(ValueError, match=r"objective=.*\[0, 1, 2\].*'gain'"):
            visualization.plot_slice_expectation(goals, objective=objective)


def test_arguments_are_checked(reported: Study) -> None:
    with pytest.raises(ValueError, match="n_recent_trials=0"):
        visualization.plot_policy_timeline(reported, n_recent_trials=0)
    with pytest.raises(ValueError, match="n_recent_trials=-1"):
        visualization.plot_forecast(reported, n_recent_trials=-1)
    with pytest.raises(ValueError, match=r"by='euros' .* Use 'steps' or 'seconds'\."):
        visualization.plot_cost(reported, by="euros")  # type: ignore[arg-type]


def test_figures_become_web_pages(reported: Study, tmp_path: Path) -> None:
    path = tmp_path / "figure.html"
    visualization.plot_policy_timeline(reported).write_html(path, include_plotlyjs="cdn")
    assert "Policy Timeline" in path.read_text()


def test_without_plotly_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['plotly'] = None; sys.modules['plotly.graph_objects'] = None\n"
        "import optuna, optuna_rocket\n"
        "optuna_rocket.visualization.plot_relevance(optuna.create_study())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "ImportError: The plots need plotly" in done.stderr
    assert "pip install 'optuna-rocket[viz]'" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_figures_become_files(
    kind: str, reported: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaleido", reason="kaleido is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium in the path")
    monkeypatch.setenv("BROWSER_PATH", chromium)
    path = tmp_path / f"figure.{kind}"
    visualization.plot_slice_expectation(reported).write_image(path)
    assert path.stat().st_size > 10_000


def test_influence_of_sources_and_guesses_is_drawn(reported: Study) -> None:
    source = related_studies.filled(name="<b>old")
    sampler = RocketSampler(seed=0, source_studies=[source], priors=related_studies.BEST)
    study = related_studies.target(sampler, 7)
    info = influence.influence_info(study)
    assert info.sources == optuna_rocket.influence(study) and set(info.sources) == {"<b>old"}
    assert info.sources["<b>old"] > 0.1
    assert set(info.priors) == set(related_studies.BEST)
    (bars,) = visualization.plot_influence(study).data
    drawn = [*list(info.priors.values())[::-1], info.sources["<b>old"]]
    assert list(bars.x) == pytest.approx(drawn, rel=1e-3)
    text = figure_text(visualization.plot_influence(study))
    assert "&lt;b&gt;old" in text and "guess for rate" in text
    assert "turned round" not in text
    assert "no experience" in figure_text(visualization.plot_influence(reported))


def test_influence_of_a_source_with_the_wrong_direction_is_drawn_as_negative() -> None:
    source = related_studies.filled(value=lambda params: -related_studies.loss(params))
    study = related_studies.target(related_studies.with_sources(source), 9)
    (share,) = influence.influence_info(study).sources.values()
    figure = visualization.plot_influence(study)
    assert share < -0.1 and list(figure.data[0].x) == pytest.approx([share], rel=1e-3)
    assert list(figure.data[0].text) == [f"{share:.2f}, turned round"]
