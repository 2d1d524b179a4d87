"""What a command shall run, what its file already holds, and the difference of the two.

A replication that is already in the file is not run again, so that an interrupted command
continues where it ended. One process may write to a file at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path
from typing import Any
from typing import TypeVar

from benchmarks.methods import method_label
from benchmarks.records import Replication
from benchmarks.records import append_replication
from benchmarks.records import drop_half_line
from benchmarks.records import read_lines
from benchmarks.records import write_lines


_FOUND = "found"


@dataclass(frozen=True)
class Cell:
    """What identifies a replication; its record has the same fields.

    Args:
        problem: Name of the problem.
        method: The method, as given on the command line.
        seed: Seed of the sampler and of the noise.
        n_trials: Number of trials.
    """

    problem: str
    method: str
    seed: int
    n_trials: int


AnyCell = TypeVar("AnyCell", bound=Cell)


def missing_cells(cells: Sequence[AnyCell], path: Path) -> list[AnyCell]:
    """Return the cells that the file does not hold, in their order."""
    done = {_key_of(line, cell) for cell in cells[:1] for line in read_lines(path)}
    return [cell for cell in cells if _key(cell) not in done]


def discard(path: Path, cells: Sequence[Cell]) -> None:
    """Take the replications of the cells out of the file."""
    if path.exists() and cells:
        gone = {_key(cell) for cell in cells}
        write_lines(path, [x for x in read_lines(path) if _key_of(x, cells[0]) not in gone])


def fill(
    path: Path,
    cells: Sequence[AnyCell],
    measured: Callable[[list[AnyCell]], Iterable[Replication]],
) -> int:
    """Measure the cells that the file does not hold and append them as they come.

    Args:
        path: The raw results.
        cells: The cells that the file shall hold, all of one class.
        measured: Yields one replication per cell, in any order.

    Returns:
        The number of replications that were run.
    """
    drop_half_line(path)
    n_run = 0
    for replication in measured(missing_cells(cells, path)):
        append_replication(path, replication)
        n_run += 1
    return n_run


def add_options(
    parser: argparse.ArgumentParser,
    methods: Sequence[str],
    out: str,
    *,
    seeds: int = 5,
    trials: int = 100,
) -> None:
    """Add the options that every command has which fills a file.

    Args:
        parser: The parser of the command.
        methods: The methods that are run by default.
        out: The file that is filled by default.
        seeds: The default number of replications.
        trials: The default number of trials.
    """
    parser.add_argument(
        "--methods", nargs="+", default=list(methods), help="names, or rocket:CHECKPOINT_PATH"
    )
    parser.add_argument("--seeds", type=int, default=seeds, help="number of replications")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=trials)
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument(
        "--replace", action="store_true", help="run the named cells again even if they are there"
    )


def add_summary_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that also summarises what its file holds."""
    parser.add_argument("--candidate", default="rocket", help="compared with each rival")
    parser.add_argument("--rivals", nargs="*", default=["tpe", "gp"])
    parser.add_argument("--table", type=Path, help="the summary as CSV, beside --out by default")


def select_problems(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the problems that are meant, each once.

    The family "found" holds problems that a defect led to: "all" leaves it out, and it does not
    mix with others.

    Args:
        names: "all", families or problems.
        known: All problems, named family/problem.

    Raises:
        ValueError: If a name is none of these.
    """
    if any(name.startswith(_FOUND) for name in names):
        known = [name for name in known if name.startswith(_FOUND)]
    elif "all" in names:
        known = [name for name in known if not name.startswith(_FOUND)]
    chosen: list[str] = []
    for name in names:
        matching = [x for x in known if name in ("all", x, x.split("/")[0])]
        if not matching:
            families = dict.fromkeys(x.split("/")[0] for x in known)
            choices = ", ".join(["all", *known, *families])
            raise ValueError(f"Unknown problem {name!r}. Choose from {choices}.")
        chosen.extend(matching)
    return list(dict.fromkeys(chosen))


def complete(
    args: argparse.Namespace,
    cells: Sequence[AnyCell],
    measured: Callable[[list[AnyCell]], Iterable[Replication]],
) -> None:
    """Fill the file that the command line names and say how much was run.

    Args:
        args: The options of `add_options`.
        cells: The cells that the file shall hold.
        measured: Yields one replication per cell, in any order.
    """
    if args.replace:
        discard(args.out, cells)
    n_run = fill(args.out, cells, measured)
    print(f"{n_run} replications run, {len(cells) - n_run} were there already: {args.out}")


def _key(cell: Cell) -> tuple[Any, ...]:
    return _key_of({**asdict(cell), "method": method_label(cell.method)}, cell)


def _key_of(line: Mapping[str, Any], cell: Cell) -> tuple[Any, ...]:
    return tuple(line[field.name] for field in fields(cell))
