from __future__ import annotations

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest
import torch
from torch import Tensor

from optuna_rocket.agent.returns import discounted_improvements
from optuna_rocket.agent.returns import group_advantages


def loop_improvements(utility: list[float], start: float, discount: float) -> list[float]:
    """The slow twin: backwards, one trial at a time."""
    before = [start, *utility[:-1]]
    returns, following = [], 0.0
    for now, earlier in zip(reversed(utility), reversed(before), strict=True):
        following = (now - earlier) + discount * following
        returns.append(following)
    return returns[::-1]


def test_golden_returns() -> None:
    utility = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 4.0]], dtype=torch.float64)
    start = torch.tensor([0.0, -2.0], dtype=torch.float64)
    expected = torch.tensor([[1.75, 1.5, -1.0], [3.0, 2.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(discounted_improvements(utility, start, 0.5), expected)


def test_without_discount_the_return_telescopes() -> None:
    utility = torch.tensor([[1.0, 3.0, 2.0]], dtype=torch.float64)
    start = torch.tensor([0.5], dtype=torch.float64)
    expected = torch.tensor([[1.5, 1.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(discounted_improvements(utility, start, 1.0), expected)


def test_full_discount_leaves_the_next_reward() -> None:
    utility = torch.tensor([[1.0, 3.0, 2.0]], dtype=torch.float64)
    start = torch.zeros(1, dtype=torch.float64)
    expected = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(discounted_improvements(utility, start, 0.0), expected)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=30),
    st.floats(-5, 5),
    st.floats(0, 1),
)
def test_vectorised_equals_loop(utility: list[float], start: float, discount: float) -> None:
    whole = discounted_improvements(
        torch.tensor([utility], dtype=torch.float64),
        torch.tensor([start], dtype=torch.float64),
        discount,
    )
    assert whole[0].tolist() == pytest.approx(
        loop_improvements(utility, start, discount), abs=1e-9
    )


def returns_of(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_golden_advantages() -> None:
    returns = returns_of([1.0, 0.0], [3.0, 0.0], [10.0, 5.0], [20.0, 7.0])
    expected = returns_of([-1.0, 0.0], [1.0, 0.0], [-5.0, -1.0], [5.0, 1.0])
    torch.testing.assert_close(group_advantages(returns, 2), expected)


def test_golden_advantages_with_a_league() -> None:
    returns = returns_of([1.0], [3.0], [10.0], [20.0])
    league = torch.tensor([[[5.0]], [[0.0]]], dtype=torch.float64)
    expected = returns_of([-2.0], [0.0], [0.0], [10.0])  # means 3 and 10
    torch.testing.assert_close(group_advantages(returns, 2, league), expected)


def test_advantages_sum_to_zero_in_every_group() -> None:
    returns = torch.randn(12, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sums = group_advantages(returns, 4).view(3, 4, 9).sum(1)
    torch.testing.assert_close(sums, torch.zeros_like(sums), atol=1e-12, rtol=0)


def test_a_league_shifts_the_whole_group_against_its_own_strength() -> None:
    rng = torch.Generator().manual_seed(0)
    returns = torch.randn(6, 4, generator=rng, dtype=torch.float64)
    league = torch.full((2, 5, 4), 100.0, dtype=torch.float64)
    alone, against = group_advantages(returns, 3), group_advantages(returns, 3, league)
    shift = (against - alone).view(2, 3, 4)
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift))
    assert bool((against < 0).all())
