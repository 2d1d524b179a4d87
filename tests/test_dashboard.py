from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import pickle
from typing import Any
from urllib.request import urlopen

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.study import Study
from optuna.trial import Trial
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketSampler
from optuna_rocket.agent import fitting
from optuna_rocket.agent.gram import MemoryWeights
from optuna_rocket.history import History
from tests.dashboard_page import FIGURES
from tests.dashboard_page import browsed
from tests.dashboard_page import noisy_error
from tests.dashboard_page import served
from tests.dashboard_page import study_on_disk
from tests.dashboard_page import take_screenshot
from tests.dashboard_page import wait_for_figure
from tests.support import package_log


optuna_dashboard = pytest.importorskip("optuna_dashboard", reason="not installed")
pytest.importorskip("plotly", reason="plotly is not installed")
from optuna_rocket import dashboard  # noqa: E402
from optuna_rocket.dashboard import DashboardCallback  # noqa: E402
from optuna_rocket.dashboard import save_to_dashboard  # noqa: E402
from optuna_rocket.visualization import slice_expectation  # noqa: E402


EVIL = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) www.evil.example | `"


def shown(address: str) -> dict[str, Any]:
    """What the dashboard's server tells of the study."""
    with urlopen(f"{address}/api/studies/1?after=0") as answer:
        return dict(json.load(answer))


def figure_sizes(study: Study) -> dict[str, int]:
    """Characters of every stored figure."""
    sizes: dict[str, int] = {}
    for key, value in study._storage.get_study_system_attrs(study._study_id).items():
        if key.startswith("dashboard:plot_data:"):
            name = key.split(":")[2]
            sizes[name] = sizes.get(name, 0) + len(value)
    return sizes


def bowl(trial: Trial) -> float:
    return trial.suggest_float("x", -1, 1) ** 2 + trial.suggest_float("y", -1, 1) ** 2


def test_the_server_shows_the_study_while_it_runs(tmp_path: Path) -> None:
    study = study_on_disk(tmp_path / "study.db")
    study.enqueue_trial({"layers": 8})  # above the limit; the agent itself avoids that
    seen: list[dict[str, Any]] = []
    with served(tmp_path / "study.db") as address:

        def look(study: Study, trial: optuna.trial.FrozenTrial) -> None:
            if trial.number in (3, 4, 7):
                seen.append(shown(address))

        callbacks: list[Callable[..., None]] = [DashboardCallback(every=4), look]
        study.optimize(noisy_error, n_trials=8, callbacks=callbacks)
        ids = {plot["id"] for plot in seen[-1]["plotly_graph_objects"]}
        assert ids == set(FIGURES)
        for plot in seen[-1]["plotly_graph_objects"]:
            assert len(plot["graph_object"]) <= 50_000
            assert json.loads(plot["graph_object"])["data"]
    notes = [look["note"]["body"] for look in seen]
    assert "as of 4 trials" in notes[0]
    assert notes[1] == notes[0], "trial 4 is not one of every four"
    assert "as of 8 trials" in notes[2]
    assert "Trial 7" in notes[2]
    assert "GB above the limit" in notes[2] and "**no**" in notes[2]


def test_what_others_wrote_stays() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    optuna_dashboard.save_note(study, "My own *plan*.")
    study.optimize(bowl, n_trials=4)
    save_to_dashboard(study)
    note = optuna_dashboard.get_note(study)
    assert note.startswith("My own *plan*.\n\n")
    optuna_dashboard.save_note(study, note + "\n\nWritten below.")
    study.optimize(bowl, n_trials=1)
    save_to_dashboard(study)
    note = optuna_dashboard.get_note(study)
    assert note.startswith("My own *plan*.") and note.endswith("Written below.")
    assert note.count("What the agent is doing") == 1 and "as of 5 trials" in note


def test_large_studies_keep_within_the_limits() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(bowl, n_trials=3)
    for trial in [
        optuna.create_trial(
            params={"x": i / 600, "y": 0.1},
            distributions=study.trials[0].distributions,
            value=abs(i / 600 - 0.31234567),
            intermediate_values={1: 0.5, 2: 0.25},
        )
        for i in range(500)
    ]:
        study.add_trial(trial)
    save_to_dashboard(study)
    sizes = figure_sizes(study)
    assert set(sizes) == set(FIGURES)
    assert all(10_000 < size <= 50_000 for size in sizes.values()), sizes


def test_a_failure_costs_one_warning_and_no_study() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    callback = DashboardCallback(every=1)

    def no_longer_json(study: Study, trial: optuna.trial.FrozenTrial) -> None:
        study._storage.set_study_system_attr(study._study_id, "dashboard:note_ver", "broken")

    with package_log("dashboard") as messages:
        study.optimize(bowl, n_trials=5, callbacks=[no_longer_json, callback])
    assert len(study.trials) == 5
    assert len(messages) == 1
    assert "was not updated after trial 0" in messages[0] and "goes on" in messages[0]


def test_a_figure_that_fails_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError("no way to draw it")

    monkeypatch.setattr(slice_expectation, "figure", failing)
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    with package_log("dashboard") as messages:
        study.optimize(bowl, n_trials=4, callbacks=[DashboardCallback(every=1)])
    (message,) = messages
    assert "figure 'slice' (ZeroDivisionError: no way to draw it)" in message
    assert set(figure_sizes(study)) == {"rocket-policy", "rocket-relevance"}
    assert "as of 4 trials" in optuna_dashboard.get_note(study)
    with package_log("dashboard") as messages:
        save_to_dashboard(study)
    assert len(messages) == 1 and "figure 'slice'" in messages[0]


def test_studies_without_parameters_are_shown() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    with package_log("dashboard") as messages:
        study.optimize(
            lambda trial: float(trial.number), n_trials=4, callbacks=[DashboardCallback(every=4)]
        )
    assert messages == []
    assert set(figure_sizes(study)) == {"rocket-policy", "rocket-slice", "rocket-relevance"}
    assert "as of 4 trials" in optuna_dashboard.get_note(study)


def test_a_storage_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    study = study_on_disk(path)
    study.optimize(bowl, n_trials=3)
    engine_options = f"sqlite:///file:{path}?mode=ro&uri=true"
    loaded = optuna.load_study(storage=engine_options, study_name=study.study_name)
    with pytest.raises(RuntimeError, match=r"note was not stored .*: is its storage read-only\?"):
        save_to_dashboard(loaded)


def test_a_section_without_its_beginning_is_left_alone() -> None:
    """The user has deleted the line before our section, and kept the one behind it."""
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    optuna_dashboard.save_note(study, f"My plan.\n\n{dashboard._END}\n\nMy results.")
    study.optimize(bowl, n_trials=3, callbacks=[DashboardCallback(every=1)])
    note = optuna_dashboard.get_note(study)
    assert note.count("What the agent is doing") == 1 and "as of 3 trials" in note
    assert note.startswith("My plan.") and "My results." in note


def test_studies_of_several_objectives_are_shown() -> None:
    def goals(trial: Trial) -> tuple[float, float]:
        width = trial.suggest_float("width", 0, 1)
        trial.set_constraint("memory", width - 0.9)
        return 1 - width + trial.suggest_float("rate", 0, 1), width

    study = optuna.create_study(directions=["minimize"] * 2, sampler=RocketSampler(seed=0))
    with package_log("dashboard") as messages:
        study.optimize(goals, n_trials=12, callbacks=[DashboardCallback(every=12)])
    assert messages == []
    assert set(figure_sizes(study)) == {"rocket-policy", "rocket-slice", "rocket-relevance"}
    note = optuna_dashboard.get_note(study)
    assert f"holds {len(study.best_trials)} of them" in note
    assert "**The compromise.** Trial" in note and "hypervolume of the front" in note


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED])
def test_added_trials_with_reports_are_shown_in_studies_of_several_objectives(
    state: TrialState,
) -> None:
    study = optuna.create_study(directions=["minimize"] * 2, sampler=RocketSampler(seed=0))
    study.optimize(lambda trial: (bowl(trial), trial.params["x"]), n_trials=3)
    study.add_trial(
        optuna.create_trial(
            state=state,
            values=[1.0, 2.0] if state == TrialState.COMPLETE else None,
            params={"x": 0.5, "y": 0.5},
            distributions=study.trials[0].distributions,
            intermediate_values={0: 1.0},
        )
    )
    save_to_dashboard(study)
    assert set(figure_sizes(study)) == {"rocket-policy", "rocket-slice", "rocket-relevance"}
    assert "as of 4 trials" in optuna_dashboard.get_note(study)


@pytest.mark.parametrize("m", [2, 5])
def test_large_studies_of_several_objectives_keep_within_the_limits(m: int) -> None:
    rng = np.random.default_rng(m)
    study = optuna.create_study(directions=["minimize"] * m, sampler=RocketSampler(seed=0))
    space: dict[str, BaseDistribution] = {f"x{j}": FloatDistribution(0, 1) for j in range(4)}
    for row in rng.random((150, 4)):
        params = dict(zip(space, row.tolist(), strict=True))
        values = [float(x) for x in (row[:, None] + rng.random((4, m))).sum(0)]
        study.add_trial(
            optuna.create_trial(
                params=params,
                distributions=space,
                values=values,
                constraints={"memory": float(row[0]) - 0.8},
            )
        )
    failed = study.ask(space)
    study.tell(failed, state=TrialState.FAIL)
    save_to_dashboard(study)
    sizes = figure_sizes(study)
    assert max(sizes.values()) <= 50_000
    assert min(sizes["rocket-policy"], sizes["rocket-slice"]) > 20_000, "left out"


def test_the_memory_is_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(bowl, n_trials=30)
    fitted: list[int] = []
    fit = fitting.fit

    def counted(history: History, *arguments: Any) -> MemoryWeights:
        fitted.append(history.n_trials)
        return fit(history, *arguments)

    monkeypatch.setattr(fitting, "fit", counted)
    save_to_dashboard(study)
    assert fitted[-1] <= 30
    assert len(fitted) == len(set(fitted)), "each link of the chain of fits once"


def test_threads_share_a_callback(tmp_path: Path) -> None:
    study = study_on_disk(tmp_path / "study.db")
    with package_log("dashboard") as messages:
        study.optimize(bowl, n_trials=8, n_jobs=4, callbacks=[DashboardCallback(every=2)])
    assert len(study.trials) == 8
    assert messages == []


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "ten"])
def test_every_is_checked(every: Any) -> None:
    with pytest.raises(ValueError, match="every="):
        DashboardCallback(every=every)


def test_callbacks_are_pickled() -> None:
    callback = pickle.loads(pickle.dumps(DashboardCallback(every=1)))
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(bowl, n_trials=1, callbacks=[callback])
    assert "as of 1 trials" in optuna_dashboard.get_note(study)


@pytest.mark.slow
def test_a_browser_shows_figures_and_note(tmp_path: Path) -> None:
    with browsed() as (page, trouble):
        study = study_on_disk(tmp_path / "study.db")
        study.optimize(noisy_error, n_trials=12, callbacks=[DashboardCallback(every=12)])
        with served(tmp_path / "study.db") as address:
            take_screenshot(address, page, tmp_path / "shot.png")
            card = wait_for_figure(page, "rocket-policy").inner_text()
            page.goto(f"{address}/dashboard/studies/1/note")
            page.wait_for_selector("text=What the agent is doing")
            note = page.inner_text("body")
        assert "Policy Timeline" in card and "Distance" in card
        assert "Trial 11 was suggested by the agent after 11 finished trials" in note
        assert "optuna-rocket begin" not in note
        assert (tmp_path / "shot.png").stat().st_size > 50_000
        assert trouble == []


@pytest.mark.slow
def test_a_browser_shows_a_study_of_two_objectives(tmp_path: Path) -> None:
    with browsed() as (page, trouble):
        study = optuna.create_study(
            storage=f"sqlite:///{tmp_path}/study.db",
            directions=["minimize"] * 2,
            sampler=RocketSampler(seed=0),
        )
        study.optimize(lambda trial: (bowl(trial), trial.params["x"]), n_trials=10)
        save_to_dashboard(study)
        with served(tmp_path / "study.db") as address:
            page.goto(f"{address}/dashboard/studies/1")
            card = wait_for_figure(page, "rocket-policy").inner_text()
            for name in ("rocket-slice", "rocket-relevance"):
                assert "Objective 1" in wait_for_figure(page, name).inner_text()
        assert "volume" in card and "from Front" in card
        assert trouble == []


@pytest.mark.slow
def test_a_browser_finds_no_markup_of_others(tmp_path: Path) -> None:
    def objective(trial: Trial) -> float:
        trial.set_constraint(EVIL, 1.0)
        kind = trial.suggest_categorical(EVIL, [EVIL, "good"])
        return trial.suggest_float("x", 0, 1) + (kind == "good")

    with browsed() as (page, trouble):
        study = study_on_disk(tmp_path / "study.db")
        study.optimize(objective, n_trials=8)
        save_to_dashboard(study)
        with served(tmp_path / "study.db") as address:
            page.goto(f"{address}/dashboard/studies/1/note")
            page.wait_for_selector("text=What the agent is doing")
            note = page.inner_text("body")
            links = [link.get_attribute("href") for link in page.query_selector_all("a")]
            images = page.query_selector_all("img[src=x]")
            page.goto(f"{address}/dashboard/studies/1")
            card = wait_for_figure(page, "rocket-slice")
            marked = card.query_selector_all("img[src=x], a[href*=javascript]")
        assert "<img src=x onerror=alert(1)>" in note
        assert not any("evil" in link or "javascript" in link for link in links if link)
        assert images == [] and marked == []
        assert trouble == []
