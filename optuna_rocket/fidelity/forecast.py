"""Expected final score of an unfinished trial, with a standard error, from the trials before it.

Scores are greater when better. A rung is a report step; the final score is what a trial returned.

The forecast at a rung ``s`` is a regression over the trials that went beyond ``s``
(``calibration``).

Trials pruned after ``s`` are pairs too: their final score is filled in by the forecast from their
own last rung, latest rungs first. Without them the pairs would be the survivors alone, whose
scores are too good for their rank. Pruners look at reported scores only, so what is missing is
missing at random given ``x`` (Little & Rubin, Statistical Analysis with Missing Data, ch. 6).

Notation: ``n`` trials; ``x`` ``(n,)`` scores at a rung; ``y`` ``(n,)`` final scores and ``v``
``(n,)`` their variances (0 where observed).
"""

from __future__ import annotations

from bisect import bisect_left
from bisect import bisect_right
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from functools import cached_property
from itertools import chain
from itertools import islice
import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from optuna_rocket.fidelity.calibration import Calibration
from optuna_rocket.fidelity.calibration import calibrate


Array = NDArray[np.float64]

# Final scores further below the median than this many spreads are equally bad; the ceiling only
# keeps numbers finite.
_FLOOR, _CEILING = 3.0, 1e3
# Rungs closer than this ratio tell the same; it also bounds how often a trial is judged.
RUNG_RATIO = 1.5
MIN_PAIRS = 3
# A new trial is expected to be like this many before it.
N_RECENT = 50
# More trials than this cost time, and what older ones reported is forgotten: of the latest all are
# taken, as the complete ones alone would be the survivors. Where few of them are complete, some
# older complete ones stay all the same: without any nothing could be forecast.
MAX_TRIALS = 1000
_LEAST_COMPLETE = 50
# Computed once: a judgement asks for some hundred expected gains.
_DENSITY, _HALF_ROOT = 1 / math.sqrt(2 * math.pi), 1 / math.sqrt(2)


class Forecast(NamedTuple):
    """Expected final score and its standard error."""

    mean: float
    std: float

    def interval(self, share: float) -> tuple[float, float]:
        """Bounds that hold the final score with probability ``share``, in (0, 1)."""
        half = self.std * NormalDist().inv_cdf(0.5 + share / 2)
        return self.mean - half, self.mean + half

    def expected_gain(self, level: float) -> float:
        """Expected excess of the final score over ``level`` (0 where it falls short)."""
        z = (self.mean - level) / self.std
        density = math.exp(-0.5 * z * z) * _DENSITY
        return self.std * (z * 0.5 * math.erfc(-z * _HALF_ROOT) + density)


