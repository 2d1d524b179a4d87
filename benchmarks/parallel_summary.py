"""The summary of the parallel benchmark: regret at equal trials and at equal clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.aggregate import Curves
from benchmarks.aggregate import arrange
from benchmarks.aggregate import family_weights
from benchmarks.aggregate import paired_difference
from benchmarks.comparison import Row
from benchmarks.comparison import mean_rows
from benchmarks.records import ParallelReplication
from benchmarks.records import Replication
from benchmarks.report import markdown_table
from benchmarks.report import with_interval


EQUAL_TRIALS = "at equal trials"
EQUAL_CLOCK = "at equal clock"

_TRIALS_AT = (10, 25, 50, 100)
_PERCENT_AT = (10, 25, 50, 75, 100)


def parallel_rows(
    replications: Sequence[ParallelReplication], candidate: str, rivals: Sequence[str]
) -> list[Row]:
    """Return all numbers of the summary.

    In rows at equal clock `trials` is a percentage of the reference time.

    Args:
        replications: The raw results.
        candidate: The method that is compared with each rival.
        rivals: These methods, as far as they were run.
    """
    rows: list[Row] = []
    for scope, members in _by_scope(replications).items():
        at_trials: list[Replication] = list(members)
        at_clock = [replace(each, regret=on_clock(each)) for each in members]
        end = min(len(each.regret) for each in members)
        at = [*(trials for trials in _TRIALS_AT if trials < end), end]
        rows.extend(_regret_rows(EQUAL_TRIALS, scope, at_trials, candidate, rivals, at))
        rows.extend(_regret_rows(EQUAL_CLOCK, scope, at_clock, candidate, rivals, _PERCENT_AT))
        rows.extend(_cost_rows(scope, members))
    return rows


def on_clock(replication: ParallelReplication) -> list[float | None]:
    """Return the regret at 1 to 100 per cent of the reference time.

    A study that has ended keeps its last incumbent; one that has not is cut off at the end.
    """
    curve: list[float | None] = []
    for percent in range(1, 101):
        n_finished = bisect_right(replication.finished, replication.reference * percent / 100)
        curve.append(replication.regret[n_finished - 1] if n_finished else None)
    return curve


def parallel_markdown(rows: Sequence[Row]) -> str:
    """Return the tables of the summary.

    Args:
        rows: The numbers, as `parallel_rows` returns them.
    """
    sections = []
    for where, sign in ((EQUAL_TRIALS, "@{}"), (EQUAL_CLOCK, "{} %")):
        inside = [row for row in rows if row.quantity.endswith(where)]
        sections.append(f"### Mean normalised regret {where}\n\n{_table(inside, sign)}")
    costs = [row for row in rows if not row.quantity.endswith((EQUAL_TRIALS, EQUAL_CLOCK))]
    return "\n\n".join([*sections, f"### Cost\n\n{_cost_table(costs)}"])


def _by_scope(
    replications: Iterable[ParallelReplication],
) -> dict[str, list[ParallelReplication]]:
    scopes: dict[str, list[ParallelReplication]] = {}
    for each in sorted(replications, key=lambda r: (r.counts_sampler, r.n_workers)):
        workers = "1 worker" if each.n_workers == 1 else f"{each.n_workers} workers"
        time = " + sampler's time" if each.counts_sampler else ""
        scopes.setdefault(workers + time, []).append(each)
    return scopes


def _regret_rows(
    where: str,
    scope: str,
    replications: Sequence[Replication],
    candidate: str,
    rivals: Sequence[str],
    at: Sequence[int],
) -> Iterator[Row]:
    results = arrange(replications)

    def rows(quantity: str, method: str, curves: Curves) -> Iterator[Row]:
        weights = family_weights(curves, results.families)
        return mean_rows(f"{quantity} {where}", method, scope, curves, weights, at)

    for method in results.methods:
        yield from rows("regret", method, results.curves(method))
    for rival in rivals:
        if {candidate, rival} <= set(results.methods):
            curves = paired_difference(results, candidate, rival)
            yield from rows(f"minus {rival}", candidate, curves)


def _cost_rows(scope: str, replications: Sequence[ParallelReplication]) -> Iterator[Row]:
    quantities: dict[str, Callable[[ParallelReplication], float]] = {
        "duplicates": lambda each: each.n_duplicates,
        "end, % of reference": lambda each: 100 * each.finished[-1] / each.reference,
        "ms per trial": lambda each: each.ms_per_trial,
        "errors of the sampler": lambda each: each.error,
    }
    for method in dict.fromkeys(each.method for each in replications):
        members = [each for each in replications if each.method == method]
        for quantity, number in quantities.items():
            mean = sum(map(number, members)) / len(members)
            yield Row(quantity, method, scope, members[0].n_trials, mean, n=len(members))


def _table(rows: Sequence[Row], sign: str) -> str:
    at = sorted({row.trials for row in rows})
    cells = {(row.scope, _label(row), row.trials): with_interval(row) for row in rows}
    lines = [
        [*line, *(cells.get((*line, trials), "-") for trials in at)]
        for line in dict.fromkeys((row.scope, _label(row)) for row in rows)
    ]
    return markdown_table([["workers", "method", *(sign.format(each) for each in at)], *lines])


def _label(row: Row) -> str:
    quantity = row.quantity.removesuffix(EQUAL_TRIALS).removesuffix(EQUAL_CLOCK).strip()
    return row.method if quantity == "regret" else f"{row.method} {quantity}"


def _cost_table(rows: Sequence[Row]) -> str:
    quantities = list(dict.fromkeys(row.quantity for row in rows))
    numbers = {(row.scope, row.method, row.quantity): f"{row.number:.3g}" for row in rows}
    lines = [
        [*line, *(numbers[(*line, quantity)] for quantity in quantities)]
        for line in dict.fromkeys((row.scope, row.method) for row in rows)
    ]
    return markdown_table([["workers", "method", *quantities], *lines])
