from __future__ import annotations

import pytest
from scipy import stats
import torch
from torch import Tensor

from optuna_rocket.agent import proposals
from optuna_rocket.agent.proposals import KIND
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.history import empty_history
from optuna_rocket.space import Geometry
from optuna_rocket.training.tasks import sample_tasks
from tests.builders import flat_geometry
from tests.builders import generator
from tests.builders import history_of
from tests.builders import mixed_geometry
from tests.builders import random_history
from tests.builders import rebuilt
from tests.builders import unit_geometry


def assert_valid(pool: Pool, geometry: Geometry) -> None:
    """Values exist, inactive ones are neutral, activity is what the values say."""
    assert torch.equal(pool.active, geometry.activity(pool.units))
    assert torch.equal(geometry.fill_inactive(pool.units, pool.active), pool.units)
    snapped = geometry.fill_inactive(geometry.snap(pool.units), pool.active)
    torch.testing.assert_close(snapped, pool.units, atol=1e-12, rtol=0)
    assert pool.kind.shape == pool.units.shape[:2]


def all_kinds(history: History, geometry: Geometry, fixed: Tensor | None = None) -> Pool:
    pool = proposals.propose(history, geometry, 300, generator(), fixed)
    moves = proposals.polish(pool, 0.05, 2, geometry, generator(), fixed)
    return proposals.join(pool, moves)


@pytest.mark.parametrize("geometry", [mixed_geometry(), flat_geometry(), unit_geometry(1)])
def test_every_kind_of_proposal_is_valid(geometry: Geometry) -> None:
    pool = all_kinds(random_history(geometry, 25), geometry)
    assert_valid(pool, geometry)
    assert set(pool.kind.flatten().tolist()) == set(KIND.values())


def test_proposals_are_valid_in_padded_batches() -> None:
    geometry = sample_tasks(20, generator(3)).geometry
    assert not bool(geometry.present.all())
    pool = all_kinds(random_history(geometry, 15), geometry)
    assert_valid(pool, geometry)
    assert bool((pool.units[~geometry.present[:, None].expand(pool.units.shape)] == 0).all())


def test_pool_has_about_the_size_asked_for() -> None:
    geometry = mixed_geometry()
    for history in (random_history(geometry, 10), empty_history(1, 6)):
        pool = proposals.propose(history, geometry, 200, generator())
        assert 180 <= pool.kind.shape[1] <= 220


def test_first_pools_are_random() -> None:
    geometry = mixed_geometry()
    failed = random_history(geometry, 6, plain=True)
    failed = rebuilt(
        failed,
        outcomes=torch.full((1, 6), int(Outcome.FAILED)),
        scores=failed.scores * torch.nan,
    )
    for history in (empty_history(1, 6), failed):
        pool = proposals.propose(history, geometry, 50, generator())
        assert bool((pool.kind == KIND["random"]).all())
        assert_valid(pool, geometry)


def test_imposed_values_are_honoured_by_every_kind() -> None:
    geometry = flat_geometry()
    # The second is outside of its range, as after a change of it.
    fixed = torch.full((1, 6), torch.nan, dtype=torch.float64)
    fixed[0, 2], fixed[0, 5] = 1.0, 1.2
    pool = all_kinds(random_history(geometry, 25), geometry, fixed)
    assert bool((pool.units[..., 2] == 1).all() and (pool.units[..., 5] == 1.2).all())
    assert pool.units[..., 4].unique().numel() > 100


def test_imposed_parents_switch_their_children() -> None:
    geometry = mixed_geometry()
    fixed = torch.full((1, 6), torch.nan, dtype=torch.float64)
    fixed[0, 2] = 2.0  # kind c: rate, no momentum
    pool = all_kinds(random_history(geometry, 25), geometry, fixed)
    assert bool(pool.active[..., 4].all()) and not bool(pool.active[..., 3].any())


def test_same_generator_same_pool() -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 25)
    first, second = (proposals.propose(history, geometry, 100, generator(4)) for _ in range(2))
    other = proposals.propose(history, geometry, 100, generator(5))
    assert torch.equal(first.units, second.units)
    assert not torch.equal(first.units, other.units)


def test_uniform_proposals_are_uniform() -> None:
    geometry = flat_geometry()
    pool = proposals.propose(empty_history(1, 6), geometry, 4000, generator())
    rate, kind = pool.units[0, :, 4].numpy(), pool.units[0, :, 2].long()
    assert stats.kstest(rate, "uniform").pvalue > 1e-3
    assert stats.chisquare(torch.bincount(kind, minlength=3).numpy()).pvalue > 1e-3
    depth = (pool.units[0, :, 1] * 4).floor().long()
    assert stats.chisquare(torch.bincount(depth, minlength=4).numpy()).pvalue > 1e-3


def lone_history(d: int) -> tuple[History, Tensor]:
    """One trial in the middle of a continuous space: everybody's parent."""
    units = torch.linspace(0.3, 0.7, d, dtype=torch.float64)[None, None]
    return history_of(units, torch.zeros(1, 1).double(), unit_geometry(d)), units


def test_mutation_changes_one_to_three_parameters() -> None:
    history, parent = lone_history(8)
    units = proposals._mutate(proposals._elites(history), unit_geometry(8), 500, generator())
    n_changed = (units != parent).sum(-1)
    assert set(n_changed.flatten().tolist()) == {1, 2, 3}


def test_mutation_moves_on_grids_too() -> None:
    geometry = flat_geometry()
    parent = random_history(geometry, 1, plain=True)
    pool = proposals.finish(
        proposals._mutate(proposals._elites(parent), geometry, 400, generator()),
        torch.zeros(1, 400, dtype=torch.long),
        geometry,
    )
    for column in range(6):
        assert bool((pool.units[..., column] != parent.units[:, :1, column]).any()), column


