"""Suggestions in a study of very many trials: `python -m benchmarks.scale --help`.

A study is filled with random trials of five numbers, in memory, in a file or on a local server.
Then a fresh process opens it and runs trials (`ask`, five `suggest_float`, `tell`) without an
objective, on one thread. The first suggestion reads all that is stored; the ones after it show
what a worker pays from then on. `random` reads nothing: it shows what the storage itself takes.
Times are processor times of this process, which a busy machine does not distort; waiting for a
disk or a server is not in them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
import resource
import statistics
import sys
import tempfile
import time
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage

from benchmarks.filling import NAMES
from benchmarks.filling import STUDY
from benchmarks.filling import UNIT
from benchmarks.filling import fill
from benchmarks.filling import value_of
from benchmarks.methods import check_method
from benchmarks.methods import make_sampler
from benchmarks.methods import method_label
from benchmarks.records import read_lines
from benchmarks.records import replace_line
from benchmarks.report import markdown_table
from benchmarks.run import versions
from benchmarks.storages import FILES
from benchmarks.storages import empty_storage
from benchmarks.storages import open_storage
from benchmarks.storages import opened
from benchmarks.workers import single_threaded_workers


MEMORY = "memory"
STORAGES = (MEMORY, *FILES, "postgresql", "mysql")
# The fields that tell what was measured.
_CELL = ("storage", "n_stored", "method")


def measure(
    method: str, storage: str, place: str | None, n_stored: int, n_repeats: int
) -> dict[str, Any]:
    """Run trials in a study that is filled already, or, in memory, is filled here.

    Args:
        method: A method of `benchmarks.methods`.
        storage: One of `STORAGES`.
        place: The URL of a stored one.
        n_stored: The number of stored trials.
        n_repeats: The number of trials after the first.
    """
    backend: BaseStorage = InMemoryStorage()
    if place is None:
        fill(backend, n_stored)
    before, start = _peak_mib(), time.process_time()
    if place is not None:
        backend = open_storage(place)  # a journal is read whole here, a database later
    study = optuna.load_study(
        study_name=STUDY, storage=backend, sampler=make_sampler(method, seed=0)
    )
    opened_ms = 1000 * (time.process_time() - start)
    times = []
    for _ in range(1 + n_repeats):
        start = time.process_time()
        trial = study.ask()
        point = [trial.suggest_float(name, UNIT.low, UNIT.high) for name in NAMES]
        study.tell(trial, value_of(point))
        times.append(1000 * (time.process_time() - start))
    return {
        "method": method_label(method),
        "storage": storage,
        "n_stored": n_stored,
        "n_repeats": n_repeats,
        "opened_ms": round(opened_ms, 1),
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
    head = ["storage", "stored trials", "method", "opened", "first trial", "then"]
    head += ["peak memory", "added"]
    rows = [
        [
            line["storage"],
            f"{line['n_stored']:,}",
            line["method"],
            f"{line['opened_ms'] / 1000:.2f} s",
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
    parser.add_argument("--storages", nargs="+", choices=STORAGES, default=[MEMORY, *FILES])
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
                with _filled(folder, storage, n_stored) as place:
                    for method in map(check_method, args.methods):
                        with single_threaded_workers(jobs=1) as pool:  # a process of its own
                            arguments = (method, storage, place, n_stored, args.repeats)
                            line = pool.submit(measure, *arguments).result()
                        lines = replace_line(args.out, line, _CELL)
    print(table(lines))


@contextmanager
def _filled(folder: Path, storage: str, n_stored: int) -> Iterator[str | None]:
    """The URL of so many stored trials; every method's own trials come on top of these."""
    if storage == MEMORY:  # which the measuring process fills
        yield None
    elif storage in FILES:
        place = folder / f"{n_stored}.{storage}"
        if not place.exists():
            partial = place.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            _fill_at(_url(storage, partial), n_stored)
            partial.rename(place)
        yield _url(storage, place)
    else:
        with empty_storage(storage, folder) as url:
            _fill_at(url, n_stored)
            yield url


def _url(storage: str, place: Path) -> str:
    return f"sqlite:///{place}" if storage == "sqlite" else str(place)


def _fill_at(url: str, n_stored: int) -> None:
    with opened(url) as storage:
        fill(storage, n_stored)


if __name__ == "__main__":
    main()
