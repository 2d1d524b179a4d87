"""A study on SQLite, optuna-dashboard's real server, and Chromium looking at it.

``python -m tests.dashboard_page docs/dashboard.png`` makes the screenshot of the README.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import math
from pathlib import Path
import shutil
from socketserver import ThreadingMixIn
import sys
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import WSGIServer
from wsgiref.simple_server import make_server

import numpy as np
import optuna
from optuna.study import Study
from optuna.trial import Trial
import pytest

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import SubsetEvaluator


FIGURES = ("rocket-policy", "rocket-slice", "rocket-cost")
_SUBSETS = SubsetEvaluator(9000, min_fraction=1 / 27, seed=0)


def noisy_error(trial: Trial) -> float:
    """An error rate that falls with the data, of a learning rate, an optimiser, two numbers."""
    rate = trial.suggest_float("learning rate", 1e-5, 1e-1, log=True)
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adamw", "lion"])
    layers = trial.suggest_int("layers", 1, 8)
    dropout = trial.suggest_float("dropout", 0, 0.6)
    final = 0.08 + 0.05 * (math.log10(rate) + 2.7) ** 2 + 0.006 * abs(layers - 4)
    final += {"sgd": 0.08, "adamw": 0.0, "lion": 0.15}[optimizer] + 0.2 * (dropout - 0.2) ** 2
    trial.set_constraint("GB above the limit", 0.7 * layers - 4)
    noise = np.random.default_rng(trial.number)
    for subset in _SUBSETS.subsets(trial):
        missing = 1 - subset.fraction
        subset.report(final + 0.12 * missing**2 + 0.005 * float(noise.normal()))
    return float(subset.value)


def study_on_disk(place: Path, sampler: optuna.samplers.BaseSampler | None = None) -> Study:
    """A new study on SQLite."""
    return optuna.create_study(
        storage=f"sqlite:///{place}",
        study_name="fine-tuning",
        sampler=sampler or RocketSampler(seed=1),
        pruner=RocketPruner(),
    )


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextmanager
def served(place: Path) -> Iterator[str]:
    """The address of the dashboard over the study's database."""
    from optuna_dashboard import wsgi

    app = wsgi(f"sqlite:///{place}")
    server = make_server("127.0.0.1", 0, app, server_class=_Server, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def browsed(height: int = 3000) -> Iterator[tuple[Any, list[str]]]:
    """A page of headless Chromium and what goes wrong in it; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium in the path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        # A high page: the dashboard draws only what is in view.
        page = browser.new_page(viewport={"width": 1400, "height": height})
        trouble: list[str] = []
        page.on("pageerror", lambda error: trouble.append(str(error)))

        def dismiss(dialog: Any) -> None:
            trouble.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", dismiss)
        yield page, trouble
        browser.close()


def wait_for_figure(page: Any, name: str) -> Any:
    """A figure's card, once plotly has drawn it."""
    page.wait_for_selector(f"[id='user-defined-plot:{name}'] .main-svg", timeout=60_000)
    return page.query_selector(f"[id='user-defined-plot:{name}']")


def take_screenshot(address: str, page: Any, path: Path) -> None:
    """The part of the study's page that holds the agent's figures."""
    page.goto(f"{address}/dashboard/studies/1")
    boxes = [wait_for_figure(page, name).bounding_box() for name in FIGURES]
    page.wait_for_timeout(1500)  # the drawing is animated
    top, bottom = min(b["y"] for b in boxes), max(b["y"] + b["height"] for b in boxes)
    clip = {"x": 65, "y": top - 10, "width": 1335, "height": bottom - top + 20}
    page.screenshot(path=path, clip=clip)


if __name__ == "__main__":
    import tempfile

    from optuna_rocket.dashboard import DashboardCallback
    from optuna_rocket.dashboard import save_to_dashboard

    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "study.db"
        study = study_on_disk(database)
        study.optimize(noisy_error, n_trials=60, callbacks=[DashboardCallback(every=20)])
        save_to_dashboard(study)
        with served(database) as address, browsed() as (page, _):
            take_screenshot(address, page, Path(sys.argv[1]))
