from __future__ import annotations

from collections.abc import Callable
import math

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest

from optuna_rocket.fidelity.calibration import calibrate
from optuna_rocket.fidelity.correlation import misleads
from optuna_rocket.fidelity.correlation import rank_correlation
from optuna_rocket.fidelity.forecast import N_RECENT
from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import Forecast
from optuna_rocket.fidelity.forecast import gather
from optuna_rocket.fidelity.forecast import rung_of
from optuna_rocket.fidelity.forecast import scale


Array = NDArray[np.float64]
STEPS = (1, 3, 9, 27)
Law = Callable[[np.random.Generator, int], Array]


def _noisy(rng: np.random.Generator, n: int) -> Array:
    """Estimates that converge to the final score."""
    final = rng.normal(size=n)
    return np.asarray(final[:, None] + rng.normal(size=(n, 4)) * np.array([1.0, 0.6, 0.3, 0.0]))


def _other_scale(rng: np.random.Generator, n: int) -> Array:
    """Early scores on a scale of their own, bent and heavy-tailed."""
    curves = _noisy(rng, n)
    curves[:, :3] = -np.exp(-3 * curves[:, :3])
    return curves


def _bloom(rng: np.random.Generator, n: int) -> Array:
    """A third sleeps on a plateau until the end."""
    curves = _noisy(rng, n)
    sleeps = rng.random(n) < 1 / 3
    curves[sleeps, :3] = -2 + 0.05 * rng.normal(size=(int(sleeps.sum()), 3))
    return curves


def _useless(rng: np.random.Generator, n: int) -> Array:
    return np.asarray(rng.normal(size=(n, 4)))


LAWS = {"noisy": _noisy, "other scale": _other_scale, "bloom": _bloom, "useless": _useless}


def evidence_of(curves: Array, last: NDArray[np.int64] | None = None) -> Evidence:
    """Evidence of trials that ended at rung ``last``, complete ones at the third."""
    last = np.full(len(curves), 3) if last is None else last
    return gather(
        [
            (STEPS[: k + 1], list(curve[: k + 1]), curve[3] if k == 3 else math.nan)
            for curve, k in zip(curves, last, strict=True)
        ]
    )


def pruned_by_halving(curves: Array) -> NDArray[np.int64]:
    """Rung at which a rule stops each trial that is in the worse half of those before it."""
    last = np.full(len(curves), 3)
    for i in range(8, len(curves)):
        for rung in (0, 1, 2):
            earlier = curves[:i][last[:i] >= rung, rung]
            if curves[i, rung] < np.median(earlier):
                last[i] = rung
                break
    return last


@pytest.mark.parametrize("n", [8, 40])
@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("prunes", [False, True])
def test_80_percent_intervals_cover_80_percent(name: str, n: int, prunes: bool) -> None:
    inside = []
    for seed in range(60):
        curves = LAWS[name](np.random.default_rng(seed), n + 10)
        seen = curves[:n]
        evidence = evidence_of(seen, pruned_by_halving(seen) if prunes else None)
        for rung in (0, 1, 2):
            for curve in curves[n:]:
                forecast = evidence.forecast(STEPS[rung], curve[rung])
                assert forecast is not None
                low, high = forecast.interval(0.8)
                inside.append(low <= max(evidence.rescale(curve[3]), -3) <= high)
    assert 0.7 <= np.mean(inside) <= 0.92


def test_forecasts_narrow_with_trials_and_with_rungs() -> None:
    stds = {}
    for n in (5, 50):
        curves = _noisy(np.random.default_rng(0), n)
        for rung in (0, 2):
            forecast = evidence_of(curves).forecast(STEPS[rung], 0.0)
            assert forecast is not None
            stds[n, rung] = forecast.std
    assert stds[50, 2] < stds[50, 0] < 1.1
    assert stds[50, 2] < stds[5, 2]


