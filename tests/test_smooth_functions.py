from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from benchmarks import smooth_functions
from benchmarks.smooth_functions import COUNTS
from benchmarks.smooth_functions import FUNCTIONS
from benchmarks.smooth_functions import curve


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_is_least_at_zero(name: str) -> None:
    offsets = np.random.default_rng(0).uniform(-0.85, 0.85, (200, 6))
    assert FUNCTIONS[name](np.zeros(6)) == pytest.approx(0, abs=1e-12)
    assert min(FUNCTIONS[name](y) for y in offsets) > 1e-5


def test_the_table_holds_geometric_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests of this process read the log, and have threads of their own.
    monkeypatch.setattr(optuna.logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(smooth_functions, "FUNCTIONS", {"bowl": smooth_functions.bowl})
    monkeypatch.setattr(smooth_functions, "NUMBERS", (3, 6))
    out = tmp_path / "smooth.csv"
    smooth_functions.main(["--methods", "random", "--seeds", "2", "--out", str(out)])
    with out.open() as file:
        rows = list(csv.DictReader(file))
    few, many = ([curve("bowl", d, "random", seed) for seed in (0, 1)] for d in (3, 6))
    curves = {"bowl": few + many, "3": few, "6": many, "all": few + many}
    assert [row["functions"] for row in rows] == list(curves)
    for row in rows:
        means = np.exp(np.mean(np.log(curves[row["functions"]]), axis=0))
        assert [float(row[f"@{n}"]) for n in COUNTS] == pytest.approx(
            [means[n - 1] for n in COUNTS], rel=0.01
        )
    assert rows[1] != rows[2]
