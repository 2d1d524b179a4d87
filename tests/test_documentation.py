from __future__ import annotations

import importlib.util
from pathlib import Path
import re
import shutil
import subprocess
import sys

import pytest


ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def build_site(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed (extra docs)")
    return subprocess.run(  # with -q mkdocs would not count its warnings
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config, "-d", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_site_builds_strictly(tmp_path: Path) -> None:
    done = build_site(ROOT / "mkdocs.yml", tmp_path)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "api.html").read_text()
    for name in ("RocketSampler", "RocketPruner", "SubsetEvaluator", "explain"):
        assert f'id="optuna_rocket.{name}"' in api
    assert "code-block" not in api, "a docstring has markup of another tool"
    assert (tmp_path / "regret.svg").stat().st_size > 1000


def test_a_broken_link_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Home\n\n[there](#nowhere) [gone](gone.md)\n")
    settings = (ROOT / "mkdocs.yml").read_text()
    settings = re.sub(r"^nav:\n(?:  .*\n)+", "", settings, flags=re.MULTILINE)
    settings = settings.partition("plugins:")[0]  # no page of this site needs them
    (tmp_path / "mkdocs.yml").write_text(settings)
    done = build_site(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "gone.md" in done.stderr
    assert "#nowhere" in done.stderr


def slug(heading: str) -> str:
    """The anchor that GitHub gives to a heading."""
    kept = "".join(c for c in heading.strip().lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


@pytest.mark.parametrize(
    "name",
    ["README.md", "CHANGELOG.md", "benchmarks/README.md", "package/samplers/rocket/README.md"],
)
def test_links_outside_of_the_site_lead_somewhere(name: str) -> None:
    """Those of the site are checked by mkdocs; whether other hosts answer is not."""
    page = ROOT / name
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    inner = [link for link in found if "://" not in link]
    assert found
    for link in inner:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, link


def test_commands_and_files_exist() -> None:
    text = "\n".join(path.read_text() for path in DOCS.rglob("*.md"))
    modules = set(re.findall(r"python -m ([\w.]+)", text)) - {"pip"}
    assert modules
    assert not {name for name in modules if importlib.util.find_spec(name) is None}
    files = set(re.findall(r"`((?:benchmarks|examples|optuna_rocket)/[\w./]+)`", text))
    assert files
    assert not {name for name in files if not (ROOT / name).exists()}
    programs = set(re.findall(r"`(\w+\.py)`", (DOCS / "frameworks.md").read_text()))
    assert programs == {path.name for path in (ROOT / "examples" / "frameworks").glob("*.py")}


def test_versions_of_frameworks_are_those_of_the_constraints() -> None:
    constraints = (ROOT / "constraints.txt").read_text()
    pins = dict(re.findall(r"^([\w-]+)==([\w.]+)", constraints, re.MULTILINE))
    table = (DOCS / "frameworks.md").read_text().partition("## What")[0]
    named = re.findall(r"([\w-]+) (\d[\w.]+\d)", table)
    assert len(named) > 8
    for name, version in named:
        package = {"optuna": "optuna", "pytorch": "torch"}.get(name.lower(), name.lower())
        if package != "python":
            assert pins.get(package) == version, package


@pytest.mark.slow
def test_notebook_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    shutil.copy(ROOT / "examples" / "story.ipynb", tmp_path)
    notebook = nbformat.read(tmp_path / "story.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    (last,) = notebook.cells[-1].outputs
    assert "test accuracy" in last.text


def test_notebook_is_small_and_names_no_folder() -> None:
    text = (ROOT / "examples" / "story.ipynb").read_text()
    assert len(text) < 700_000
    assert "site-packages" not in text
    assert '"output_type": "error"' not in text
    assert "image/png" in text
