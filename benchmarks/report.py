"""The summary as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import csv
from pathlib import Path
from typing import Any

from benchmarks.comparison import Row


Cell = Callable[[Row], str]


def markdown(rows: Sequence[Row]) -> str:
    """Return all tables of the summary.

    Args:
        rows: The numbers, as `benchmarks.comparison.summary_rows` returns them.
    """
    sections = []
    regret = [row for row in rows if row.quantity == "regret"]
    for scope in dict.fromkeys(row.scope for row in regret):
        inside = [row for row in regret if row.scope == scope]
        sections.append((f"Mean normalised regret, {scope}", inside, with_interval))
    sections.append(("Mean rank", _of(rows, "rank"), _rounded))
    for quantity in dict.fromkeys(row.quantity for row in rows):
        if quantity.startswith("difference"):
            sections.append((f"Paired {quantity}", _of(rows, quantity), with_interval))
    sections.append(("Wins / ties / losses over problems", _counts(rows), _noted))
    sections.append(("Worst problem", _of(rows, "worst problem"), _with_problem))
    tables = [f"### {title}\n\n{_table(part, cell)}" for title, part, cell in sections if part]
    return "\n\n".join([*tables, f"### Cost\n\n{_cost_table(rows)}"])


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows, numbers with six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(
            [f"{field:.6g}" if isinstance(field, float) else field for field in row]
            for row in rows
        )


def _of(rows: Sequence[Row], quantity: str) -> list[Row]:
    return [row for row in rows if row.quantity == quantity]


def _counts(rows: Sequence[Row]) -> list[Row]:
    columns = zip(_of(rows, "wins"), _of(rows, "ties"), _of(rows, "losses"), strict=True)
    return [
        win._replace(note=f"{win.number:g} / {tie.number:g} / {loss.number:g}")
        for win, tie, loss in columns
    ]


def _table(rows: Sequence[Row], cell: Cell) -> str:
    trials = sorted({row.trials for row in rows})
    labels = list(dict.fromkeys((_label(row), row.n) for row in rows))
    cells = {(_label(row), row.n, row.trials): cell(row) for row in rows}
    lines = [["method", "n", *(f"@{t}" for t in trials)]]
    for label, n in labels:
        lines.append([label, str(n), *(cells.get((label, n, t), "-") for t in trials)])
    return markdown_table(lines)


def _cost_table(rows: Sequence[Row]) -> str:
    failed = {row.method: row.number for row in _of(rows, "failed trials")}
    lines = [["method", "ms per trial", "failed trials"]]
    for row in _of(rows, "ms per trial"):
        lines.append([row.method, f"{row.number:.3g}", f"{failed[row.method]:g}"])
    return markdown_table(lines)


def markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """Return a table whose first line is its head."""
    head, *body = (f"| {' | '.join(line)} |" for line in cells)
    return "\n".join([head, "|" + "---|" * len(cells[0]), *body])


def markdown_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return a table of one line per row.

    Args:
        rows: All of the same fields.
        columns: The fields that are shown; None shows all.
    """
    names = list(columns or rows[0])
    return markdown_table([names, *([str(row[name]) for name in names] for row in rows)])


def _label(row: Row) -> str:
    is_comparison = row.quantity not in ("regret", "rank")
    return f"{row.method} against {row.scope}" if is_comparison else row.method


def _rounded(row: Row) -> str:
    return f"{row.number:.2f}"


def with_interval(row: Row) -> str:
    """Return a number and its interval, three digits of each."""
    return f"{row.number:.3f} [{row.low:.3f}, {row.high:.3f}]"


def _with_problem(row: Row) -> str:
    return f"{row.number:+.3f} ({row.note})"


def _noted(row: Row) -> str:
    return row.note
