from __future__ import annotations

import math

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest
import torch
from torch import Tensor

from optuna_rocket.agent import trust


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def noise(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_nothing_is_known_before_two_trials() -> None:
    prior = tensor(0.5, 1.0)
    for n in (0, 1):
        known = trust.earned(
            torch.zeros(2, n, dtype=torch.float64), torch.zeros(n).double(), prior
        )
        assert known.each.tolist() == pytest.approx([0.5, 1.0])
        assert known.joint == pytest.approx(0.75 / trust.MOST)


def test_a_step_by_hand() -> None:
    said, z = tensor(0.0, 1.0, -0.4)[None], tensor(0.0, 0.3, 0.2)
    half = 1 / trust.SCALE
    expected = 0.0
    for t in (1, 2):
        steps = []
        for i in range(t):
            g = math.tanh(float(said[0, t] - said[0, i]) * half)
            s = math.tanh(float(z[t] - z[i]) * half)
            steps.append(g * s - trust.TOLL * abs(g))
        expected += trust.STEP * sum(steps) / t
    known = trust.earned(said, z, tensor(0.4))
    assert float(known.each[0]) == pytest.approx(0.4 + expected)
    assert known.joint == pytest.approx(trust.belief(0.4 + expected))  # alone it is the mixture


def test_one_bad_surprise_is_enough() -> None:
    said, z = tensor(2.0, 0.0)[None], tensor(-1.0, 1.0)
    known = trust.earned(said, z, tensor(0.8))
    assert float(known.each[0]) < 0 and known.joint == 0


def test_whoever_foretells_the_order_is_believed_and_a_liar_is_not() -> None:
    z = noise(0, 30)
    known = trust.earned(torch.stack([z, -z, noise(1, 30)]), z, tensor(0.6, 0.6, 0.6))
    assert float(known.each[0]) == trust.MOST
    assert float(known.each[1]) < -3
    assert float(known.each[2]) < 0.6
    assert known.joint > 0.6


def test_long_merit_does_not_hide_a_change() -> None:
    z = noise(2, 40)
    said = torch.cat([z[:30], -z[30:]])[None]
    before = trust.earned(said[:, :30], z[:30], tensor(0.6))
    after = trust.earned(said, z, tensor(0.6))
    assert before.joint == 1 and after.joint < 0.7


def test_no_opinion_earns_nothing_and_costs_nothing() -> None:
    known = trust.earned(torch.zeros(1, 9, dtype=torch.float64), noise(3, 9), tensor(0.6))
    assert float(known.each[0]) == pytest.approx(0.6)


def test_the_luckiest_of_many_guessers_proves_nothing() -> None:
    joint, luckiest = [], []
    for seed in range(20):
        z, said = noise(100 + seed, 10), 2 * noise(200 + seed, 100, 10)
        known = trust.earned(said, z, torch.full((100,), 0.6, dtype=torch.float64))
        joint.append(known.joint)
        luckiest.append(float(known.each.max()))
    assert min(luckiest) > 2  # each one looks convincing
    assert sum(joint) / len(joint) < 0.35


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 12), st.integers(1, 5))
def test_trust_is_bounded_and_looks_only_at_order(seed: int, n: int, count: int) -> None:
    said, z, prior = noise(seed, count, n), noise(seed + 1, n), noise(seed + 2, count)
    known = trust.earned(said, z, prior)
    assert 0 <= known.joint <= 1
    assert bool((known.each <= trust.MOST + 1e-9).all())
    shifted = trust.earned(said + 5, z - 3, prior)
    assert torch.allclose(shifted.each, known.each)
    assert shifted.joint == pytest.approx(known.joint)


# Those who are doubted


def doubted(count: int) -> Tensor:
    return torch.full((count,), -1.0, dtype=torch.float64)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 2), st.integers(1, 5))
def test_one_trial_foretold_does_not_clear_the_doubted(seed: int, n: int, count: int) -> None:
    z = noise(seed, n)
    known = trust.earned(9 * z.expand(count, n), z, doubted(count), are_doubted=True)
    assert known.joint == 0
    assert bool((known.each <= 0).all())


def test_whoever_was_surely_wrong_is_believed_turned_round() -> None:
    z = noise(0, 12)
    said = -3 * torch.stack([z, z + 0.3 * noise(1, 12)])
    straight = trust.earned(said, z, tensor(1.2, 1.2))
    turned = trust.earned(-said, z, doubted(2), are_doubted=True)
    assert straight.joint == 0 and float(straight.each.max()) < 0
    assert turned.joint > 0.8 and float(turned.each.min()) > 1


def test_guessers_are_not_believed_turned_round() -> None:
    for count in (1, 3, 30):
        joint = []
        for seed in range(40):
            z, said = noise(300 + seed, 12), 2 * noise(400 + seed, count, 12)
            joint.append(trust.earned(said, z, doubted(count), are_doubted=True).joint)
        assert sum(joint) / len(joint) < 0.05
        assert sum(x > 0 for x in joint) <= 6


def test_the_doubted_are_tested_together_from_the_first_trial_on() -> None:
    z = noise(0, 12)
    said = torch.stack([3 * z, -3 * z])  # their mean says nothing, the one with better odds does
    joint = [trust.earned(said, z, doubted(2), are_doubted=is_so).joint for is_so in (True, False)]
    assert joint[0] > joint[1] > 0.5
