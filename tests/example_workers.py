"""Workers as the documentation starts them: processes of ``examples/05_cluster.py``."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from optuna.study import Study
from optuna.trial import TrialState

from tests.support import ROOT


_STARTED: list[subprocess.Popen[str]] = []
_PATIENCE = 900  # seconds until workers count as hung; a busy machine takes minutes to start one


def start(url: str, n_trials: int) -> subprocess.Popen[str]:
    """Start a worker, which ends when the study has so many complete trials."""
    command = [sys.executable, str(ROOT / "examples" / "05_cluster.py"), "--storage", url]
    started = subprocess.Popen(
        [*command, "--trials", str(n_trials), "--heartbeat", "1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _STARTED.append(started)
    return started


def end(workers: list[subprocess.Popen[str]]) -> list[str]:
    """Wait for workers to end well, and return what they printed."""
    printed = []
    for each in workers:
        out, err = each.communicate(timeout=_PATIENCE)
        assert each.returncode == 0, err
        printed.append(out)
    return printed


def kill_all() -> None:
    """After a test: one that failed leaves no process, of which Python would warn in another."""
    for each in _STARTED:
        if each.returncode is None:
            each.kill()
            each.communicate()
    _STARTED.clear()


def wait_for_trials(study: Study, n: int, state: TrialState) -> None:
    """Wait until workers have brought so many trials to a state."""
    until = time.monotonic() + _PATIENCE
    while len(study.get_trials(deepcopy=False, states=(state,))) < n:
        assert time.monotonic() < until, "the workers do nothing"
        time.sleep(0.05)
