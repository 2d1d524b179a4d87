"""Suggestions in a study of very many trials: `python -m benchmarks.scale --help`.

A study is filled with random trials of five numbers, in memory, in SQLite or in a journal file.
Then a fresh process opens it and runs trials (`ask`, five `suggest_float`, `tell`) without an
objective, on one thread. The first suggestion reads all that is stored; the ones after it show
what a worker pays from then on. `random` reads nothing: it shows what the storage itself takes.
Times are processor times, which a busy machine does not distort; waiting for a disk is not in
them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
import datetime
from pathlib import Path
import resource
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import sqlalchemy as sa

from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.methods import method_label
from benchmarks.records import read_lines
from benchmarks.records import replace_line
from benchmarks.report import markdown_table
from benchmarks.run import versions
from benchmarks.workers import single_threaded_workers


STORAGES = ("memory", "sqlite", "journal")
_STUDY = "scale"
_NAMES = tuple(f"x{i}" for i in range(5))
_UNIT = optuna.distributions.FloatDistribution(0.0, 1.0)
_TEN_SECONDS = datetime.timedelta(seconds=10)
# The fields that tell what was measured.
_CELL = ("storage", "n_stored", "method")


def opened(storage: str, place: Path) -> BaseStorage:
    """Return a storage.

    Args:
        storage: One of `STORAGES`.
        place: The file of a stored one.
    """
    if storage == "memory":
        return InMemoryStorage()
    if storage == "journal":
        return JournalStorage(JournalFileBackend(str(place)))
    return RDBStorage(f"sqlite:///{place}")


def fill(storage: BaseStorage, n_stored: int, seed: int = 0) -> None:
    """Create the study and store random trials of a smooth function in it.

    Args:
        storage: An empty storage.
        n_stored: The number of trials.
        seed: The seed of the trials.
    """
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], _STUDY)
    if isinstance(storage, RDBStorage):
        # A file that can be made again need not survive a power cut.
        @sa.event.listens_for(storage.engine, "connect")
        def _(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = MEMORY")

        storage.engine.dispose()
    for template in _templates(n_stored, seed):
        storage.create_new_trial(study_id, template_trial=template)


def _templates(n: int, seed: int) -> Iterator[FrozenTrial]:
    start = datetime.datetime(2026, 1, 1)
    for point in np.random.default_rng(seed).random((n, len(_NAMES))):
        trial = optuna.trial.create_trial(
            params=dict(zip(_NAMES, map(float, point), strict=True)),
            distributions=dict.fromkeys(_NAMES, _UNIT),
            value=_value(list(point)),
        )
        trial.datetime_start, trial.datetime_complete = start, start + _TEN_SECONDS
        assert trial.state == TrialState.COMPLETE
        yield trial


def _value(point: Sequence[float]) -> float:
    return float(sum((coordinate - 0.3) ** 2 for coordinate in point))


def measure(
    method: str, storage: str, place: Path, n_stored: int, n_repeats: int
) -> dict[str, Any]:
    """Run trials in a study that is filled already, or, in memory, is filled here.

    Args:
        method: A method of `benchmarks.methods`.
        storage: One of `STORAGES`.
        place: The file of a stored one.
        n_stored: The number of stored trials.
        n_repeats: The number of trials after the first.
    """
    backend = opened(storage, place)
    if storage == "memory":
        fill(backend, n_stored)
    study = optuna.load_study(
        study_name=_STUDY, storage=backend, sampler=make_sampler(method, seed=0)
    )
    before = _peak_mib()
    times = []
    for _ in range(1 + n_repeats):
        start = time.process_time()
        trial = study.ask()
        point = [trial.suggest_float(name, _UNIT.low, _UNIT.high) for name in _NAMES]
        study.tell(trial, _value(point))
        times.append(1000 * (time.process_time() - start))
    return {
        "method": method_label(method),
        "storage": storage,
        "n_stored": n_stored,
        "n_repeats": n_repeats,
        "first_ms": round(times[0], 1),
        "ms_median": round(statistics.median(times[1:]), 2),
        "ms_max": round(max(times[1:]), 2),
        "mib_before": round(before, 1),
        "mib_peak": round(_peak_mib(), 1),
        "versions": versions(),
    }


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the results as Markdown.

    Args:
        lines: What `measure` returned.
    """
    head = ["storage", "stored trials", "method", "first trial", "then", "peak memory", "added"]
    rows = [
        [
            line["storage"],
            f"{line['n_stored']:,}",
            line["method"],
            f"{line['first_ms'] / 1000:.2f} s",
            f"{line['ms_median']:.1f} ms",
            f"{line['mib_peak']:.0f} MiB",
            f"{line['mib_peak'] - line['mib_before']:.0f} MiB",
        ]
        for line in lines
    ]
    return markdown_table([head, *rows])


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--methods", nargs="+", default=["random", "tpe", "rocket"])
    parser.add_argument("--storages", nargs="+", choices=STORAGES, default=list(STORAGES))
    parser.add_argument("--stored", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--repeats", type=int, default=20, help="trials after the first")
    parser.add_argument("--folder", type=Path, help="keeps the filled files, for another run")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale.jsonl"))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line. Earlier lines of the same cells are replaced."""
    args = _parse(argv)
    lines: list[dict[str, Any]] = read_lines(args.out)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for storage in args.storages:
            for n_stored in args.stored:
                for method in map(check_method, args.methods):
                    place = _filled(folder, storage, n_stored)
                    with single_threaded_workers(jobs=1) as pool:  # a process of its own
                        arguments = (method, storage, place, n_stored, args.repeats)
                        line = pool.submit(measure, *arguments).result()
                    lines = replace_line(args.out, line, _CELL)
    print(table(lines))


def _filled(folder: Path, storage: str, n_stored: int) -> Path:
    """The file that holds so many trials; every method's own trials come on top of these."""
    place = folder / f"{n_stored}.{storage}"
    if storage != "memory" and not place.exists():
        partial = place.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        fill(opened(storage, partial), n_stored)
        partial.rename(place)
    return place


if __name__ == "__main__":
    main()
