"""The blind-spot suite: what its problems promise, and the summary on fabricated records."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks import blind_spots
from benchmarks.blind_problems import BlindProblem
from benchmarks.blind_problems import Crash
from benchmarks.blind_problems import Failing
from benchmarks.blind_problems import HeavyTails
from benchmarks.blind_problems import Heteroscedastic
from benchmarks.blind_problems import Pruned
from benchmarks.blind_suite import BLIND_PROBLEM_NAMES
from benchmarks.blind_suite import FOUND_PROBLEM_NAMES
from benchmarks.blind_suite import load_blind_problem
from benchmarks.blind_summary import blind_markdown
from benchmarks.blind_summary import blind_rows
from benchmarks.methods import make_sampler
from benchmarks.records import BlindReplication
from benchmarks.records import append_replication
from benchmarks.records import read_blind_replications


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Optuna warns of every failed trial, and many fail here on purpose."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    yield
    optuna.logging.set_verbosity(verbosity)


def _points(problem: BlindProblem, n: int = 4000) -> Any:
    return problem.terrain.sample(np.random.default_rng(7), n)


def _observed(name: str, params: dict[str, Any], seed: int, n_trials: int) -> list[float | None]:
    """Evaluate one configuration again and again, as every trial of a study."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(n_trials):
        study.enqueue_trial(params)
    objective = blind_spots.Objective(load_blind_problem(name), seed)
    study.optimize(objective, n_trials=n_trials, catch=Exception)
    return [trial.value for trial in study.trials]


def test_every_blind_spot_has_two_or_three_problems() -> None:
    families = [name.split("/")[0] for name in BLIND_PROBLEM_NAMES]
    assert len(set(families)) == 8
    assert {families.count(family) for family in families} <= {2, 3}
    with pytest.raises(ValueError, match="Choose from failing/20"):
        load_blind_problem("failing/21")


@pytest.mark.parametrize("name", BLIND_PROBLEM_NAMES + FOUND_PROBLEM_NAMES)
def test_regret_is_0_at_the_best_params_1_at_the_median_and_never_below(name: str) -> None:
    problem = load_blind_problem(name)
    points = _points(problem)
    survives = problem.survives(points)
    regret = (problem.true_values(points) - problem.best) / (problem.median - problem.best)
    assert regret[survives].min() >= 0
    close = 0.06 if survives.mean() > 0.3 else 0.2  # few points survive
    close = 0.1 if name == "found/models" else close  # many points have the same value
    assert np.median(regret[survives]) == pytest.approx(1.0, abs=close)
    assert np.quantile(regret[survives], 0.01) > 0.005  # not given away to random search
    # The best params as a user would enter them, through Optuna.
    study = optuna.create_study()
    study.enqueue_trial(problem.best_params)
    trial = study.ask()
    point = problem.terrain.suggest(trial)
    assert trial.params == problem.best_params
    assert problem.survives(point[None])[0]
    assert problem.normalised_regret(point) == pytest.approx(0.0, abs=1e-6)


def test_stated_shares_are_the_shares_of_the_space() -> None:
    for name, share in (("failing/20", 0.2), ("failing/40", 0.4), ("failing/60_beside", 0.6)):
        problem = load_blind_problem(name)
        crashing = 1 - problem.survives(_points(problem, 20_000)).mean()
        assert crashing == pytest.approx(share, abs=0.015), name
    for name, share in (("plateau/60", 0.6), ("plateau/70", 0.7), ("plateau/80", 0.8)):
        problem = load_blind_problem(name)
        at_chance = (problem.true_values(_points(problem, 20_000)) == 1.0).mean()
        assert at_chance == pytest.approx(share, abs=0.015), name
    for name, share in (("heavy_tails/25", 0.25), ("heavy_tails/40", 0.4)):
        problem = load_blind_problem(name)
        logarithms = problem.true_values(_points(problem, 20_000))
        diverging = logarithms >= 3
        assert diverging.mean() == pytest.approx(share, abs=0.03), name
        assert 8 < logarithms.max() <= 12.5


def test_good_region_lies_beside_the_crashing_one() -> None:
    problem = load_blind_problem("failing/60_beside")
    assert isinstance(problem, Failing)
    steps = 0.05 * np.random.default_rng(0).normal(size=(4000, 4))
    around = problem.survives(problem.terrain.best_point + steps)
    assert 0.1 < 1 - around.mean() < 0.5


def test_half_of_the_crashes_raise_and_half_return_nan() -> None:
    problem = load_blind_problem("failing/20")
    point = next(p for p in _points(problem) if not problem.survives(p[None])[0])
    study = optuna.create_study()
    raised = 0
    for number in range(400):
        generator = np.random.default_rng(number)
        try:
            assert np.isnan(problem.observe(study.ask(), point, generator))
        except Crash:
            raised += 1
    assert 160 < raised < 240


