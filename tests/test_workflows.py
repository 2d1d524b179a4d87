"""The workflows cannot be executed here; what they name must exist."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any

import pytest
import yaml


ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = ROOT / ".github" / "workflows"


def workflow(name: str) -> dict[Any, Any]:
    found = yaml.safe_load((WORKFLOWS / name).read_text())
    assert isinstance(found, dict)
    return found


def commands(name: str) -> list[str]:
    jobs = workflow(name)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def test_every_python_runs_the_whole_check() -> None:
    check = workflow("ci.yml")["jobs"]["check"]
    assert "bash .ci/run" in [step.get("run") for step in check["steps"]]
    assert (ROOT / ".ci" / "run").exists()
    project = (ROOT / "pyproject.toml").read_text()
    versions = [tuple(map(int, text.split("."))) for text in check["strategy"]["matrix"]["python"]]
    oldest = ".".join(map(str, min(versions)))
    assert f'requires-python = ">={oldest}"' in project
    assert versions == [(3, minor) for minor in range(versions[0][1], versions[-1][1] + 1)]


@pytest.mark.parametrize("job", ["check", "slow"])
def test_every_server_is_named_to_the_tests(job: str) -> None:
    check = workflow("ci.yml")["jobs"][job]
    assert set(check["services"]) == {"postgresql", "mysql", "redis"}
    for name, service in check["services"].items():
        (port,) = service["ports"]
        url = check["env"][f"OPTUNA_ROCKET_{name.upper()}"]
        assert f"127.0.0.1:{port.partition(':')[0]}/" in url


@pytest.mark.parametrize("name", ["ci.yml", "release.yml"])
def test_every_target_exists(name: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {word for line in commands(name) for word in re.findall(r"make ([\w-]+)", line)}
    assert used
    assert used <= targets


def test_the_workflows_have_names_triggers_and_little_power() -> None:
    for path in WORKFLOWS.glob("*.yml"):
        found = workflow(path.name)
        assert found["name"]
        assert found[True], "the key `on` is read as true"
        assert found["permissions"] == {"contents": "read"}
        assert all(
            "timeout-minutes" in job for key, job in found["jobs"].items() if key != "publish"
        )


def test_what_does_not_fit_a_release_is_found() -> None:
    from release.check import disagreements

    project = 'version = "1.2.0"\n'
    final = "## [Unreleased]\n\n## [1.2.0] - 2026-11-24\n\n- text\n"
    assert disagreements("1.2.0", project, final, releasing=True) == []
    (wrong,) = disagreements("1.2.0", 'version = "1.1.0"\n', final, releasing=True)
    assert "pyproject.toml" in wrong
    open_ended = "## [Unreleased]\n\n- more\n\n## [1.2.0] - unreleased\n"
    assert len(disagreements("1.2.0", project, open_ended, releasing=True)) == 2
    assert disagreements("1.2.0", project, open_ended, releasing=False) == []
    (missing,) = disagreements("1.2.0", project, "## [1.1.0] - 2026-01-01\n", releasing=False)
    assert "[1.2.0]" in missing