@dataclass(frozen=True)
class Evidence:
    """What the finished trials of a study reported.

    Attributes:
        steps: The report steps that there are, rising: amounts of effort of any size, also beyond
            64 bits, so that arrays hold their places in here.
        places: Place in ``steps`` of every report, all trials in a row, rising within each trial.
        scores: The scores reported there; NaN counts as the worst.
        counts: ``(n,)`` number of reports of each trial, at least 1.
        finals: ``(n,)`` final scores, NaN for a pruned trial.
    """

    steps: tuple[int, ...]
    places: NDArray[np.int64]
    scores: Array
    counts: NDArray[np.int64]
    finals: Array

    @cached_property
    def last_places(self) -> NDArray[np.int64]:
        """``(n,)`` place in ``steps`` of the latest report of every trial."""
        return np.asarray(self.places[np.cumsum(self.counts) - 1])

    @cached_property
    def _keys(self) -> NDArray[np.int64]:
        trial = np.repeat(np.arange(len(self.counts)), self.counts)
        return np.asarray(trial * len(self.steps) + self.places)

    def at(self, step: int) -> Array:
        """``(n,)`` latest scores up to a report step, NaN for trials that did not reach it."""
        # Before all steps this is the last key of the trial before: ``_first`` sorts that out.
        latest = bisect_right(self.steps, step) - 1
        query = np.arange(len(self.counts)) * len(self.steps) + latest
        position = np.searchsorted(self._keys, query, side="right") - 1
        is_there = self.last_places >= bisect_left(self.steps, step)
        reached = is_there & (position >= self._first)
        return np.where(reached, self._comparable[position], np.nan)

    def rises(self, step: int) -> Array:
        """``(n,)`` how far scores have risen from the first report to a step; NaN as in ``at``."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(self.at(step) - self._comparable[self._first])

    @cached_property
    def total_rises(self) -> Array:
        """``(n,)`` how far scores have risen from the first report to the last."""
        with np.errstate(invalid="ignore", over="ignore"):
            last = self._first + self.counts - 1
            return np.asarray(self._comparable[last] - self._comparable[self._first])

    def places_of(self, report: int) -> NDArray[np.int64]:
        """``(n,)`` place in ``steps`` of a report (0 the first), at most of the last one."""
        return np.asarray(self.places[self._first + np.minimum(report, self.counts - 1)])

    @cached_property
    def _comparable(self) -> Array:
        return np.where(np.isnan(self.scores), -np.inf, self.scores)

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        return np.asarray(np.cumsum(self.counts) - self.counts)

    @cached_property
    def scaled(self) -> tuple[Array, float, float]:
        """Final scores ``(n,)`` on the scale of the regressions, its centre and its unit."""
        return scale(self.finals)

    def rescale(self, final: float) -> float:
        """A final score on that scale."""
        _, centre, unit = self.scaled
        half = unit / 2  # see `scale`
        ratio = (final / 2 - centre / 2) / half if half > 0 else math.nan
        return min(max(ratio, -_FLOOR), _CEILING)

    @cached_property
    def completed(self) -> tuple[Array, Array]:
        """Final scores ``(n,)`` on that scale and variances; those of pruned trials filled in."""
        y = self.scaled[0].copy()
        v = np.zeros_like(y)
        missing = np.isnan(y)
        rungs = np.array([rung_of(self.steps[place]) for place in self.last_places.tolist()])
        for rung in np.unique(rungs[missing])[::-1]:
            group = missing & (rungs == rung)
            step = self.steps[self.last_places[group].min()]
            x = self.at(step)
            pairs = ~np.isnan(x) & ~np.isnan(y)
            if pairs.sum() >= MIN_PAIRS:
                seen = x[~np.isnan(x)]
                fit = calibrate(x[pairs], y[pairs], v[pairs], seen)
                y[group], v[group] = fit.predict(x[group])
        return y, v

    def is_leading(self, step: int, score: float) -> bool:
        """Whether a score at a report step is in the best third of all that got there.

        Equal scores count as better ones, but where all are equal the step tells nothing.
        """
        x = self.at(step)
        reached = x[~np.isnan(x)]
        score = -np.inf if math.isnan(score) else score
        if np.all(reached == score):
            return True
        n_better = int((reached >= score).sum())
        return n_better < max(1, (len(reached) + 1) // 3)

    def rate_of_gain(self, level: float, step: int, spent: float) -> float:
        """Most gain over ``level`` that new trials can be expected to bring for their cost.

        New trials are like the latest ones. All are taken to a report step, and those go on to the
        end whose forecast promises most: as many as make the gain of all, over the cost of all,
        greatest (where a renewal process earns most per unit of time; the threshold is that of
        Weitzman 1979 with the rate as the price).

        Args:
            level: A scaled final score.
            step: Where the forecast is made.
            spent: Cost up to there, as a share of a full evaluation.
        """
        return self._rate_of_gain(level, step, spent)

    def _new_rate_of_gain(self, level: float, step: int, spent: float) -> float:
        unseen = self.new_trial.expected_gain(level)
        calibration = self._calibration_at(step)
        if calibration is None:
            return unseen
        x = self.at(step)
        mean, variance = calibration.predict(x[~np.isnan(x)][-N_RECENT:])
        pairs = zip(mean.tolist(), np.sqrt(variance).tolist(), strict=True)
        gains = np.sort([Forecast(*pair).expected_gain(level) for pair in pairs])[::-1]
        n_going_on = np.arange(1, len(gains) + 1)
        costs = len(gains) * spent + n_going_on * (1 - spent)
        return max(unseen, float((gains.cumsum() / costs).max()))

    @cached_property
    def new_trial(self) -> Forecast:
        """Scaled final score of a trial before its first report."""
        y, v = self.completed
        # Nothing is known of trials that were stopped where no complete one had reported.
        known = (~np.isnan(y)).nonzero()[0][-N_RECENT:]
        y, v = y[known], v[known]
        return Forecast(float(y.mean()), math.sqrt(float(y.var() + v.mean())) or 1e-9)

    def calibration(self, step: int) -> Calibration | None:
        """The regression at a report step; None with fewer than ``MIN_PAIRS`` pairs."""
        y, v = self.completed
        x = self.at(step)
        goes_on = self.last_places >= bisect_right(self.steps, step)
        pairs = ~np.isnan(x) & ~np.isnan(y) & goes_on
        if pairs.sum() < MIN_PAIRS or self.scaled[2] <= 0:
            return None
        return calibrate(x[pairs], y[pairs], v[pairs], x[~np.isnan(x)])

    def forecast(self, step: int, score: float) -> Forecast | None:
        """Final score, in scaled units, of a trial with this score at a report step.

        Args:
            step: The report step.
            score: The latest score; NaN counts as the worst.

        Returns:
            None as long as too few trials went on from there, or no two final scores differ.
        """
        calibration = self._calibration_at(step)
        if calibration is None:
            return None
        x = np.array([-np.inf if math.isnan(score) else score])
        mean, variance = calibration.predict(x)
        return Forecast(float(mean[0]), math.sqrt(float(variance[0])))

    @cached_property
    def _rate_of_gain(self) -> Callable[[float, int, float], float]:
        # Judgements ask for the same one until there is a better trial.
        return cache(self._new_rate_of_gain)

    @cached_property
    def _calibration_at(self) -> Callable[[int], Calibration | None]:
        return cache(self.calibration)


def scale(finals: Array) -> tuple[Array, float, float]:
    """Final scores in robust units: median 0, quartiles about ±.67, cut at ``-_FLOOR``.

    Returns:
        The scaled scores ``(n,)``, NaN where there is none; the centre; the unit, 0 where no two
        finite scores differ.
    """
    finite = finals[np.isfinite(finals)]
    if len(finite) == 0:
        return np.full(len(finals), np.nan), 0.0, 0.0
    # Halving first keeps the differences of huge scores finite.
    low, centre, high = np.quantile(finite / 2, [0.25, 0.5, 0.75])
    unit = float((high - low) / 1.349 or (finite.max() / 2 - finite.min() / 2) / 4)
    if not unit > 0:
        return np.where(np.isnan(finals), np.nan, 0.0), float(2 * centre), 0.0
    scaled = _scaled(np.clip(finals, finite.min(), finite.max()), 2 * centre, 2 * unit)
    return scaled, float(2 * centre), 2 * unit


def _scaled(finals: Array, centre: float, unit: float) -> Array:
    with np.errstate(over="ignore"):  # infinity is cut like any other
        return np.clip((finals / 2 - centre / 2) / (unit / 2), -_FLOOR, _CEILING)


def rung_of(step: int) -> int:
    """Index of the rung that a report step belongs to: rungs are ``RUNG_RATIO`` apart."""
    # A trial that was made by hand may have reported before 0.
    return math.floor(math.log(max(step, 0) + 1) / math.log(RUNG_RATIO) + 1e-9)


def latest(n: int, is_complete: Callable[[int], bool]) -> list[int]:
    """Places, rising, of the trials to learn from.

    Args:
        n: How many trials reported.
        is_complete: Whether the one at a place, by number, is complete. Asked of older ones only
            as far as these are needed: a report must not take longer with every trial.
    """
    first = max(n - MAX_TRIALS, 0)
    if first == 0:
        return list(range(n))
    n_missing = max(_LEAST_COMPLETE - sum(map(is_complete, range(first, n))), 0)
    older = list(islice(filter(is_complete, reversed(range(first))), n_missing))
    return [*older[::-1], *range(first, n)]


def gather(curves: Sequence[tuple[Sequence[int], Sequence[float], float]]) -> Evidence:
    """Evidence from ``(report steps, scores, final score)`` of each trial."""
    steps = tuple(sorted(set().union(*(steps for steps, _, _ in curves))))
    place_of = {step: place for place, step in enumerate(steps)}
    reported = chain.from_iterable(steps for steps, _, _ in curves)
    return Evidence(
        steps,
        np.fromiter(map(place_of.__getitem__, reported), dtype=np.int64),
        np.concatenate([np.asarray(scores, dtype=np.float64) for _, scores, _ in curves]),
        np.array([len(steps) for steps, _, _ in curves], dtype=np.int64),
        np.array([final for _, _, final in curves], dtype=np.float64),
    )
