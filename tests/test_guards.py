from __future__ import annotations

from collections.abc import Sequence
import math

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import gather
from optuna_rocket.fidelity.guards import contradicts
from optuna_rocket.fidelity.guards import may_rise_late


def pairs(early: Sequence[float], final: Sequence[float]) -> Evidence:
    """Trials with a report at step 1 and, where the final score is no NaN, at step 9."""
    return gather(
        [
            ([1], [x], y) if math.isnan(y) else ([1, 9], [x, y], y)
            for x, y in zip(early, final, strict=True)
        ]
    )


def curves(*drawn: tuple[Sequence[float], float]) -> Evidence:
    return gather([(range(1, len(scores) + 1), scores, final) for scores, final in drawn])


@pytest.mark.parametrize(
    ("early", "final", "expected"),
    [
        ([1.0], [1.0], False),
        ([1.0, 2.0], [math.nan, 1.0], False),  # one pair of scores is no order
        ([1.0, 2.0], [1.0, 2.0], False),
        ([1.0, 2.0], [2.0, 1.0], True),
        ([1.0, 1.0], [2.0, 1.0], True),  # what does not tell them apart supports nothing
        ([1.0, 2.0, 3.0], [2.0, 1.0, 3.0], False),
        ([1.0, 2.0, 3.0], [3.0, 1.0, 2.0], True),
        ([math.nan, 2.0], [1.0, 2.0], False),  # NaN is the worst
        ([-math.inf, math.inf], [-math.inf, math.inf], False),
        ([1.0, 2.0, 0.0], [1.0, 2.0, math.nan], False),
    ],
)
def test_reports_are_contradicted_by_pairs(
    early: list[float], final: list[float], expected: bool
) -> None:
    assert contradicts(pairs(early, final), 1) is expected


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=150, unique=True))
def test_an_order_is_never_contradicted_by_itself(scores: list[float]) -> None:
    assert not contradicts(pairs(scores, scores), 1)
    assert contradicts(pairs(scores, [-x for x in scores]), 1)


def test_the_first_sleepers_are_waited_for() -> None:
    rising = ([0.0, 1.0, 2.0], 2.0)
    early = curves(rising, rising)
    assert may_rise_late(early, 3, 0.1)
    assert not may_rise_late(early, 3, 1.0), "it rises like the others"
    asleep = ([0.0, 0.1, 0.1], 0.1)
    assert may_rise_late(curves(rising, rising, rising, asleep), 3, 0.1), "one is not enough"
    stopped = ([0.0, 0.1, 0.1], math.nan)
    assert may_rise_late(curves(*[rising] * 4, stopped, stopped), 3, 0.1), "they never got there"
    assert not may_rise_late(curves(*[rising] * 3, asleep, asleep), 3, 0.1)
    late = ([0.0, 0.1, 0.1], 3.0)
    assert may_rise_late(curves(*[rising] * 9, asleep, late), 3, 0.1), "one became the best"


def test_nothing_is_waited_for_where_nobody_rises() -> None:
    falling = curves(([2.0, 1.0, 0.0], 0.0), ([2.0, 1.5, 1.0], 1.0))
    assert not may_rise_late(falling, 3, -1.0)
    flat = curves(([1.0, 1.0, 1.0], 1.0))
    assert not may_rise_late(flat, 3, 0.0)
    assert not may_rise_late(flat, 9, 0.0), "nobody got there"


@settings(deadline=None, max_examples=50)
@given(st.floats(), st.lists(st.floats(), min_size=1, max_size=5), st.floats())
def test_any_numbers_are_endured(rise: float, scores: list[float], final: float) -> None:
    evidence = curves((scores, final), (scores[::-1], -final))
    assert contradicts(evidence, 1) in (True, False)
    assert may_rise_late(evidence, len(scores), rise) in (True, False)
