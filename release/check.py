"""Check a release: versions agree, wheel and sdist are sound, the wheel runs where it should.

For example, with the oldest and newest interpreter and with the oldest numpy of one of them::

    python -m release.check --python python3.11 --along torch==2.13.0 --then numpy==1.26.4
    python -m release.check --python python3.10 --python python3.13 --without-torch
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import re
import shutil
import subprocess
import sys
import tempfile

import optuna_rocket


ROOT = Path(__file__).resolve().parent.parent


def disagreements(version: str, project: str, changelog: str, releasing: bool) -> list[str]:
    """What does not fit together.

    Args:
        version: ``__version__`` of the package.
        project: Text of ``pyproject.toml``.
        changelog: Text of ``CHANGELOG.md``.
        releasing: Whether the changelog must have a dated section of the version.

    Returns:
        A sentence for each.
    """
    found = []
    declared = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    if declared is None or declared[1] != version:
        found.append(f"pyproject.toml has another version than __version__ = {version!r}.")
    heading = re.search(rf"^## \[{re.escape(version)}\](.*)$", changelog, re.MULTILINE)
    if heading is None:
        found.append(f"CHANGELOG.md has no section [{version}].")
    elif releasing and not re.fullmatch(r" - \d{4}-\d\d-\d\d", heading[1]):
        found.append(f"CHANGELOG.md: section [{version}] has no date (YYYY-MM-DD).")
    if releasing:
        ahead = changelog.partition("## [Unreleased]")[2].partition("\n## ")[0]
        if ahead.strip():
            found.append(f"CHANGELOG.md: move what is under [Unreleased] to [{version}].")
    return found


def build(folder: Path) -> Path:
    """Build sdist and wheel, have both checked, and return the wheel."""
    _run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    files = [str(path) for path in sorted(folder.iterdir())]
    _run(sys.executable, "-m", "twine", "check", "--strict", *files)
    _run(sys.executable, "-m", "check_wheel_contents", str(wheel))
    return wheel


def smoke(
    interpreter: str, wheel: Path, along: Sequence[str], then: Sequence[str], torch: bool
) -> None:
    """Install the wheel in a clean environment and run a study there.

    Args:
        interpreter: Python that makes the environment.
        wheel: The wheel.
        along: Requirements that are installed with it, such as ``optuna==5.0.0``.
        then: Requirements that are installed afterwards, one by one, each with a study.
        torch: Whether PyTorch is installed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(interpreter, "-m", "venv", str(folder / "venv"))
        python = str(folder / "venv" / "bin" / "python")
        install = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        if torch:
            _run(*install, f"{wheel}[viz]", *along)
            _run(python, "-m", "pip", "check")
        else:
            _run(*install, "--no-deps", str(wheel))
            _run(*install, "numpy>=1.26", *along)
        for requirement in ("", *then):
            if requirement:
                _run(*install, requirement)
            (folder / "run").mkdir()
            shutil.copy(ROOT / "release" / "smoke.py", folder / "run")
            program = [python, "smoke.py", *([] if torch else ["--without-torch"])]
            _run(*program, cwd=folder / "run")
            shutil.rmtree(folder / "run")


def _run(*command: str, cwd: Path | None = None) -> None:
    print("+", " ".join(command), flush=True)
    subprocess.run(command, cwd=cwd, check=True)


def main() -> None:
    """Check what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", help="interpreter (default: this one)")
    parser.add_argument("--optuna", action="append", help="default: optuna==5.0.0 and the newest")
    parser.add_argument("--along", action="append", default=[], help="install this with the wheel")
    parser.add_argument("--then", action="append", default=[], help="install this, then rerun")
    parser.add_argument("--without-torch", action="store_true", help="install no PyTorch")
    parser.add_argument("--releasing", action="store_true", help="the changelog must be final")
    options = parser.parse_args()

    project, changelog = (ROOT / n for n in ("pyproject.toml", "CHANGELOG.md"))
    found = disagreements(
        optuna_rocket.__version__,
        project.read_text(),
        changelog.read_text(),
        releasing=options.releasing,
    )
    if found:
        raise SystemExit("\n".join(found))
    with tempfile.TemporaryDirectory() as name:
        wheel = build(Path(name))
        for interpreter in options.python or [sys.executable]:
            for optuna in options.optuna or ["optuna==5.0.0", "optuna>=5,<6"]:
                along = [optuna, *options.along]
                smoke(interpreter, wheel, along, options.then, torch=not options.without_torch)
    print("ready")


if __name__ == "__main__":
    main()
