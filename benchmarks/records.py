"""The raw results: one JSON line per replication."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Replication:
    """One study of one method on one problem.

    Args:
        problem: Name of the problem.
        family: Family of the problem.
        method: Name of the method.
        seed: Seed of the sampler and of the noise.
        n_trials: Number of trials asked for.
        regret: Normalised regret of the incumbent after every trial, None as long as all trials
            failed.
        sampler_seconds: Time of the study without the objective.
        ms_per_trial: The same per trial, in milliseconds.
        error: Number of failed trials.
        error_type: Name of the first exception, None when no trial failed.
        versions: Versions of Python and of the packages that matter.
    """

    problem: str
    family: str
    method: str
    seed: int
    n_trials: int
    regret: list[float | None]
    sampler_seconds: float
    ms_per_trial: float
    error: int
    error_type: str | None
    versions: dict[str, str]


@dataclass(frozen=True)
class BlindReplication(Replication):
    """One study of one method on a problem of the blind-spot suite.

    Args:
        tried_regret: Regret of the complete trial with the best true value, after every trial.
        failed_share: Share of all trials that crashed or returned NaN.
        n_pruned: Number of pruned trials.
        epochs: Epochs spent in every trial, 0 where there are no learning curves.
    """

    tried_regret: list[float | None]
    failed_share: float
    n_pruned: int
    epochs: list[int]


@dataclass(frozen=True)
class PruningReplication(Replication):
    """One study of a sampler with a pruner on partial results, on a simulated clock.

    `n_trials` is the budget in full evaluations, `regret` that after every *complete* trial, and
    `sampler_seconds` the time of the study, pruner and evaluator included.

    Args:
        spent: Clock, in full evaluations, at the end of every complete trial.
        n_run: Number of trials, pruned ones included.
        n_pruned: Number of pruned trials.
        n_pruned_top: Those whose true final value is in the best 5 % of random configurations.
        n_pruned_own_top: Those whose true final value is in the best 5 % of this study's trials.
        n_own_top: Number of trials in the best 5 % of this study.
    """

    spent: list[float]
    n_run: int
    n_pruned: int
    n_pruned_top: int
    n_pruned_own_top: int
    n_own_top: int


@dataclass(frozen=True)
class ParallelReplication(Replication):
    """One study of one method with several workers on a simulated clock.

    `regret` is that after every *finished* trial, in the order in which they finished.

    Args:
        n_workers: Number of workers.
        counts_sampler: Whether the sampler's time counts on the clock.
        finished: Clock at the end of every trial, in rising order.
        reference: Clock at which random search with as many workers would end, on average.
        n_duplicates: Number of trials that started while another one ran the same configuration.
    """

    n_workers: int
    counts_sampler: bool
    finished: list[float]
    reference: float
    n_duplicates: int


@dataclass(frozen=True)
class GoalReplication(Replication):
    """One study with several objectives or with constraints.

    `regret` is 1 minus the share of the reachable hypervolume after every trial.

    Args:
        n_objectives: Number of objectives.
        feasible_share: Share of all trials that violated no constraint.
    """

    n_objectives: int
    feasible_share: float


@dataclass(frozen=True)
class ClusterReplication(Replication):
    """One study of one method by worker processes that share a storage.

    `regret` is that after every finished trial, in the order in which they finished;
    `sampler_seconds` the time of all workers in the sampler, its storage calls included.

    Args:
        storage: Where the study was kept; ``memory`` is one worker on its own.
        n_workers: Number of processes.
        n_killed: How often a worker was killed in the middle of a trial.
        seconds: Time of the whole study on the wall.
        sampler_cpu_ms: Processor time in the sampler per trial, in milliseconds.
        n_duplicates: Finished trials whose configuration an earlier one had.
        n_lost: Trials that did not complete, or are missing.
        n_failed_workers: Workers that ended with an error, or did not end.
        sampler_reads: Storage reads per trial that the sampler asked for.
        sampler_writes: Storage writes per trial that the sampler asked for.
        reads: All storage reads per trial.
        writes: All storage writes per trial.
    """

    storage: str
    n_workers: int
    n_killed: int
    seconds: float
    sampler_cpu_ms: float
    n_duplicates: int
    n_lost: int
    n_failed_workers: int
    sampler_reads: float
    sampler_writes: float
    reads: float
    writes: float


def rounded(curve: Iterable[float | None]) -> list[float | None]:
    """Return a curve with six digits after the point, as files hold it."""
    return [None if number is None else round(number, 6) for number in curve]


def read_replications(path: Path) -> list[Replication]:
    """Return the replications of a file, without a half-written last line."""
    return [Replication(**line) for line in read_lines(path)]


def read_blind_replications(path: Path) -> list[BlindReplication]:
    """Return the replications of a file of the blind-spot suite."""
    return [BlindReplication(**line) for line in read_lines(path)]


def read_pruning_replications(path: Path) -> list[PruningReplication]:
    """Return the replications of a file of the pruning benchmark."""
    return [PruningReplication(**line) for line in read_lines(path)]


def read_parallel_replications(path: Path) -> list[ParallelReplication]:
    """Return the replications of a file of the parallel benchmark."""
    return [ParallelReplication(**line) for line in read_lines(path)]


def read_goal_replications(path: Path) -> list[GoalReplication]:
    """Return the replications of a file of the benchmark with several objectives."""
    return [GoalReplication(**line) for line in read_lines(path)]


def read_cluster_replications(path: Path) -> list[ClusterReplication]:
    """Return the replications of a file of the benchmark with worker processes."""
    return [ClusterReplication(**line) for line in read_lines(path)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the fields of every line of a file, without a half-written last line."""
    if not path.exists():
        return []
    return [json.loads(line) for line in _whole_lines(path)]


def drop_half_line(path: Path) -> None:
    """Cut off what a killed process left behind the last whole line of a file."""
    if path.exists():
        whole = b"".join(line + b"\n" for line in _whole_lines(path))
        if len(whole) != path.stat().st_size:
            path.write_bytes(whole)


def append_replication(path: Path, replication: Replication) -> None:
    """Add one line to a file, in one write."""
    append_line(path, asdict(replication))


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add one line to a file, in one write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(_encoded(line))


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Replace the content of a file."""
    path.write_bytes(b"".join(map(_encoded, lines)))


def replace_line(path: Path, line: dict[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Write a line in place of the one with the same values of some fields, or after all others.

    Args:
        path: The file; it and its folder are made if they are not there.
        line: What was measured.
        names: The fields that tell a cell.

    Returns:
        All lines.
    """
    found = {tuple(x[name] for name in names): x for x in read_lines(path)}
    found[tuple(line[name] for name in names)] = line
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, found.values())
    return list(found.values())


def _whole_lines(path: Path) -> list[bytes]:
    # What follows the last newline is empty, or was being written when the process ended.
    return path.read_bytes().split(b"\n")[:-1]


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line, allow_nan=False).encode() + b"\n"
