from __future__ import annotations

import json
import math
from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import optuna
from optuna.study import Study
from optuna.trial import Trial
from optuna.trial import TrialState
import pytest
import torch

import optuna_rocket
from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from tests import related_studies
from tests.dashboard_page import noisy_error
from tests.support import Crash
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
    for study in (empty, waiting, failed, mixed, reported):
        before = len(study.trials), str(study.trials[-1:])
        figure = plot(study)
        assert isinstance(figure, go.Figure)
        assert figure.layout.title.text
        assert (len(study.trials), str(study.trials[-1:])) == before


@pytest.mark.parametrize("plot", PLOTS)
def test_plots_refuse_several_objectives(plot: Any) -> None:
    study = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(ValueError, match="one objective and the study has 2"):
        plot(study)


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
    info = policy_timeline.policy_timeline_info(reported)
    assert info.numbers == tuple(range(40))
    assert info.kinds[0] == policy_timeline.OTHER
    assert set(info.kinds[1:]) > {"random", "local"}
    assert math.isnan(info.distance[0]) and all(0 <= d <= 1 for d in info.distance[1:])
    assert np.mean(info.spread[1:6]) > np.mean(info.spread[-10:])
    assert info.is_best[0] and 1 < sum(info.is_best) < 20
    assert info.components.shape == (len(info.state_numbers), 2)
    assert 0 < info.explained[1] <= info.explained[0] <= 1
    recent = policy_timeline.policy_timeline_info(reported, 7)
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


@pytest.mark.parametrize("stored", [7, {"steps": [1]}, {"steps": ["a"], "seconds": [1]}])
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


def test_relevance_is_sorted(reported: Study) -> None:
    info = relevance.relevance_info(reported)
    assert list(info.shares.values()) == sorted(info.shares.values(), reverse=True)
    assert sum(info.shares.values()) == pytest.approx(1)
    assert set(info.shares) == {"learning rate", "optimizer", "layers", "dropout"}


def test_slice_expects_the_best_trial_to_be_good(reported: Study) -> None:
    info = slice_expectation.slice_expectation_info(reported, ["learning rate", "optimizer"])
    rate, optimizer = info.slices
    assert info.best_number == reported.best_trial.number
    assert rate.is_log and rate.x[0] == pytest.approx(1e-5) and rate.x[-1] == pytest.approx(0.1)
    lowest = rate.x[int(np.argmin(rate.expected))]
    assert abs(math.log10(lowest / rate.best_x)) < 1
    assert all(a <= b <= c for a, b, c in zip(rate.low, rate.expected, rate.high, strict=True))
    assert optimizer.labels == ("sgd", "adamw", "lion")
    assert int(np.argmin(optimizer.expected)) == 1
    assert info.best_value == reported.best_value


def test_slice_names_the_parameters_that_there_are(reported: Study) -> None:
    with pytest.raises(ValueError, match=r"no parameter 'depth'.*'dropout'"):
        visualization.plot_slice_expectation(reported, ["depth"])


def test_arguments_are_checked(reported: Study) -> None:
    with pytest.raises(ValueError, match="n_recent_trials=0"):
        visualization.plot_policy_timeline(reported, n_recent_trials=0)
    with pytest.raises(ValueError, match="n_recent_trials=-1"):
        visualization.plot_forecast(reported, n_recent_trials=-1)
    with pytest.raises(ValueError, match="by='euros'"):
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
    assert "no experience" in figure_text(visualization.plot_influence(reported))
