from __future__ import annotations

import inspect
from pathlib import Path
import pickle
import re
import subprocess
import sys

import optuna
import pytest

from optuna_rocket import RocketSampler
from tests.support import all_params
from tests.support import mixed_study


ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "package" / "samplers" / "rocket"


def test_the_registry_package_is_the_sampler() -> None:
    optunahub = pytest.importorskip("optunahub", reason="optunahub is not installed")
    module = optunahub.load_local_module("samplers/rocket", registry_root=str(ROOT / "package"))
    study = mixed_study(module.RocketSampler(seed=4), 6)
    assert all_params(study) == all_params(mixed_study(RocketSampler(seed=4), 6))
    # A sampler of the registry's own module could not be read where that was not loaded.
    assert type(pickle.loads(pickle.dumps(study.sampler))) is RocketSampler


def test_the_registry_example_runs() -> None:
    optunahub = pytest.importorskip("optunahub", reason="optunahub is not installed")
    module = optunahub.load_local_module("samplers/rocket", registry_root=str(ROOT / "package"))
    content: dict[str, object] = {"__name__": "example"}
    exec((PACKAGE / "example.py").read_text(), content)
    study = optuna.create_study(sampler=module.RocketSampler(seed=0))
    study.optimize(content["objective"], n_trials=30)  # type: ignore[arg-type]
    assert study.best_value < 0.5


def test_the_header_is_what_the_registry_asks_for() -> None:
    text = (PACKAGE / "README.md").read_text()
    header = dict(re.findall(r"^(\w+): (.+)$", text.split("---")[1], re.MULTILINE))
    assert set(header) == {
        "author",
        "title",
        "description",
        "tags",
        "optuna_versions",
        "license",
    }
    assert header["license"] == "MIT License"
    assert "sampler" in header["tags"]
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert sections == ["Abstract", "APIs", "Installation", "Example", "Others"]


def test_every_argument_is_described() -> None:
    text = (PACKAGE / "README.md").read_text()
    for name in inspect.signature(RocketSampler).parameters:
        assert f"{name}: " in text and f"- `{name}`: " in text


def test_the_package_holds_no_binaries() -> None:
    files = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert files == {"LICENSE", "README.md", "__init__.py", "example.py", "requirements.txt"}


def test_without_the_package_the_fix_is_named() -> None:
    code = "import sys; sys.modules['optuna_rocket'] = None; exec(open(sys.argv[1]).read())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(PACKAGE / "__init__.py")], capture_output=True, text=True
    )
    assert "pip install optuna-rocket" in done.stderr
