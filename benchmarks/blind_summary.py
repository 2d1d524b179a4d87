"""The summary of the blind-spot suite: regret and what it cost, per blind spot and method."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.aggregate import Curves
from benchmarks.aggregate import Results
from benchmarks.aggregate import arrange
from benchmarks.aggregate import family_weights
from benchmarks.aggregate import paired_difference
from benchmarks.comparison import EQUAL_FAMILIES
from benchmarks.comparison import Row
from benchmarks.comparison import mean_rows
from benchmarks.records import BlindReplication
from benchmarks.report import markdown_table
from benchmarks.report import with_interval


EARLY = 25

_ERRORS = "errors of the sampler"

# What else a blind spot is about, beside the regret.
_COSTS = {
    "failing": ("share of failed trials",),
    "pruned": ("epochs", "pruned trials"),
    "heteroscedastic": ("regret of the best tried",),
}


def blind_rows(
    replications: Sequence[BlindReplication], candidate: str, rivals: Sequence[str]
) -> list[Row]:
    """Return all numbers of the summary.

    Args:
        replications: The raw results.
        candidate: The method that is compared with each rival.
        rivals: These methods, as far as they were run.
    """
    results = arrange(replications)
    rows: list[Row] = []
    for method in results.methods:
        rows.extend(_mean_rows("regret", method, results.curves(method), results))
    for rival in rivals:
        if {candidate, rival} <= set(results.methods):
            curves = paired_difference(results, candidate, rival)
            rows.extend(_mean_rows(f"minus {rival}", candidate, curves, results))
    tried = arrange(replace(each, regret=each.tried_regret) for each in replications)
    for method in tried.methods:
        rows.extend(_mean_rows("regret of the best tried", method, tried.curves(method), tried))
    return [*rows, *_cost_rows(replications)]


def blind_markdown(rows: Sequence[Row]) -> str:
    """Return the tables of the summary.

    Args:
        rows: The numbers, as `blind_rows` returns them.
    """
    regret = [row for row in rows if row.quantity == "regret" or row.quantity.startswith("minus ")]
    sections = [
        f"### Mean normalised regret after {trials} trials\n\n"
        + _by_scope([row for row in regret if row.trials == trials])
        for trials in sorted({row.trials for row in regret})
    ]
    return "\n\n".join([*sections, f"### What else was recorded\n\n{_costs(rows)}"])


def _mean_rows(quantity: str, method: str, curves: Curves, results: Results) -> Iterator[Row]:
    end = next(iter(curves.values())).shape[1]
    families = [results.families[problem] for problem in curves]
    for scope in [*dict.fromkeys(families), EQUAL_FAMILIES]:
        inside = {
            problem: curve
            for problem, curve in curves.items()
            if scope in (EQUAL_FAMILIES, results.families[problem])
        }
        weights = family_weights(inside, results.families)
        at = sorted({min(EARLY, end), end})
        yield from mean_rows(quantity, method, scope, inside, weights, at)


def _cost_rows(replications: Iterable[BlindReplication]) -> Iterator[Row]:
    quantities: dict[str, Callable[[BlindReplication], float]] = {
        "share of failed trials": lambda each: each.failed_share,
        "pruned trials": lambda each: each.n_pruned,
        "epochs": lambda each: sum(each.epochs),
        _ERRORS: lambda each: each.error,
        "ms per trial": lambda each: each.ms_per_trial,
    }
    groups: dict[tuple[str, str], list[BlindReplication]] = {}
    for each in replications:
        groups.setdefault((each.family, each.method), []).append(each)
    for quantity, number in quantities.items():
        for (family, method), members in groups.items():
            mean = sum(map(number, members)) / len(members)
            yield Row(quantity, method, family, members[0].n_trials, mean, n=len(members))


def _by_scope(rows: Sequence[Row]) -> str:
    columns = dict.fromkeys(_column(row) for row in rows)
    cells = {(row.scope, _column(row)): with_interval(row) for row in rows}
    scopes = dict.fromkeys(row.scope for row in rows)
    lines = [[scope, *(cells.get((scope, column), "-") for column in columns)] for scope in scopes]
    return markdown_table([["blind spot", *columns], *lines])


def _column(row: Row) -> str:
    return row.method if row.quantity == "regret" else f"{row.method} {row.quantity}"


def _costs(rows: Sequence[Row]) -> str:
    methods = list(dict.fromkeys(row.method for row in rows))
    end = max(row.trials for row in rows)
    numbers = {(r.scope, r.quantity, r.method): r.number for r in rows if r.trials == end}
    wanted = [(family, quantity) for family, names in _COSTS.items() for quantity in names]
    wanted += [(row.scope, row.quantity) for row in rows if row.quantity == "ms per trial"]
    # A sampler that raises would otherwise pass for one that is merely bad.
    wanted += [(row.scope, _ERRORS) for row in rows if row.quantity == _ERRORS and row.number]
    lines = [
        [*key, *(f"{numbers[(*key, m)]:.3g}" if (*key, m) in numbers else "-" for m in methods)]
        for key in dict.fromkeys(wanted)
        if any((*key, method) in numbers for method in methods)
    ]
    return markdown_table([["blind spot", "mean", *methods], *lines])
