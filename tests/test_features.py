from __future__ import annotations

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest
import torch

from optuna_rocket.features import N_TOKEN_FEATURES
from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.features import row_distance
from optuna_rocket.features import tokens
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.history import empty_history
from tests.builders import appended
from tests.builders import flat_geometry
from tests.builders import generator
from tests.builders import history_of
from tests.builders import mixed_geometry
from tests.builders import random_history
from tests.builders import rebuilt
from tests.builders import stacked
from tests.builders import unit_geometry


numeric = settings(deadline=None, max_examples=60, derandomize=True)


def test_history_scored_means_finished_with_a_finite_score() -> None:
    geometry = unit_geometry(1)
    outcomes = torch.tensor([[Outcome.COMPLETE, Outcome.PRUNED, Outcome.FAILED, Outcome.PENDING]])
    history = history_of(torch.zeros(1, 4, 1).double(), torch.ones(1, 4).double(), geometry)
    history = rebuilt(history, outcomes=outcomes.long())
    assert history.scored.tolist() == [[True, True, True, False]]
    without = rebuilt(history, scores=torch.full((1, 4), torch.nan).double())
    assert not bool(without.scored.any())


def test_take_selects_the_same_trials_of_every_field() -> None:
    history = random_history(mixed_geometry(), 12)
    index = torch.tensor([7, 2, 11])
    taken = history.take(index)
    assert taken.n_trials == 3
    for name in ("units", "active", "outcomes", "scores", "fidelity", "predicted", "kind"):
        whole, part = getattr(history, name), getattr(taken, name)
        for position, row in enumerate(index.tolist()):
            torch.testing.assert_close(part[:, position], whole[:, row], equal_nan=True)


def test_empty_history_is_a_history() -> None:
    history = empty_history(3, 6)
    geometry = unit_geometry(6, batch=3)
    assert history.n_trials == 0
    assert tokens(history, geometry).shape == (3, 0, N_TOKEN_FEATURES)
    grown = appended(history, random_history(geometry, 4))
    assert grown.n_trials == 4


@pytest.mark.parametrize("n_before", [1, 5, 30])
def test_tokens_are_causal(n_before: int) -> None:
    geometry = mixed_geometry()
    before = random_history(geometry, n_before, seed=1)
    after = appended(before, random_history(geometry, 20, seed=2))
    whole = tokens(after, geometry)
    torch.testing.assert_close(whole[:, :n_before], tokens(before, geometry), atol=0, rtol=0)


@pytest.mark.parametrize(("n", "start"), [(70, 1), (70, 66), (70, 70), (600, 513), (600, 100)])
def test_tokens_continue_from_a_start(n: int, start: int) -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, n)
    whole, rest = tokens(history, geometry), tokens(history, geometry, start)
    assert rest.shape == (1, n - start, N_TOKEN_FEATURES)
    torch.testing.assert_close(rest, whole[:, start:], atol=0, rtol=0)


def test_tokens_of_a_batch_are_those_of_its_studies() -> None:
    geometry = unit_geometry(3)
    one, two = random_history(geometry, 25, seed=1), random_history(geometry, 25, seed=2)
    both = tokens(stacked(one, two), unit_geometry(3, batch=2))
    torch.testing.assert_close(both[:1], tokens(one, geometry))
    torch.testing.assert_close(both[1:], tokens(two, geometry))


@numeric
@given(
    st.lists(
        st.tuples(
            st.sampled_from([Outcome.COMPLETE, Outcome.PRUNED, Outcome.FAILED]),
            st.one_of(st.floats(allow_infinity=False), st.sampled_from([0.0, 1.7e308, -1.7e308])),
            st.one_of(st.floats(), st.just(float("nan"))),
        ),
        min_size=1,
        max_size=80,
    )
)
def test_tokens_are_finite_and_of_order_one(trials: list[tuple[Outcome, float, float]]) -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, len(trials))
    outcomes = torch.tensor([[int(outcome) for outcome, _, _ in trials]])
    scores = torch.tensor([[score for _, score, _ in trials]], dtype=torch.float64)
    scores = scores.masked_fill(outcomes == Outcome.FAILED, torch.nan)
    predicted = torch.tensor([[[p, abs(p)] for _, _, p in trials]], dtype=torch.float64)
    made = tokens(
        rebuilt(history, outcomes=outcomes, scores=scores, predicted=predicted), geometry
    )
    assert bool(torch.isfinite(made).all())
    assert float(made.abs().max()) < 10