@pytest.mark.parametrize("name", ["many_choices/20", "plateau/60", "heteroscedastic/2"])
def test_noise_depends_on_seed_and_trial_number_only(name: str) -> None:
    problem = load_blind_problem(name)
    best = problem.best_params
    other = problem.terrain.params(_points(problem)[0])
    first = _observed(name, best, seed=1, n_trials=12)
    assert first == _observed(name, best, seed=1, n_trials=12)
    assert first != _observed(name, best, seed=2, n_trials=12)
    assert len(set(first)) == 12
    a, b = np.array(first), np.array(_observed(name, other, seed=1, n_trials=12))
    # The same draws, scaled by the noise at either point.
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(1.0)


def test_parameters_appear_in_their_branch_only() -> None:
    allowed = {
        "mlp_width": {"model": "mlp"},
        "mlp_sgd_momentum": {"model": "mlp", "mlp_opt": "sgd"},
        "rate_drop": {"model": "boosting", "booster": "dart"},
        "gamma": {"model": "svm", "kernel": "rbf"},
        "c": {"model": "svm"},
    }
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    terrain = load_blind_problem("conditional/large").terrain
    seen = set()
    for _ in range(120):
        trial = study.ask()
        point = terrain.suggest(trial)
        assert terrain.params(point) == pytest.approx(trial.params)
        for name, path in allowed.items():
            assert (name in trial.params) == (path.items() <= trial.params.items()), name
        seen.add(tuple(sorted(trial.params)))
    assert len(seen) == 6  # leaves


@pytest.mark.parametrize("name", ["conditional/small", "conditional/large"])
def test_best_branch_is_worst_untuned(name: str) -> None:
    problem = load_blind_problem(name)
    points = _points(problem, 8000)
    values = problem.true_values(points)
    best = problem.terrain.best_point[0]
    medians = {leaf: np.median(values[points[:, 0] == leaf]) for leaf in set(points[:, 0])}
    lowest = {leaf: values[points[:, 0] == leaf].min() for leaf in medians}
    assert max(medians, key=lambda leaf: medians[leaf]) == best
    assert min(lowest, key=lambda leaf: lowest[leaf]) == best


@pytest.mark.parametrize(
    ("name", "n_matter"), [("unimportant/2_of_15", 2), ("unimportant/3_of_30", 3)]
)
def test_as_many_parameters_matter_as_stated(name: str, n_matter: int) -> None:
    problem = load_blind_problem(name)
    points = _points(problem, 200)
    values = problem.true_values(points)
    matters = []
    for i in range(points.shape[1]):
        changed = points.copy()
        changed[:, i] = np.roll(points[:, i], 1)
        matters.append(not np.array_equal(problem.true_values(changed), values))
    assert sum(matters) == n_matter


@pytest.mark.parametrize("name", ["pruned/4", "pruned/6"])
def test_learning_curves_fall_to_the_true_value_and_sometimes_cross(name: str) -> None:
    problem = load_blind_problem(name)
    assert isinstance(problem, Pruned)
    points = _points(problem, 60)
    curves = np.array([problem.curve(point) for point in points])
    assert curves[:, -1] == pytest.approx(problem.true_values(points))
    assert np.all(np.diff(curves, axis=1) < 0)
    crossing = [
        (curves[i, 3] - curves[j, 3]) * (curves[i, -1] - curves[j, -1]) < 0
        for i, j in combinations(range(60), 2)
    ]
    assert 0.02 < np.mean(crossing) < 0.4


def test_losses_diverge_to_infinity_now_and_then() -> None:
    problem = load_blind_problem("heavy_tails/40")
    assert isinstance(problem, HeavyTails)
    point = max(_points(problem), key=lambda p: float(problem.true_values(p[None])[0]))
    losses = _observed(problem.name, problem.terrain.params(point), seed=0, n_trials=80)
    n_infinite = losses.count(float("inf"))
    assert 1 <= n_infinite <= 20
    assert all(loss is not None and loss > 1e6 for loss in losses)
    assert float("inf") not in _observed(problem.name, problem.best_params, seed=0, n_trials=30)


def test_noise_is_larger_where_it_looks_good() -> None:
    for name in ("heteroscedastic/2", "heteroscedastic/5"):
        problem = load_blind_problem(name)
        assert isinstance(problem, Heteroscedastic)
        points = _points(problem, 2000)
        noise = np.array([problem.noise_at(point) for point in points])
        order = np.argsort(problem.true_values(points))
        assert noise[order[:40]].mean() > 3 * noise[order[-1000:]].mean()


def _measure(name: str, method: str, n_trials: int, seed: int = 0) -> BlindReplication:
    problem = load_blind_problem(name)
    return blind_spots.measure(problem, method, lambda s: make_sampler(method, s), seed, n_trials)