def test_a_useless_rung_says_nothing() -> None:
    evidence = evidence_of(_useless(np.random.default_rng(0), 200))
    low, high = evidence.forecast(1, -2.0), evidence.forecast(1, 2.0)
    assert low is not None
    assert high is not None
    assert abs(low.mean - high.mean) < 0.7
    assert low.std > 0.7


def test_late_bloomers_widen_the_forecast_of_the_plateau_alone() -> None:
    evidence = evidence_of(_bloom(np.random.default_rng(0), 150))
    asleep, awake = evidence.forecast(9, -2.0), evidence.forecast(9, 0.5)
    assert asleep is not None
    assert awake is not None
    assert asleep.std > 1.5 * awake.std


def test_pruned_trials_correct_for_the_survivors() -> None:
    """Those that survive had luck after the rung; on their own they are too good for it."""
    errors: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(20):
        curves = _noisy(np.random.default_rng(seed), 200)
        last = pruned_by_halving(curves)
        for with_pruned in errors:
            kept = np.full(200, True) if with_pruned else last == 3
            evidence = evidence_of(curves[kept], last[kept])
            forecast = evidence.forecast(1, 0.5)
            assert forecast is not None
            _, centre, unit = evidence.scaled
            expected = 0.25  # of a unit normal final score seen under unit noise
            errors[with_pruned].append(centre + unit * forecast.mean - expected)
    assert abs(np.mean(errors[True])) < 0.1
    assert np.mean(errors[False]) > 0.4


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(width=32), min_size=1, max_size=4), st.floats(allow_nan=False)
        ),
        min_size=1,
        max_size=30,
    ),
    st.floats(),
    st.sampled_from([0, 1, 2, 5, 27, 10**9]),
)
@settings(max_examples=100, deadline=None)
def test_any_numbers_are_endured(
    trials: list[tuple[list[float], float]], score: float, step: int
) -> None:
    evidence = gather(
        [
            (STEPS[: len(scores)], scores, final if len(scores) == 4 else math.nan)
            for scores, final in trials
        ]
    )
    forecast = evidence.forecast(step, score)
    if forecast is not None:
        assert math.isfinite(forecast.mean)
        assert 0 < forecast.std < math.inf


def test_order_is_all_that_counts_at_a_rung() -> None:
    curves = _noisy(np.random.default_rng(1), 30)
    bent = curves.copy()
    bent[:, :3] = np.expm1(2 * curves[:, :3])
    a = evidence_of(curves).forecast(3, float(curves[4, 1]))
    b = evidence_of(bent).forecast(3, float(bent[4, 1]))
    assert a is not None
    assert b is not None
    assert a == pytest.approx(b)


def test_scores_at_a_step_of_trials_with_other_grids() -> None:
    nan = math.nan
    evidence = gather([([0, 5, 10], [1, 2, 3], 3), ([4], [7], nan), ([2, 8], [4, nan], 5)])
    assert np.array_equal(evidence.at(5), [2, nan, 4], equal_nan=True)
    assert np.array_equal(evidence.at(8), [2, nan, -np.inf], equal_nan=True)
    assert np.array_equal(evidence.at(1), [1, nan, nan], equal_nan=True)
    assert np.array_equal(evidence.at(99), [nan] * 3, equal_nan=True)


@pytest.mark.parametrize("power", [17, 19, 400])
def test_large_amounts_of_effort_are_steps_like_others(power: int) -> None:
    """Such as floating-point operations; products with the number of trials pass 64 bits."""
    unit, nan, finals = 10**power, math.nan, [i / 200 for i in range(200)]
    evidence = gather([((unit, 2 * unit), (x, x + 1), x) for x in finals])
    assert evidence.at(unit).tolist() == finals
    assert evidence.at(2 * unit).tolist() == [x + 1 for x in finals]
    assert np.isnan(evidence.at(unit - 1)).all() and np.isnan(evidence.at(2 * unit + 1)).all()
    small, large = (
        gather([((1, k), (x, 2.0), x) if x > 0.3 else ((1,), (x,), nan) for x in finals])
        for k in (3, unit)
    )
    assert small.forecast(1, 0.5) == large.forecast(1, 0.5)
    assert large.forecast(unit, 2.0) is None, "nobody went beyond"


