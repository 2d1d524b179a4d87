"""The summary of the benchmark with worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import csv
import math
from pathlib import Path
from statistics import fmean
from statistics import stdev
from typing import Any

from benchmarks.records import ClusterReplication


Group = tuple[str, str, int]


def cluster_rows(replications: Sequence[ClusterReplication], alone: str) -> list[dict[str, Any]]:
    """Return one line per method, storage and number of kills.

    Args:
        replications: The raw results.
        alone: The storage of the studies by one worker, with which the others are compared.
    """
    groups: dict[Group, list[ClusterReplication]] = {}
    for each in replications:
        groups.setdefault((each.method, each.storage, each.n_killed), []).append(each)
    sequential = {
        (each.method, each.problem, each.seed): _final(each)
        for each in replications
        if each.storage == alone
    }
    return [
        _row(*group, members, sequential)
        for group, members in sorted(groups.items(), key=lambda item: item[0])
    ]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the lines as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _row(
    method: str,
    storage: str,
    n_killed: int,
    members: Sequence[ClusterReplication],
    sequential: Mapping[tuple[str, str, int], float],
) -> dict[str, Any]:
    differences = [
        _final(each) - sequential[key]
        for each in members
        if (key := (each.method, each.problem, each.seed)) in sequential
    ]
    return {
        "method": method,
        "storage": storage,
        "workers": members[0].n_workers,
        "kills": n_killed,
        "studies": len(members),
        "regret": f"{fmean(map(_final, members)):.3f}",
        "minus alone": f"{fmean(differences):+.3f}" if differences else "-",
        "standard error": _standard_error(differences),
        "repeated": sum(each.n_duplicates for each in members),
        "lost": sum(each.n_lost for each in members),
        "failed workers": sum(each.n_failed_workers for each in members),
        "sampler ms (processor)": f"{fmean(each.sampler_cpu_ms for each in members):.1f}",
        "sampler ms (wall)": f"{fmean(each.ms_per_trial for each in members):.0f}",
        "sampler reads": f"{fmean(each.sampler_reads for each in members):.1f}",
        "sampler writes": f"{fmean(each.sampler_writes for each in members):.2f}",
        "all reads": f"{fmean(each.reads for each in members):.1f}",
        "all writes": f"{fmean(each.writes for each in members):.1f}",
        "seconds": f"{fmean(each.seconds for each in members):.0f}",
    }


def _standard_error(differences: Sequence[float]) -> str:
    if len(differences) < 2:
        return "-"
    return f"{stdev(differences) / math.sqrt(len(differences)):.3f}"


def _final(replication: ClusterReplication) -> float:
    """Regret after as many trials as were asked for (workers that end together run a few more)."""
    found = replication.regret[: replication.n_trials]
    last = found[-1] if found else None
    return 1.0 if last is None else last
