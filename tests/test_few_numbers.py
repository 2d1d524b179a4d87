from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from benchmarks import few_numbers
from benchmarks.few_numbers import FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_least_value_is_about_zero(name: str) -> None:
    d, function = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    values = sorted((function(x), tuple(x)) for x in rng.random((4000, d)))
    assert -0.05 < values[0][0] < 0.5 * values[2000][0]
    assert values[-1][0] > 1.05 * values[2000][0]


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests of this process read the log, and have threads of their own.
    monkeypatch.setattr(optuna.logging, "set_verbosity", lambda level: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    out = tmp_path / "table.csv"
    few_numbers.main(["--methods", "random", "--seeds", "1", "--out", str(out)])
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["numbers"] for row in rows] == ["1", "2", "3", "4", "all"]
    assert float(rows[-1]["@5"]) > float(rows[-1]["@30"]) > 0
