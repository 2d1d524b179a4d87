from __future__ import annotations

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest
import torch
from torch import Tensor

from optuna_rocket.scores import continue_transform
from optuna_rocket.scores import score_gaps
from optuna_rocket.scores import transform_errors
from tests.builders import generator
from tests.builders import transform_scores


numeric = settings(deadline=None, max_examples=60, derandomize=True)


def transformed(scores: list[float], scored: list[bool] | None = None) -> Tensor:
    mask = [True] * len(scores) if scored is None else scored
    return transform_scores(
        torch.tensor([scores], dtype=torch.float64), torch.tensor([mask], dtype=torch.bool)
    )[0]


def normal_scores(n: int = 40, seed: int = 0) -> Tensor:
    return torch.randn(n, generator=generator(seed), dtype=torch.float64)


def test_transformed_scores_are_standardised_over_the_scored() -> None:
    scores = normal_scores()
    scored = torch.arange(40) % 3 > 0
    z = transformed(scores.tolist(), scored.tolist())
    assert float(z[scored].mean()) == pytest.approx(0, abs=1e-12)
    assert float(z[scored].std(correction=0)) == pytest.approx(1)
    assert bool((z[~scored] == 0).all())


@numeric
@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_transform_ignores_scale_and_offset(scale: float, offset: float) -> None:
    scores = normal_scores()
    moved = scale * (scores + offset)
    torch.testing.assert_close(
        transformed(moved.tolist()), transformed(scores.tolist()), atol=1e-8, rtol=0
    )


@numeric
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_transform_is_monotone_and_finite(scores: list[float]) -> None:
    z = transformed(scores)
    assert bool(torch.isfinite(z).all())
    ordered = z[torch.tensor(scores, dtype=torch.float64).argsort()]
    assert bool((ordered.diff() >= -1e-9).all())


def test_the_best_stays_apart_whatever_the_scale() -> None:
    for unit in (1e-300, 1.0, 1e300):
        z = transformed([unit * x for x in (0.0, 0.1, 0.5, 0.9, 1.0)])
        assert bool((z.diff() > 0.05).all()), unit


def test_a_diverging_tail_does_not_drown_the_rest() -> None:
    scores = normal_scores(20)
    plain = transformed(scores.tolist())
    order = scores.argsort(descending=True)
    for size in (1e3, 1e30, 1e300):
        diverged = scores.clone()
        diverged[order[-3:]] = -size
        z = transformed(diverged.tolist())
        best, middle = order[:3], order[8:12]
        assert float(z[best].mean() - z[middle].mean()) > 0.7
        assert bool((z[order[-3:]] <= z.min() + 1e-9).all())
        torch.testing.assert_close(z[best], plain[best], atol=0.5, rtol=0)


def test_constant_scores_say_nothing() -> None:
    assert transformed([3.0] * 7).tolist() == [0.0] * 7
    assert transformed([3.0, 3.0, -8.0], [True, True, False]).tolist() == [0.0] * 3


def test_unscored_trials_have_no_influence() -> None:
    scores, scored = normal_scores(), torch.arange(40) % 4 > 0
    first = transformed(scores.tolist(), scored.tolist())
    for junk in (float("nan"), float("inf"), -1e308):
        other = scores.masked_fill(~scored, junk)
        assert torch.equal(transformed(other.tolist(), scored.tolist()), first)


def test_transform_of_nothing() -> None:
    assert transformed([]).shape == (0,)
    assert transformed([1.0, 2.0], [False, False]).tolist() == [0.0, 0.0]


def test_errors_follow_the_slope_of_the_transform() -> None:
    scores, scored = normal_scores()[None], torch.arange(40)[None] % 3 > 0
    errors = torch.full_like(scores, 1e-6)
    z = continue_transform(scores, scored, scores)
    higher = continue_transform(scores, scored, scores + errors)
    found = transform_errors(scores, scored, errors)
    inside = scored & (z > z.min())  # cut where scores count as equally bad
    assert torch.allclose(found[inside], (higher - z)[inside], rtol=1e-3)
    assert bool((found[~scored] == 0).all())
    assert bool(
        (transform_errors(torch.ones(1, 5).double(), scored[:, :5], errors[:, :5]) == 0).all()
    )


def test_good_scores_stay_apart_where_others_are_decades_worse() -> None:
    good = [-1e-3 * k for k in range(1, 9)]
    scores = torch.tensor([[*good, *(-(10.0**k) for k in range(1, 9))]], dtype=torch.float64)
    z = transform_scores(scores, torch.ones_like(scores, dtype=torch.bool))[0]
    assert float(z[0] - z[7]) > 0.15, "the best and the worst of the good ones"
    assert bool((z[:-3].diff() < -0.01).all()), "and the bad ones but for those that are cut"
    further = continue_transform(scores, torch.ones_like(scores, dtype=torch.bool), scores)[0]
    torch.testing.assert_close(further, z)


def test_a_search_that_converges_is_no_matter_of_decades() -> None:
    """Half of the scores within a hundredth of the others' distance leave the scale as it is."""
    spread = torch.linspace(0, -10, 20, dtype=torch.float64)
    crowded = torch.cat([-0.1 * torch.rand(20, generator=generator(0)).double(), spread])[None]
    scored = torch.ones_like(crowded, dtype=torch.bool)
    gaps = score_gaps(crowded, scored).clamp(0, 3)
    plain = -torch.log(0.3 + gaps)
    expected = (plain - plain.mean()) / plain.std(correction=0)
    torch.testing.assert_close(transform_scores(crowded, scored), expected)
