from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

import pytest


ROOT = Path(__file__).resolve().parent.parent


def run_example(name: str, *arguments: str, cwd: Path) -> str:
    """Run an example as a user would, in a folder of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_minimal_example(tmp_path: Path) -> None:
    assert "'kind': 'round'" in run_example("01_minimal.py", cwd=tmp_path)


def test_subsets_example(tmp_path: Path) -> None:
    assert "20 trials" in run_example("02_subsets.py", cwd=tmp_path)


def test_quickstart_resumes_its_study(tmp_path: Path) -> None:
    tiny = ("--trials", "2", "--replications", "1")
    first = run_example("quickstart.py", *tiny, cwd=tmp_path)
    assert "running 2 trials" in first
    assert (tmp_path / "quickstart.db").exists()

    second = run_example("quickstart.py", *tiny, cwd=tmp_path)
    assert "holds 2 trials, running 2 more" in second
    assert "(4 trials" in second
    assert "expert recipe" in second


def test_explanation_example(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="plotly is not installed")
    printed = run_example("03_explain_and_plot.py", cwd=tmp_path)
    assert "was suggested by the agent" in printed
    assert len(list((tmp_path / "plots").glob("*.html"))) == 3


def test_dashboard_example(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed")
    pytest.importorskip("plotly", reason="plotly is not installed")
    assert "20 trials" in run_example("04_dashboard.py", cwd=tmp_path)


def test_several_objectives_example(tmp_path: Path) -> None:
    pytest.importorskip("plotly", reason="plotly is not installed")
    printed = run_example("06_several_objectives.py", cwd=tmp_path)
    assert "to the hypervolume of the front" in printed
    assert len(list((tmp_path / "plots").glob("*.html"))) == 4


def test_cluster_example_continues_its_study(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    for n_trials in ("6", "9"):
        printed = run_example(
            "05_cluster.py", "--storage", "study.log", "--trials", n_trials, cwd=tmp_path
        )
        assert f"{n_trials} trials, best" in printed
