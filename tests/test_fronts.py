from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import optuna
import pytest
import torch
from torch import Tensor

from optuna_rocket import fronts
from tests.builders import generator


def random_scores(m: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = generator(seed)
    scores = torch.randn(m, n, generator=rng, dtype=torch.float64)
    return scores, torch.rand(n, generator=rng) > 0.2


@given(st.integers(2, 4), st.integers(0, 25), st.integers(0, 1000), st.booleans())
def test_fronts_are_those_of_optuna(m: int, n: int, seed: int, has_ties: bool) -> None:
    scores, counted = random_scores(m, n, seed)
    scores = (2 * scores).round() if has_ties else scores
    study = optuna.create_study(directions=["maximize"] * m)
    for i in range(n):
        values = scores[:, i].tolist()
        held = {"c": -1.0 if counted[i] else 1.0}
        study.add_trial(optuna.create_trial(values=values, constraints=held))
    expected = sorted(trial.number for trial in study.best_trials)
    assert sorted(fronts.final_front(scores, counted)) == expected
    *_, last = fronts.fronts(scores, counted)
    assert sorted(last) == expected


@pytest.mark.parametrize(("m", "tolerance"), [(2, 0.002), (3, 0.005), (5, 0.01)])
def test_growth_is_that_of_the_exact_hypervolume(m: int, tolerance: float) -> None:
    from optuna._hypervolume import compute_hypervolume

    scores, counted = random_scores(m, 60, seed=m)
    front = fronts.final_front(scores, counted)
    reference = -fronts.box(scores, counted, front).reference[:, 0].numpy()

    def volume(n: int) -> float:
        losses = -scores[:, :n][:, counted[:n]].numpy().T
        losses = losses[(losses < reference).all(1)]
        return float(compute_hypervolume(losses, reference)) if len(losses) else 0.0

    growth = fronts.growth(scores, counted)
    assert growth[-1] == pytest.approx(1)
    assert list(growth) == sorted(growth)
    for n in (5, 20, 40, 60):
        assert growth[n - 1] == pytest.approx(volume(n) / volume(60), abs=tolerance)


def test_the_expected_gain_is_that_of_the_samples() -> None:
    scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    counted = torch.ones(2, dtype=torch.bool)
    # The reference point is (-0.1, -0.1): two strips of 1.1 by 0.1 that share a corner.
    before = 2 * 1.1 * 0.1 - 0.01
    samples = torch.tensor([[0.5, -9.0], [0.5, -9.0]], dtype=torch.float64)
    added = 0.5 * 0.5
    gain = fronts.expected_gain(scores, counted, [0, 1], samples)
    assert gain == pytest.approx(0.5 * added / before, rel=0.02)


def test_nothing_has_no_volume_and_one_point_has() -> None:
    scores, _ = random_scores(2, 3, seed=0)
    assert fronts.growth(scores, torch.zeros(3, dtype=torch.bool)) == [0, 0, 0]
    assert fronts.growth(scores, torch.tensor([False, True, False])) == [0, 1, 1]
    assert fronts.growth(scores[:, :0], torch.zeros(0, dtype=torch.bool)) == []


def test_the_compromise_is_nobodys_worst() -> None:
    scores = torch.tensor([[0.0, 6.0, 10.0], [10.0, 5.0, 0.0]], dtype=torch.float64)
    assert fronts.compromise(scores, [0, 1, 2]) == 1
    assert fronts.compromise(scores, [2]) == 2
    endless = torch.tensor([[0.0, 6.0, np.inf], [10.0, 5.0, 0.0]], dtype=torch.float64)
    assert fronts.compromise(endless, [0, 1, 2]) in (0, 1, 2)