def test_expected_gain() -> None:
    draws = np.random.default_rng(0).normal(0.3, 2.0, 400_000)
    gain = np.maximum(draws - 1.5, 0).mean()
    assert Forecast(0.3, 2.0).expected_gain(1.5) == pytest.approx(gain, rel=0.02)
    assert 0 <= Forecast(0.0, 1.0).expected_gain(50.0) < 1e-9


def test_intervals() -> None:
    assert Forecast(1.0, 2.0).interval(0.95) == pytest.approx((-2.92, 4.92), abs=0.01)


def test_scale_is_robust() -> None:
    values = np.concatenate([np.linspace(-1, 1, 101), [-1e300, -np.inf, np.nan]])
    scaled, centre, _ = scale(values)
    assert abs(centre) < 0.05
    assert scaled[101] == scaled[102] == -3
    assert np.isnan(scaled[103])
    assert scale(np.array([2.0, 2.0]))[2] == 0
    assert scale(np.array([np.nan]))[2] == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=8))
def test_one_score_is_scaled_like_all(finals: list[float]) -> None:
    evidence = gather([((1,), (0.0,), final) for final in finals])
    scaled, _, unit = evidence.scaled
    if unit / 2 > 0:
        assert [evidence.rescale(final) for final in finals] == pytest.approx(scaled.tolist())
        assert evidence.rescale(math.inf) == 1e3
        assert evidence.rescale(-math.inf) == -3.0


def test_few_pairs_give_no_forecast() -> None:
    curves = _noisy(np.random.default_rng(0), 5)
    assert evidence_of(curves[:2]).forecast(1, 0.0) is None
    assert evidence_of(curves).forecast(27, 0.0) is None, "nobody went beyond"
    assert evidence_of(np.ones((9, 4))).forecast(1, 1.0) is None, "all are equal"


def test_a_worked_calibration() -> None:
    """Four pairs without error, and four trials that never went on."""
    x = np.array([0.0, 1.0, 2.0, 3.0])
    fit = calibrate(x, x, np.zeros(4), x)
    assert np.allclose(fit.ranks, [0.125, 0.375, 0.625, 0.875])
    assert np.allclose(fit.mapped, [-1.15, -0.32, 0.32, 1.15], atol=0.01)
    assert fit.centre == pytest.approx(0, abs=1e-12)
    assert fit.coefficients[0] == pytest.approx(1.5)
    assert 1.0 < fit.coefficients[1] < 3 / 2.3, "shrunk towards .8 of the spread"
    below = calibrate(x, x, np.zeros(4), np.concatenate([x, x - 10]))
    assert below.centre > 0.5, "those that went on are the better half"
    assert below.predict(np.array([-8.0]))[0] < 0 < below.predict(np.array([1.5]))[0]


