"""The examples of other frameworks, each where its framework is installed.

The quick ones are part of ``make test``, all of them of ``make test-frameworks``.
"""

from __future__ import annotations

from importlib import metadata
import os
from pathlib import Path
import subprocess
import sys

import pytest


ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ROOT / "examples" / "frameworks"
# On a busy machine its processes take longer to start than it waits for them.
RAY = {"RAY_AUTH_MODE": "disabled", "RAY_raylet_start_wait_time_s": "180"}


def run_framework(name: str, cwd: Path, *packages: str) -> str:
    """Run an example in a folder of its own and return what it printed."""
    installed = {str(found.name).lower().replace("_", "-") for found in metadata.distributions()}
    missing = sorted(set(packages) - installed)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (make test-frameworks does it)")
    done = subprocess.run(
        [sys.executable, str(FRAMEWORKS / name)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **RAY},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_every_example_is_run_by_a_test() -> None:
    here = Path(__file__).read_text()
    names = {path.name for path in FRAMEWORKS.glob("*.py")}
    assert names
    assert not {name for name in names if f'"{name}"' not in here}


def test_every_example_ends_with_an_assertion() -> None:
    folders = (ROOT / "examples", FRAMEWORKS)
    scripts = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    assert len(scripts) > 10
    lines = {path.name: path.read_text().strip().splitlines()[-8:] for path in scripts}
    assert not [name for name, end in lines.items() if not any("assert " in line for line in end)]


def test_scikit_learn(tmp_path: Path) -> None:
    printed = run_framework("sklearn_search.py", tmp_path, "scikit-learn", "optuna-integration")
    assert "of 20 pruned" in printed


@pytest.mark.slow
def test_mlflow(tmp_path: Path) -> None:
    printed = run_framework("mlflow_tracking.py", tmp_path, "scikit-learn", "mlflow-skinny")
    assert "20 runs" in printed
    assert "was suggested by the agent" in printed


def test_dask(tmp_path: Path) -> None:
    packages = ("scikit-learn", "distributed", "optuna-integration")
    printed = run_framework("dask_cluster.py", tmp_path, *packages)
    assert "16 trials by 2 workers" in printed


@pytest.mark.slow
def test_ray_tune(tmp_path: Path) -> None:
    assert "16 trials by" in run_framework("ray_tune.py", tmp_path, "scikit-learn", "ray")


@pytest.mark.slow
def test_lightning(tmp_path: Path) -> None:
    packages = ("scikit-learn", "lightning", "optuna-integration")
    printed = run_framework("lightning_pruning.py", tmp_path, *packages)
    assert "by_epoch" in printed and "by_subset" in printed


@pytest.mark.slow
def test_transformers(tmp_path: Path) -> None:
    packages = ("scikit-learn", "transformers", "accelerate")
    assert "8 trials" in run_framework("transformers_trainer.py", tmp_path, *packages)


@pytest.mark.slow
def test_hydra(tmp_path: Path) -> None:
    packages = ("scikit-learn", "hydra-optuna-sweeper")
    printed = run_framework("hydra_sweep.py", tmp_path, *packages)
    assert "best_value" in printed
    assert (tmp_path / "sweep" / "optimization_results.yaml").exists()