def test_crossover_takes_every_value_from_a_parent() -> None:
    geometry = unit_geometry(4)
    history = random_history(geometry, 10, plain=True)
    units = proposals._cross(proposals._elites(history), geometry, 300, generator())
    known = (units[:, :, None] == history.units[:, None]).any(2)
    assert bool(known.all())
    whole = (units[:, :, None] == history.units[:, None]).all(-1).any(-1)
    assert bool((~whole).any())


def test_parents_are_scored_and_rather_good() -> None:
    geometry = unit_geometry(3)
    history = random_history(geometry, 40)
    parents = proposals._parents(proposals._elites(history), geometry, 500, 10, generator())
    same = (parents[0, :, None] == history.units[0]).all(-1)
    assert bool(same.any(-1).all())
    drawn = same.long().argmax(-1)
    assert bool(history.scored[0, drawn].all())
    worst_allowed = history.scores[0, history.scored[0]].topk(10).values.min()
    assert bool((history.scores[0, drawn] >= worst_allowed).all())
    best = history.scores.nan_to_num(-torch.inf)[0].argmax()
    assert float((drawn == best).double().mean()) > 1 / 10


def test_parents_of_few_scores_are_still_scored() -> None:
    geometry = unit_geometry(3)
    history = random_history(geometry, 12, plain=True)
    outcomes = torch.full((1, 12), int(Outcome.FAILED))
    outcomes[0, 7] = int(Outcome.COMPLETE)
    scores = history.scores.masked_fill(outcomes == Outcome.FAILED, torch.nan)
    lonely = rebuilt(history, outcomes=outcomes, scores=scores)
    for n_elites in (0.25, 3, 10):
        parents = proposals._parents(
            proposals._elites(lonely), geometry, 50, n_elites, generator()
        )
        assert bool((parents == history.units[:, 7:8]).all())


def test_inactive_values_of_parents_are_drawn_afresh() -> None:
    geometry = mixed_geometry()
    units = torch.tensor([[[0.5, 0.125, 2.0, 0.5, 0.3, 0.5]]], dtype=torch.float64)
    history = history_of(units, torch.zeros(1, 1).double(), geometry)
    parents = proposals._parents(proposals._elites(history), geometry, 200, 10, generator())
    assert bool((parents[..., 4] == 0.3).all())
    assert parents[..., 5].unique().numel() == 200


def test_density_follows_the_good_trials() -> None:
    geometry = unit_geometry(2)
    units = torch.rand(1, 100, 2, generator=generator(), dtype=torch.float64)
    history = history_of(units, -(units[..., 0] - 0.3).abs(), geometry)
    drawn = proposals._density(proposals._elites(history), geometry, 1000, generator())
    near = ((drawn - 0.3).abs() < 0.25).double().mean(1)[0]
    assert float(near[0]) > 0.75 and float(near[1]) < 0.65


@pytest.mark.parametrize("maker", [proposals._local, proposals._mutate])
def test_moves_leave_no_continuous_value_outside(maker: object) -> None:
    assert callable(maker)
    geometry = unit_geometry(3)
    units = torch.tensor([[[0.0, 1.0, 0.999]]], dtype=torch.float64)
    history = history_of(units, torch.zeros(1, 1).double(), geometry)
    moved = maker(proposals._elites(history), geometry, 500, generator())
    assert bool(((moved >= 0) & (moved <= 1)).all())


def test_gaussian_moves_are_reflected() -> None:
    centre = torch.tensor([[[1.3, -0.2, 0.4, 2.1, -1.9]]], dtype=torch.float64)
    still = proposals._gaussian(centre, torch.zeros_like(centre), generator())
    expected = torch.tensor([[[0.7, 0.2, 0.4, 0.1, 0.1]]], dtype=torch.float64)
    torch.testing.assert_close(still, expected)


def test_gaussian_moves_spread_as_told() -> None:
    centre = torch.full((1, 4000, 1), 0.5, dtype=torch.float64)
    moved = proposals._gaussian(centre, torch.full_like(centre, 0.05), generator())
    assert stats.kstest(moved.flatten().numpy(), stats.norm(0.5, 0.05).cdf).pvalue > 1e-3
    wide = proposals._gaussian(centre, torch.full_like(centre, 30.0), generator())
    assert stats.kstest(wide.flatten().numpy(), "uniform").pvalue > 1e-3


def test_polish_stays_near_and_keeps_categories() -> None:
    geometry = flat_geometry()
    centres = proposals.propose(empty_history(1, 6), geometry, 5, generator())
    moves = proposals.polish(centres, 0.02, 40, geometry, generator())
    origin = centres.units.repeat_interleave(40, 1)
    assert torch.equal(moves.units[..., 2], origin[..., 2])
    shift = (moves.units[..., 4] - origin[..., 4]).abs()
    assert float(shift.max()) < 0.15 and bool((shift > 0).any())
    n_changed = (moves.units[..., [4, 5]] != origin[..., [4, 5]]).sum(-1)
    assert set(n_changed.flatten().tolist()) == {0, 1, 2}


def test_take_and_join_keep_rows_together() -> None:
    geometry = mixed_geometry()
    pool = all_kinds(random_history(geometry, 20), geometry)
    index = torch.tensor([[5, 0, 200]])
    taken = pool.take(index)
    for position, row in enumerate(index[0].tolist()):
        assert torch.equal(taken.units[0, position], pool.units[0, row])
        assert torch.equal(taken.active[0, position], pool.active[0, row])
        assert taken.kind[0, position] == pool.kind[0, row]
    both = proposals.join(taken, pool)
    assert torch.equal(both.units[:, 3:], pool.units) and torch.equal(both.kind[:, :3], taken.kind)