def test_a_replication_is_reproducible_and_says_what_happened() -> None:
    first, second = (_measure("failing/60_beside", "random", 40) for _ in range(2))
    assert first.regret == second.regret != _measure("failing/60_beside", "random", 40, 1).regret
    assert 0.35 < first.failed_share < 0.85  # 24 of 40 on average
    assert (first.error, first.n_pruned, sum(first.epochs)) == (0, 0, 0)
    pairs = zip(first.regret, first.tried_regret, strict=True)
    assert all(r is None if t is None else r is not None and t <= r for r, t in pairs)

    pruned = _measure("pruned/4", "random", 30)
    assert pruned.failed_share == 0 and 0 < pruned.n_pruned < 25
    assert pruned.epochs.count(20) >= 30 - pruned.n_pruned
    assert max(pruned.epochs) == 20 and sum(pruned.epochs) < 30 * 20


class _Broken(optuna.samplers.RandomSampler):
    def sample_independent(self, *args: Any, **kwargs: Any) -> Any:
        raise KeyError("broken")


def test_errors_of_the_sampler_are_no_failures_of_the_problem() -> None:
    problem = load_blind_problem("failing/20")
    record = blind_spots.measure(problem, "broken", lambda seed: _Broken(seed), 0, 5)
    assert (record.error, record.error_type, record.failed_share) == (5, "KeyError", 0)
    assert record.regret == [None] * 5
    assert "errors of the sampler | 5 |" in blind_markdown(blind_rows([record], "rocket", []))


def _fabricated(problem: str, method: str, seed: int, regret: float) -> BlindReplication:
    return BlindReplication(
        problem=problem,
        family=problem.split("/")[0],
        method=method,
        seed=seed,
        n_trials=30,
        regret=[None] * 4 + [regret] * 21 + [regret / 2] * 5,
        sampler_seconds=0.1,
        ms_per_trial=2.0,
        error=0,
        error_type=None,
        versions={},
        tried_regret=[None] * 4 + [regret / 10] * 26,
        failed_share=0.25 if method == "a" else 0.5,
        n_pruned=3,
        epochs=[2] * 30,
    )


def test_summary_equals_hand_computed_numbers(tmp_path: Path) -> None:
    path = tmp_path / "raw.jsonl"
    regrets = {
        "a": {"failing/1": (0.2, 0.4), "failing/2": (0.6, 0.8), "pruned/1": (1.0, 4.0)},
        "b": {"failing/1": (0.4, 0.6), "failing/2": (0.6, 0.6), "pruned/1": (0.2, 0.2)},
    }
    for method, problems in regrets.items():
        for problem, pair in problems.items():
            for seed, regret in enumerate(pair):
                append_replication(path, _fabricated(problem, method, seed, regret))
    rows = blind_rows(read_blind_replications(path), "a", ["b", "absent"])
    numbers = {row[:4]: row.number for row in rows}
    assert numbers["regret", "a", "failing", 25] == pytest.approx(0.5)
    assert numbers["regret", "a", "failing", 30] == pytest.approx(0.25)
    assert numbers["regret", "a", "pruned", 25] == pytest.approx(1.25)  # clipped at 1.5
    assert numbers["regret", "a", "equal families", 25] == pytest.approx(0.875)
    assert numbers["minus b", "a", "failing", 25] == pytest.approx(-0.05)
    assert numbers["minus b", "a", "pruned", 30] == pytest.approx((0.5 + 1.5) / 2 - 0.1)
    assert numbers["regret of the best tried", "a", "failing", 30] == pytest.approx(0.05)
    assert numbers["share of failed trials", "a", "failing", 30] == 0.25
    assert numbers["epochs", "b", "pruned", 30] == 60
    (row,) = [r for r in rows if r[:4] == ("minus b", "a", "failing", 25)]
    assert row.n == 4 and row.low is not None and row.high is not None
    assert row.low <= row.number <= row.high
    text = blind_markdown(rows)
    assert "| failing | 0.500 [" in text and "| a minus b |" in text
    assert "| failing | share of failed trials | 0.25 | 0.5 |" in text


def test_command_line_runs_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Worker processes have a test of their own, and take seconds to start.
    monkeypatch.setattr(blind_spots, "in_workers", lambda f, cells, jobs: map(f, cells))
    path = tmp_path / "raw.jsonl"
    arguments = ["--methods", "random", "--problems", "plateau/60", "--seeds", "2"]
    arguments += ["--trials", "6", "--out", str(path)]
    blind_spots.main(arguments)
    printed = capsys.readouterr().out
    assert "2 replications run, 0 were there already" in printed and "| plateau |" in printed
    assert path.with_suffix(".csv").read_text().startswith("quantity,method,scope,trials")
    first = path.read_text()
    blind_spots.main(arguments)
    assert path.read_text() == first
    with pytest.raises(ValueError, match="Choose from all, failing/20"):
        blind_spots.main([*arguments, "--problems", "unheard-of"])
