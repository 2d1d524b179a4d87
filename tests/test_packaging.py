from __future__ import annotations

import os
from pathlib import Path
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest


ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = "optuna_rocket/agent/weights/default.rocket"
CARRIED = {WEIGHTS, "optuna_rocket/py.typed", "optuna_rocket/__init__.py"}

STUDY = """
import optuna
import optuna_rocket

def objective(trial):
    x = trial.suggest_float("x", -1, 1)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    depth = trial.suggest_int("depth", 1, 4) if kind == "a" else 2
    return x**2 + 0.1 * depth

study = optuna.create_study(sampler=optuna_rocket.RocketSampler(seed=0))
study.optimize(objective, n_trials=12)
states = {trial.state.name for trial in study.trials}
print(optuna_rocket.__file__, optuna_rocket.__version__, len(study.trials), *states, sep="\\n")
"""


def run_python(*arguments: str, cwd: Path, path: Path) -> str:
    """Run Python elsewhere, with ``path`` ahead of the environment's own packages."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def declared_version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found.group(1)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from the tree and the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("distributions")
    run_python(
        "-m", "build", "--no-isolation", "--outdir", ".", str(ROOT), cwd=folder, path=folder
    )
    return folder


def test_wheel_carries_weights_and_type_marker(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert names >= CARRIED
    assert {name.split("/")[0].split("-")[0] for name in names} == {"optuna_rocket"}


def test_sdist_carries_what_a_wheel_and_the_tests_need(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {*CARRIED, "pyproject.toml", "README.md", "LICENSE", "tests/__init__.py"}
    assert not any(name.endswith(".db") for name in names)


def test_installed_wheel_runs_a_study(distributions: Path, tmp_path: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    target = tmp_path / "target"
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run_python(*install, "--target", str(target), str(wheel), cwd=tmp_path, path=target)

    file, version, n_trials, *states = run_python(
        "-c", STUDY, cwd=tmp_path, path=target
    ).splitlines()

    assert Path(file).is_relative_to(target)
    assert version == declared_version()
    assert n_trials == "12"
    assert states == ["COMPLETE"]


def test_import_leaves_torch_alone(tmp_path: Path) -> None:
    code = "import sys, optuna_rocket; print({'torch', 'plotly'} & set(sys.modules))"
    assert run_python("-c", code, cwd=tmp_path, path=ROOT).strip() == "set()"
