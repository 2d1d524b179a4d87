"""From replications to weighted means with bootstrap intervals.

Notation:
    s: replications (seeds) of one method on one problem
    t: trials
    b: bootstrap resamples

A *table of curves* maps problem names to arrays `(s, t)`. A mean over a table is the mean over the
seeds of every problem, then the weighted mean over problems. The bootstrap is stratified: it
redraws the seeds of every problem separately and keeps the problems fixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Replication


Array = NDArray[np.float64]
Curves = Mapping[str, Array]
Weights = Mapping[str, float]

# One diverged incumbent must not decide a mean; random search starts near 1.
REGRET_CLIP = 1.5


@dataclass(frozen=True)
class Results:
    """Replications arranged for comparison.

    Args:
        families: Family of every problem.
        regret: Clipped curve `(t,)` by method, problem and seed.
        ms_per_trial: Milliseconds by method, one per replication.
        n_failed: Number of failed trials by method.
    """

    families: dict[str, str]
    regret: dict[str, dict[str, dict[int, Array]]]
    ms_per_trial: dict[str, list[float]]
    n_failed: dict[str, int]

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of the raw results."""
        return list(self.regret)

    def curves(self, method: str, problems: Iterable[str] | None = None) -> dict[str, Array]:
        """Return the curves `(s, t)` of a method, cut to the shortest of its replications.

        Args:
            method: The method.
            problems: Only these problems, all that the method ran on by default.
        """
        by_problem = self.regret[method]
        n_trials = min(len(curve) for seeds in by_problem.values() for curve in seeds.values())
        return {
            problem: np.stack([by_problem[problem][seed][:n_trials] for seed in sorted(seeds)])
            for problem, seeds in sorted(by_problem.items())
            if problems is None or problem in problems
        }

    def shared(self, methods: Sequence[str]) -> Results:
        """Return the replications of problems and seeds that all the methods ran."""
        cells = [
            {(problem, seed) for problem, seeds in self.regret[method].items() for seed in seeds}
            for method in methods
        ]
        shared: dict[str, dict[str, dict[int, Array]]] = {method: {} for method in methods}
        for problem, seed in sorted(set.intersection(*cells)):
            for method in methods:
                curve = self.regret[method][problem][seed]
                shared[method].setdefault(problem, {})[seed] = curve
        return replace(self, regret=shared)


def arrange(replications: Iterable[Replication]) -> Results:
    """Arrange replications by method, problem and seed.

    Before the first successful trial the regret is `REGRET_CLIP`. Of two replications of the same
    cell the one with more trials counts, of equals the later one.
    """
    chosen: dict[tuple[str, str, int], Replication] = {}
    for replication in replications:
        key = (replication.method, replication.problem, replication.seed)
        if key not in chosen or replication.n_trials >= chosen[key].n_trials:
            chosen[key] = replication
    results = Results({}, {}, {}, {})
    for (method, problem, seed), replication in chosen.items():
        curve = [REGRET_CLIP if regret is None else regret for regret in replication.regret]
        results.families[problem] = replication.family
        results.regret.setdefault(method, {}).setdefault(problem, {})[seed] = np.minimum(
            np.array(curve, dtype=np.float64), REGRET_CLIP
        )
        results.ms_per_trial.setdefault(method, []).append(replication.ms_per_trial)
        results.n_failed[method] = results.n_failed.get(method, 0) + replication.error
    return results


def plain_weights(problems: Iterable[str]) -> dict[str, float]:
    """Return equal weights for all problems."""
    names = list(problems)
    return {problem: 1 / len(names) for problem in names}


def family_weights(problems: Iterable[str], families: Mapping[str, str]) -> dict[str, float]:
    """Return weights that give every family the same total and share it equally inside."""
    names = list(problems)
    sizes: dict[str, int] = {}
    for problem in names:
        sizes[families[problem]] = sizes.get(families[problem], 0) + 1
    return {problem: 1 / (len(sizes) * sizes[families[problem]]) for problem in names}


def weighted_mean(curves: Curves, weights: Weights) -> Array:
    """Return the mean curve `(t,)`."""
    return np.asarray(sum(weights[problem] * c.mean(axis=0) for problem, c in curves.items()))


def bootstrap_interval(
    curves: Curves,
    weights: Weights,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Return the percentile interval of the weighted mean, low and high `(t,)`.

    Args:
        curves: The table of curves; differences of paired curves are curves too.
        weights: One weight per problem.
        n_resamples: The number of resamples.
        confidence: The share of resamples inside.
        seed: The seed of the resampling.
    """
    generator = np.random.default_rng(seed)
    means = np.asarray(
        sum(
            weights[problem] * (_resampling_shares(len(c), n_resamples, generator) @ c)
            for problem, c in curves.items()
        )
    )  # (b, t)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return low, high


def _resampling_shares(n: int, n_resamples: int, generator: np.random.Generator) -> Array:
    return generator.multinomial(n, np.full(n, 1 / n), size=n_resamples) / n  # (b, s)


def paired_difference(results: Results, method: str, rival: str) -> dict[str, Array]:
    """Return the curves of method minus rival on the problems and seeds that both ran."""
    shared = results.shared([method, rival])
    ours, theirs = shared.curves(method), shared.curves(rival)
    n_trials = min(next(iter(ours.values())).shape[1], next(iter(theirs.values())).shape[1])
    return {
        problem: ours[problem][:, :n_trials] - theirs[problem][:, :n_trials] for problem in ours
    }


def ranks(results: Results) -> dict[str, dict[str, Array]]:
    """Return the rank of every method among all methods, as curves; equals share their rank.

    Only problems and seeds that all methods ran are ranked. Rank 1 is the lowest regret.
    """
    shared = results.shared(results.methods)
    tables = {method: shared.curves(method) for method in shared.methods}
    n_trials = min(map(_length, tables.values()))
    ranked: dict[str, dict[str, Array]] = {method: {} for method in tables}
    for problem in next(iter(tables.values())):
        stacked = np.stack([tables[m][problem][:, :n_trials] for m in tables])  # (methods, s, t)
        lower = (stacked[None] < stacked[:, None]).sum(axis=1)
        equal = (stacked[None] == stacked[:, None]).sum(axis=1)
        for method, rank in zip(tables, lower + (equal + 1) / 2, strict=True):
            ranked[method][problem] = rank
    return ranked


def _length(curves: Curves) -> int:
    return len(next(iter(curves.values())).T)