@numeric
@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_tokens_ignore_scale_and_offset_of_scores(scale: float, offset: float) -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 40)
    moved = rebuilt(history, scores=scale * (history.scores + offset))
    torch.testing.assert_close(
        tokens(moved, geometry), tokens(history, geometry), atol=1e-4, rtol=0
    )


def changed(first: History, second: History, row: int) -> bool:
    geometry = mixed_geometry()
    return not torch.equal(tokens(first, geometry)[:, row], tokens(second, geometry)[:, row])


def test_a_token_tells_what_became_of_its_trial() -> None:
    history = random_history(mixed_geometry(), 30, plain=True)
    row = 20
    better = history.scores.clone()
    better[0, row] = 100.0
    failed, nothing = history.outcomes.clone(), history.scores.clone()
    failed[0, row], nothing[0, row] = int(Outcome.FAILED), torch.nan
    kind = (history.kind + 1) % len(PROPOSAL_KINDS)
    elsewhere = history.units.clone()
    elsewhere[0, row] = elsewhere[0, row - 1]

    assert changed(history, rebuilt(history, scores=better), row)
    assert changed(history, rebuilt(history, outcomes=failed, scores=nothing), row)
    assert changed(history, rebuilt(history, fidelity=history.fidelity / 3), row)
    assert changed(history, rebuilt(history, kind=kind), row)
    assert changed(history, rebuilt(history, units=elsewhere), row)
    assert changed(history, rebuilt(history, predicted=history.predicted.nan_to_num(1.0) + 1), row)
    assert not changed(history, rebuilt(history, scores=better), row - 1)


def test_a_token_tells_how_near_the_earlier_trials_are() -> None:
    """Two places equally far from the incumbent, one of which has been tried."""
    geometry = unit_geometry(1)
    scores = torch.tensor([[1.0, 0.0, 0.5]], dtype=torch.float64)
    made = []
    for place in (0.2, 0.8):
        units = torch.tensor([[[0.5], [0.2], [place]]], dtype=torch.float64)
        made.append(tokens(history_of(units, scores, geometry), geometry)[:, 2])
    assert not torch.allclose(made[0], made[1], atol=0.1)


def test_row_distance_by_hand() -> None:
    geometry = flat_geometry()  # columns: batch depth KIND momentum rate width
    a = torch.tensor([[[0.0, 0.5, 1.0, 0.5, 0.2, 0.1]]], dtype=torch.float64)
    b = torch.tensor([[[0.3, 0.5, 2.0, 0.5, 0.2, 0.5]]], dtype=torch.float64)
    expected = ((0.09 + 1.0 + 0.16) / 6) ** 0.5
    assert row_distance(a, b, geometry).item() == pytest.approx(expected)
    assert row_distance(a, a, geometry).item() == 0


def test_row_distance_leaves_absent_columns_out() -> None:
    geometry = unit_geometry(4)
    narrow = type(geometry)(
        geometry.is_categorical,
        geometry.n_cells,
        torch.tensor([[True, True, False, False]]),
        geometry.parent,
        geometry.allowed,
    )
    a = torch.zeros(1, 1, 4, dtype=torch.float64)
    b = torch.tensor([[[0.6, 0.8, 9.0, 9.0]]], dtype=torch.float64)
    assert row_distance(a, b, narrow).item() == pytest.approx((1.0 / 2) ** 0.5)


def test_row_distance_broadcasts_over_candidates_and_trials() -> None:
    geometry = unit_geometry(3)
    rng = generator()
    a, b = (torch.rand(1, n, 3, generator=rng, dtype=torch.float64) for n in (5, 7))
    table = row_distance(a[:, :, None], b[:, None], geometry)
    expected = torch.cdist(a, b) / 3**0.5
    torch.testing.assert_close(table, expected)
