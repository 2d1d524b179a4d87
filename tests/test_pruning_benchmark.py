from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import calibration
from benchmarks import pruning
from benchmarks.partial_problems import DEV_PREFIX
from benchmarks.partial_problems import FOUND_PROBLEM_NAMES
from benchmarks.partial_problems import PARTIAL_PROBLEM_NAMES
from benchmarks.partial_problems import load_partial_problem
from benchmarks.pruning_summary import curve
from benchmarks.pruning_summary import pruning_rows
from benchmarks.records import PruningReplication
from benchmarks.subset_grids import Method
from benchmarks.subset_grids import parse_method
from benchmarks.subset_grids import subset_evaluator


@pytest.mark.parametrize("name", PARTIAL_PROBLEM_NAMES + FOUND_PROBLEM_NAMES)
def test_full_evaluations_show_the_truth(name: str) -> None:
    problem = load_partial_problem(name)
    rng = np.random.default_rng(0)
    points = problem.landscape.sample(rng, 300)
    seen = np.stack([problem.observe(point, rng) for point in points])
    true = problem.true_values(points)
    final = np.log(seen[:, -1]) / 3 if name.endswith("steep") else seen[:, -1]
    assert np.abs(final - true).max() < 0.1
    assert seen.shape[1] == len(problem.steps) == len(problem.costs)
    assert 0.9 < np.median(problem.true_values(problem.landscape.sample(rng, 5000))) < 1.1
    assert (np.diff(problem.steps) > 0).all()


def test_twins_obey_the_law_with_other_constants() -> None:
    name = PARTIAL_PROBLEM_NAMES[0]
    one, other = load_partial_problem(name), load_partial_problem(DEV_PREFIX + name)
    assert one.family == other.family == "curves"
    assert one.steps == other.steps
    assert not np.array_equal(one.constants, other.constants)
    with pytest.raises(ValueError, match="Unknown problem 'curves/flat'"):
        load_partial_problem("curves/flat")


@pytest.mark.parametrize("name", ["curves/power", "subsets/biased"])
def test_the_clock_counts_full_evaluations(name: str) -> None:
    problem = load_partial_problem(name)
    plain = pruning.measure(problem, "random+none", 0, 6)
    assert plain.spent == [1, 2, 3, 4, 5, 6]
    assert plain.n_pruned == plain.n_pruned_own_top == 0
    pruned = pruning.measure(problem, "random+halving", 0, 6)
    assert pruned.n_run > plain.n_run
    assert pruned.n_run - pruned.n_pruned == len(pruned.regret) == len(pruned.spent)
    assert pruned.n_own_top >= 1


def test_the_name_of_a_method_tells_the_subsets() -> None:
    assert parse_method("rocket:a/b.rocket+rocket:4") == Method("rocket:a/b.rocket", "rocket", 4)
    assert parse_method("tpe+none") == Method("tpe", "none")
    assert parse_method("tpe+rocket:scaled") == Method("tpe", "rocket", 2, is_scaled=True)
    assert parse_method("tpe+rocket:4:warm") == Method("tpe", "rocket", 4, is_warm=True)
    with pytest.raises(ValueError, match=r"ending of 'tpe\+rocket:3'"):
        parse_method("tpe+rocket:3")
    with pytest.raises(ValueError, match="ending of"):
        parse_method("tpe+rocket:2:4")
    with pytest.raises(ValueError, match="another rate cannot go on"):
        parse_method("tpe+rocket:scaled:warm")
    assert subset_evaluator(2700, 4).sizes == (100, 300, 900, 2700)
    assert subset_evaluator(2700, 4, 1 / 9).sizes == (300, 900, 2700)
    assert subset_evaluator(2700, 2).sizes == (300, 2700)
    problem = load_partial_problem("subsets/biased")
    for method, whole in (
        ("random+median", 1 + 1 / 9),
        ("random+median:4", 40 / 27),
        ("random+median:4:warm", 1),
    ):
        spent = pruning.measure(problem, method, 0, 2).spent
        assert spent[0] == pytest.approx(whole, abs=1e-3)


def _record(method: str, regret: list[float], spent: list[float]) -> PruningReplication:
    return PruningReplication(
        "p", "f", method, 0, 80, list(regret), 0.0, 0.0, 0, None, {}, spent, 4, 2, 1, 1, 2
    )


def test_rows_by_hand() -> None:
    plain = _record("tpe+none", [1.0, 0.5, 0.1], [10.0, 20.0, 30.0])
    quick = _record("tpe+rocket", [0.5, 0.1, 0.0], [4.0, 6.0, 70.0])
    assert list(curve(quick)[[6, 7, 10, 11, 159]]) == [1.5, 0.5, 0.5, 0.1, 0.0]
    base, row = pruning_rows([plain, quick])
    assert [row[f"regret@{budget}"] for budget in (5, 10, 20, 40, 80)] == [0.5, 0.1, 0.1, 0.1, 0]
    assert base["cost_median"] == 1
    assert row["cost_worst"] == pytest.approx(6 / 30)
    assert row["pruned"] == row["pruned_own_top"] == row["own_top_pruned"] == 0.5


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(function: Any, items: Any, jobs: int) -> Any:
        return map(function, items)

    monkeypatch.setattr(pruning, "in_workers", here)
    out = tmp_path / "raw.jsonl"
    arguments = ["--problems", "curves/power", "--seeds", "1", "--trials", "12", "--out", str(out)]
    pruning.main([*arguments, "--methods", "random+rocket", "random+none"])
    with (tmp_path / "raw.csv").open() as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["random+rocket", "random+none"]
    for wrong in ("random", "random+fastest", "nobody+none"):
        with pytest.raises(ValueError, match="Unknown"):
            pruning.main([*arguments, "--methods", wrong])


def test_calibration_is_told_at_every_width(tmp_path: Path) -> None:
    out = tmp_path / "calibration.csv"
    arguments = ["--development", "--problems", "curves/power", "--methods", "random+rocket"]
    calibration.main([*arguments, "--seeds", "1", "--budget", "14", "--out", str(out)])
    with out.open() as file:
        one, overall = csv.DictReader(file)
    assert one["problem"] == "dev-curves/power" and overall["problem"] == "all"
    held = [float(one[calibration.column("judged", share)]) for share in calibration.SHARES]
    assert held == sorted(held) and 0 < held[-1] <= 1
    assert float(one["judged"]) == float(one["judged_80"])
    assert out.with_suffix(".svg").read_text().count("random+rocket, judged") == 1