def test_trials_worse_than_all_that_went_on_are_seen_as_such() -> None:
    """The best third of the first rung goes on; the others are filled in about right."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(30):
        x = rng.normal(size=60)
        y = 0.8 * x + 0.4 * rng.normal(size=60)
        goes_on = x > np.quantile(x, 2 / 3)
        evidence = gather(
            [
                ((1, 9) if on else (1,), (a, b) if on else (a,), b if on else math.nan)
                for a, b, on in zip(x.tolist(), y.tolist(), goes_on.tolist(), strict=True)
            ]
        )
        _, centre, unit = evidence.scaled
        mean, variance = evidence.completed
        error = (centre + unit * mean - y)[~goes_on]
        std = unit * np.sqrt(variance[~goes_on])
        found.append(
            (error.mean(), np.abs(error / std).mean(), (y[goes_on].mean() - y[~goes_on]).mean())
        )
    bias, surprise, gap = np.mean(found, 0)
    assert gap > 1, "what there is to see"
    assert abs(bias) < 0.35 * gap
    assert 0.4 < surprise < 1.5


def test_rate_of_gain_by_hand() -> None:
    """Where all new trials promise the same, all go on; where one promises all, it alone."""
    evidence = evidence_of(_noisy(np.random.default_rng(0), 40))
    unseen = evidence.new_trial.expected_gain(1.0)
    spent = 0.1
    rate = evidence.rate_of_gain(1.0, 1, spent)
    calibration = evidence.calibration(1)
    assert calibration is not None
    mean, variance = calibration.predict(evidence.at(1))
    gains = sorted(
        (
            Forecast(a, math.sqrt(b)).expected_gain(1.0)
            for a, b in zip(mean, variance, strict=True)
        ),
        reverse=True,
    )
    rates = [sum(gains[:k]) / (40 * spent + k * (1 - spent)) for k in range(1, 41)]
    assert rate == pytest.approx(max(*rates, unseen))
    assert rate > sum(gains) / 40, "choosing pays"
    assert evidence.rate_of_gain(1.0, 27, spent) == unseen, "no forecast there"


def test_new_trials_are_like_the_latest_of_which_something_is_known() -> None:
    """The latest were all stopped before the first step of a complete one."""
    finals = [0.1 * k for k in range(12)]
    curves = [((10, 20), (x, x), x) for x in finals]
    told = gather(curves).new_trial
    assert gather([*curves, *[((1,), (0.5,), math.nan)] * 60]).new_trial == told
    lately = gather([*curves, *[((10, 20), (9.0, 9.0), 9.0)] * N_RECENT])
    assert lately.new_trial.mean == lately.rescale(9.0), "older ones are forgotten"


def test_leading_is_the_best_third() -> None:
    evidence = evidence_of(np.arange(8.0)[:, None] * np.ones(4))
    leading = [evidence.is_leading(1, x + 0.5) for x in range(8)]
    assert leading == [False] * 5 + [True] * 3
    assert evidence_of(np.ones((1, 4))).is_leading(1, 2.0)
    assert not evidence.is_leading(1, math.nan)


def test_a_step_where_all_are_equal_stops_nobody() -> None:
    assert evidence_of(np.ones((5, 4))).is_leading(1, 1.0)
    assert not evidence_of(np.ones((5, 4))).is_leading(1, 0.5)
    but_one = evidence_of(np.concatenate([np.ones((4, 4)), np.full((1, 4), 2.0)]))
    assert not but_one.is_leading(1, 1.0)
    unknown = np.concatenate([np.full((5, 1), math.nan), np.ones((5, 3))], 1)
    assert evidence_of(unknown).is_leading(1, math.nan)
    assert evidence_of(unknown).is_leading(1, -math.inf), "NaN counts as the worst"


def test_rungs_are_a_ratio_apart() -> None:
    rungs = [rung_of(step) for step in range(100)]
    assert rungs == sorted(rungs)
    assert len(set(rungs)) == 12
    assert len({rung_of(step) for step in (1000, 3000, 9000, 27000)}) == 4


def test_rank_correlation_of_survivors_is_that_of_all() -> None:
    rng = np.random.default_rng(0)
    plain, corrected = [], []
    for _ in range(40):
        x = rng.normal(size=300)
        y = 0.8 * x + 0.6 * rng.normal(size=300)
        y[x < np.quantile(x, 0.7)] = np.nan
        corrected.append(rank_correlation(x, y)[0])
        kept = ~np.isnan(y)
        plain.append(rank_correlation(x[kept], y[kept])[0])
    assert np.mean(plain) < 0.6
    assert 0.72 < np.mean(corrected) < 0.86


def test_rank_correlation_at_the_edges() -> None:
    nan = math.nan
    assert rank_correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0]))[1] == 2
    assert math.isnan(rank_correlation(np.ones(5), np.arange(5.0))[0])
    assert rank_correlation(np.array([nan, 1, 2]), np.array([0, 1, 2.0])) == (1.0, 3)
    assert misleads(0.49, 8)
    assert not misleads(0.51, 8)
    assert not misleads(-1, 7)
    assert not misleads(nan, 8)
