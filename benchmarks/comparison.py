"""The numbers of the summary: means, ranks, costs and paired comparisons of methods."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.aggregate import Curves
from benchmarks.aggregate import Results
from benchmarks.aggregate import Weights
from benchmarks.aggregate import bootstrap_interval
from benchmarks.aggregate import family_weights
from benchmarks.aggregate import paired_difference
from benchmarks.aggregate import plain_weights
from benchmarks.aggregate import ranks
from benchmarks.aggregate import weighted_mean


REGRET_AT = (10, 25, 50, 100)
COMPARED_AT = (25, 50, 100)
# Smaller differences of a problem's mean are ties: they do not matter in practice.
MARGIN = 0.01

EQUAL_FAMILIES = "equal families"
EQUAL_PROBLEMS = "equal problems"


class Row(NamedTuple):
    """One number of the summary; the CSV file is a list of these.

    Args:
        quantity: What was measured.
        method: Of which method.
        scope: Over which problems and with which weights, or against which rival.
        trials: After how many trials, 0 when that has no meaning.
        number: The number.
        low: Lower end of its interval, None without an interval.
        high: Upper end of its interval.
        n: Number of replications (or problems) behind it.
        note: A name that belongs to the number.
    """

    quantity: str
    method: str
    scope: str
    trials: int
    number: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""


def summary_rows(results: Results, candidate: str | None) -> list[Row]:
    """Return all numbers of the summary.

    Args:
        results: The replications.
        candidate: The method that is compared with each other one, None to leave that out.
    """
    rows = [*regret_rows(results), *rank_rows(results), *cost_rows(results)]
    for rival in results.methods:
        if candidate is not None and rival != candidate:
            rows.extend(comparison_rows(results, candidate, rival))
    return rows


def regret_rows(results: Results) -> Iterator[Row]:
    """Yield mean normalised regret, over everything and per family."""
    for method in results.methods:
        curves = results.curves(method)
        weights = family_weights(curves, results.families)
        yield from mean_rows("regret", method, EQUAL_FAMILIES, curves, weights, REGRET_AT)
        weights = plain_weights(curves)
        yield from mean_rows("regret", method, EQUAL_PROBLEMS, curves, weights, REGRET_AT)
        for family in _families(results, curves):
            inside = {p: c for p, c in curves.items() if results.families[p] == family}
            weights = plain_weights(inside)
            yield from mean_rows("regret", method, family, inside, weights, REGRET_AT)


def rank_rows(results: Results) -> Iterator[Row]:
    """Yield the mean rank of every method, families of equal weight."""
    for method, curves in ranks(results).items():
        weights = family_weights(curves, results.families)
        yield from mean_rows("rank", method, EQUAL_FAMILIES, curves, weights, COMPARED_AT)


def cost_rows(results: Results) -> Iterator[Row]:
    """Yield the time per trial (median over replications) and the number of failed trials."""
    for method in results.methods:
        times = results.ms_per_trial[method]
        yield Row("ms per trial", method, "all", 0, float(np.median(times)), n=len(times))
        failed = float(results.n_failed[method])
        yield Row("failed trials", method, "all", 0, failed, n=len(times))


def comparison_rows(results: Results, candidate: str, rival: str) -> Iterator[Row]:
    """Yield the paired comparison of the candidate with one rival.

    The difference is candidate minus rival: below zero the candidate is better.
    """
    curves = paired_difference(results, candidate, rival)
    for scope, weights in (
        (EQUAL_FAMILIES, family_weights(curves, results.families)),
        (EQUAL_PROBLEMS, plain_weights(curves)),
    ):
        quantity = f"difference, {scope}"
        yield from mean_rows(quantity, candidate, rival, curves, weights, COMPARED_AT)
    for trials in _reached(COMPARED_AT, curves):
        means = {problem: float(c[:, trials - 1].mean()) for problem, c in curves.items()}
        wins = sum(mean < -MARGIN for mean in means.values())
        losses = sum(mean > MARGIN for mean in means.values())
        ties = len(means) - wins - losses
        for quantity, count in (("wins", wins), ("ties", ties), ("losses", losses)):
            yield Row(quantity, candidate, rival, trials, count, n=len(means))
        worst = max(means, key=lambda problem: means[problem])
        yield Row(
            "worst problem", candidate, rival, trials, means[worst], n=len(means), note=worst
        )


def mean_rows(
    quantity: str,
    method: str,
    scope: str,
    curves: Curves,
    weights: Weights,
    at: Sequence[int],
) -> Iterator[Row]:
    """Yield the weighted mean of curves with its interval.

    Args:
        quantity: What the curves hold.
        method: Of which method.
        scope: Over which problems, or against which rival.
        curves: The table of curves.
        weights: One weight per problem.
        at: After how many trials; what no curve reaches is left out.
    """
    reached = _reached(at, curves)
    at_reached = {problem: c[:, [t - 1 for t in reached]] for problem, c in curves.items()}
    means = weighted_mean(at_reached, weights)
    lows, highs = bootstrap_interval(at_reached, weights)
    n = sum(len(c) for c in curves.values())
    for trials, mean, low, high in zip(reached, means, lows, highs, strict=True):
        yield Row(quantity, method, scope, trials, float(mean), float(low), float(high), n)


def _reached(at: Sequence[int], curves: Curves) -> list[int]:
    n_trials = next(iter(curves.values())).shape[1]
    return [trials for trials in at if trials <= n_trials]


def _families(results: Results, problems: Curves) -> list[str]:
    return sorted({results.families[problem] for problem in problems})
