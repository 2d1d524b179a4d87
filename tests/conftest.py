from __future__ import annotations

import os

import optuna
import pytest


pytest.register_assert_rewrite("optuna.testing.pytest_samplers", "tests.support")

# Several test processes on few cores: torch's threads would only wait for each other. Read when
# torch is imported, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
optuna.logging.set_verbosity(optuna.logging.WARNING)
