from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest
from scipy import stats
import torch
from torch import Tensor

from optuna_rocket.agent import proposals
from optuna_rocket.agent.proposals import KIND
from optuna_rocket.agent.proposals import RECIPES
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.history import empty_history
from optuna_rocket.space import Geometry
from optuna_rocket.space import Space
from optuna_rocket.training.tasks import sample_tasks
from tests.builders import flat_geometry
from tests.builders import generator
from tests.builders import history_of
from tests.builders import mixed_geometry
from tests.builders import random_history
from tests.builders import rebuilt
from tests.builders import stacked
from tests.builders import unit_geometry


CONTINUOUS = FloatDistribution(0.0, 1.0)


def assert_valid(pool: Pool, geometry: Geometry) -> None:
    """Values exist, inactive ones are neutral, activity is what the values say."""
    assert torch.equal(pool.active, geometry.activity(pool.units))
    assert torch.equal(geometry.fill_inactive(pool.units, pool.active), pool.units)
    snapped = geometry.fill_inactive(geometry.snap(pool.units), pool.active)
    torch.testing.assert_close(snapped, pool.units, atol=1e-12, rtol=0)
    assert pool.kind.shape == pool.units.shape[:2]


def propose(
    history: History,
    geometry: Geometry,
    n_candidates: int = 300,
    fixed: Tensor | None = None,
    seed: int = 0,
) -> Pool:
    return proposals.propose(history, geometry, n_candidates, generator(seed), fixed)


def of_kind(name: str, history: History, geometry: Geometry, count: int = 300) -> Tensor:
    """About ``count`` proposals ``(k, d)`` of one kind."""
    pool = propose(history, geometry, round(count / RECIPES[name].share))
    return pool.units[0, pool.kind[0] == KIND[name]]


def geometry_of(*distributions: BaseDistribution) -> Geometry:
    names = [f"p{k:02}" for k in range(len(distributions))]
    space = Space(dict(zip(names, distributions, strict=True)))
    return space.geometry({}, has_gaps=False)


def lone(geometry: Geometry, *values: float) -> History:
    """One trial: everybody's parent."""
    units = torch.tensor([[values]], dtype=torch.float64)
    return history_of(units, torch.zeros(1, 1).double(), geometry)


def middle(d: int) -> tuple[History, Geometry]:
    """One trial in the middle of a continuous space."""
    geometry = unit_geometry(d)
    return lone(geometry, *[0.5] * d), geometry


def marked(n: int, d: int) -> tuple[History, Geometry]:
    """Trials whose ``d`` choices all say which trial it is: 0 is the best one."""
    geometry = geometry_of(*[CategoricalDistribution(range(n))] * d, CONTINUOUS)
    units = torch.rand(1, n, d + 1, generator=generator(), dtype=torch.float64)
    order = torch.randperm(n, generator=generator(1))
    units[..., :d] = order[None, :, None]
    return history_of(units, -order[None].double(), geometry), geometry


# What holds for all kinds


@pytest.mark.parametrize("geometry", [mixed_geometry(), flat_geometry(), unit_geometry(1)])
def test_every_kind_of_proposal_is_valid(geometry: Geometry) -> None:
    pool = propose(random_history(geometry, 25), geometry)
    assert_valid(pool, geometry)
    assert set(pool.kind.flatten().tolist()) == set(range(len(PROPOSAL_KINDS)))


def test_proposals_are_valid_in_padded_batches() -> None:
    geometry = sample_tasks(20, generator(3)).geometry
    assert not bool(geometry.present.all())
    pool = propose(random_history(geometry, 15), geometry)
    assert_valid(pool, geometry)
    assert bool((pool.units[~geometry.present[:, None].expand(pool.units.shape)] == 0).all())


def test_pool_has_about_the_size_asked_for() -> None:
    geometry = mixed_geometry()
    for history in (random_history(geometry, 10), empty_history(1, 6)):
        for size in (64, 128, 200):
            n = propose(history, geometry, size).kind.shape[1]
            assert 0.95 * size <= n <= 1.05 * size


def test_every_kind_has_its_share_and_at_least_one() -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 10)
    for size in (3, 200):
        kind = propose(history, geometry, size).kind[0]
        for name, recipe in RECIPES.items():
            count = int((kind == PROPOSAL_KINDS.index(name)).sum())
            assert count == max(1, round(recipe.share * size))


def test_first_pools_are_random() -> None:
    geometry = mixed_geometry()
    failed = random_history(geometry, 6, plain=True)
    failed = rebuilt(
        failed,
        outcomes=torch.full((1, 6), int(Outcome.FAILED)),
        scores=failed.scores * torch.nan,
    )
    for history in (empty_history(1, 6), failed):
        pool = propose(history, geometry, 50)
        assert bool((pool.kind == KIND["random"]).all())
        assert_valid(pool, geometry)


def test_a_batch_is_random_until_all_its_studies_have_a_score() -> None:
    single, double = unit_geometry(2), unit_geometry(2, batch=2)
    scored = random_history(single, 3, plain=True)
    unscored = rebuilt(
        scored,
        outcomes=torch.full((1, 3), int(Outcome.PENDING)),
        scores=scored.scores * torch.nan,
    )
    random = propose(stacked(scored, unscored), double)
    assert bool((random.kind == KIND["random"]).all())
    assert stats.kstest(random.units.flatten().numpy(), "uniform").pvalue > 1e-3
    assert bool((propose(stacked(scored, scored), double).kind != KIND["random"]).any())


def test_imposed_values_are_honoured_by_every_kind() -> None:
    geometry = flat_geometry()
    # The second is outside of its range, as after a change of it.
    fixed = torch.full((1, 6), torch.nan, dtype=torch.float64)
    fixed[0, 2], fixed[0, 5] = 1.0, 1.2
    pool = propose(random_history(geometry, 25), geometry, fixed=fixed)
    assert bool((pool.units[..., 2] == 1).all() and (pool.units[..., 5] == 1.2).all())
    assert pool.units[..., 4].unique().numel() > 100


def test_imposed_parents_switch_their_children() -> None:
    geometry = mixed_geometry()
    fixed = torch.full((1, 6), torch.nan, dtype=torch.float64)
    fixed[0, 2] = 2.0  # kind c: rate, no momentum
    pool = propose(random_history(geometry, 25), geometry, fixed=fixed)
    assert bool(pool.active[..., 4].all()) and not bool(pool.active[..., 3].any())


def test_same_generator_same_pool() -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 25)
    first, second, other = (propose(history, geometry, 100, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(first.units, second.units)
    assert not torch.equal(first.units, other.units)


@pytest.mark.parametrize("n", [0, 20])
def test_random_proposals_are_uniform(n: int) -> None:
    geometry = flat_geometry()
    history = random_history(geometry, n, plain=True) if n else empty_history(1, 6)
    pool = propose(history, geometry, 6000)
    units = pool.units[0, pool.kind[0] == KIND["random"]]
    assert stats.kstest(units[:, 4].numpy(), "uniform").pvalue > 1e-3
    kind, depth = units[:, 2].long(), (units[:, 1] * 4).floor().long()
    assert stats.chisquare(torch.bincount(kind, minlength=3).numpy()).pvalue > 1e-3
    assert stats.chisquare(torch.bincount(depth, minlength=4).numpy()).pvalue > 1e-3


def test_take_keeps_rows_together() -> None:
    single, double = mixed_geometry(), unit_geometry(3, batch=2)
    for geometry in (single, double):
        pool = propose(random_history(geometry, 20), geometry)
        index = torch.tensor([[5, 0, 200, 5], [7, 299, 1, 30]])[: len(pool.kind)]
        taken = pool.take(index)
        for study, rows in enumerate(index.tolist()):
            assert torch.equal(taken.units[study], pool.units[study, rows])
            assert torch.equal(taken.active[study], pool.active[study, rows])
            assert torch.equal(taken.kind[study], pool.kind[study, rows])


# Parents


def marks_kept(name: str) -> Tensor:
    """Marks of the parents of one-parent proposals, whose choices were left alone."""
    history, geometry = marked(40, 1)
    if name == "mutation":  # changes both of two parameters: more, so that some keep their marks
        history, geometry = marked(40, 9)
    units = of_kind(name, history, geometry, 1500)[:, :-1].long()
    marks = units.mode(-1).values
    sure = (units == marks[:, None]).sum(-1) > units.shape[1] / 2
    return marks[sure]


@pytest.mark.parametrize("name", ["mutation", "local"])
def test_parents_are_among_the_best_and_the_better_the_likelier(name: str) -> None:
    n_elites = int(RECIPES[name].n_elites)
    marks = marks_kept(name)
    counts = torch.bincount(marks)
    assert len(counts) == n_elites and len(marks) > 1000
    # The rank is the square of a uniform number, in steps.
    expected = np.diff(np.sqrt(np.arange(n_elites + 1) / n_elites)) * len(marks)
    assert stats.chisquare(counts.numpy(), expected).pvalue > 1e-3


def test_crossover_takes_every_value_from_one_of_two_good_trials() -> None:
    history, geometry = marked(40, 8)
    marks = of_kind("crossover", history, geometry)[:, :-1].long()
    assert set(marks.flatten().tolist()) == set(range(10))
    n_parents = torch.tensor([row.unique().numel() for row in marks])
    assert set(n_parents.tolist()) == {1, 2}
    assert float((n_parents == 2).double().mean()) > 0.7
    first = (marks == marks[:, :1])[n_parents == 2][:, 1:].double().mean()
    assert 0.4 < float(first) < 0.55  # both give about half, column by column


def test_crossover_changes_no_value() -> None:
    geometry = unit_geometry(4)
    history = random_history(geometry, 10, plain=True)
    units = of_kind("crossover", history, geometry)
    same = (units[:, None] - history.units).abs() < 1e-12
    assert bool(same.any(1).all())
    assert not bool(same.all(-1).any(-1).all())


def test_density_draws_every_parameter_from_a_good_trial_of_its_own() -> None:
    history, geometry = marked(40, 8)
    marks = of_kind("density", history, geometry)[:, :-1].long()
    redrawn = RECIPES["density"].redraw[1]
    good = (marks < 10).double().mean()  # the best quarter, and some of the redrawn
    assert float(good) == pytest.approx(1 - redrawn * 30 / 40, abs=0.03)
    assert float((marks[marks < 10] == 9).double().mean()) > 0.02
    n_parents = torch.tensor([row.unique().numel() for row in marks])
    assert float(n_parents.double().mean()) > 4


def test_a_share_of_few_trials_is_at_least_one() -> None:
    history, geometry = marked(3, 4)
    marks = of_kind("density", history, geometry)[:, :-1].long()
    redrawn = RECIPES["density"].redraw[1]
    assert float((marks == 0).double().mean()) == pytest.approx(1 - redrawn * 2 / 3, abs=0.03)


def test_parents_have_scores() -> None:
    history, geometry = marked(12, 4)
    outcomes = torch.full((1, 12), int(Outcome.FAILED))
    outcomes[0, :3], outcomes[0, 7] = int(Outcome.PENDING), int(Outcome.PRUNED)
    lonely = rebuilt(
        history,
        outcomes=outcomes,
        scores=history.scores.masked_fill(outcomes != Outcome.PRUNED, torch.nan),
    )
    only = history.units[0, 7, 0]
    for name in ("crossover", "local"):
        assert bool((of_kind(name, lonely, geometry)[:, :-1] == only).all())
    density = of_kind("density", lonely, geometry)[:, :-1]
    assert float((density == only).double().mean()) > 0.85


def test_every_study_of_a_batch_has_its_own_parents() -> None:
    geometry = unit_geometry(3, batch=2)
    history = random_history(geometry, 8, plain=True)
    pool = propose(history, geometry)
    for study in range(2):
        units = pool.units[study, pool.kind[study] == KIND["crossover"]]
        same = (units[:, None] - history.units[study]).abs() < 1e-12
        assert bool(same.any(1).all())


def test_parameters_that_the_parent_lacked_are_fresh() -> None:
    # Everybody's parent is of kind c, where there is no momentum.
    geometry = mixed_geometry()
    history = lone(geometry, 0.5, 0.125, 2.0, 0.5, 0.3, 0.5)
    pool = propose(history, geometry, 3000)
    switched = (pool.kind[0] == KIND["mutation"]) & pool.active[0, :, 3]
    momentum = (pool.units[0, switched, 3] * 10).floor().long()
    assert len(momentum) > 100
    assert stats.chisquare(torch.bincount(momentum, minlength=10).numpy()).pvalue > 1e-3
    kept = pool.units[0, pool.kind[0] == KIND["crossover"]]
    assert bool(((kept[:, 4] - 0.3).abs() < 1e-12).all() and (kept[:, 2] == 2).all())


def test_gaps_of_unknown_reason_are_filled_afresh() -> None:
    geometry = replace(unit_geometry(2), has_gaps=True)
    history = lone(geometry, 0.3, 0.5)
    history = rebuilt(history, active=torch.tensor([[[True, False]]]))
    units = of_kind("crossover", history, geometry)
    assert bool(((units[:, 0] - 0.3).abs() < 1e-12).all())
    assert stats.kstest(units[:, 1].numpy(), "uniform").pvalue > 1e-3


# Moves


@pytest.mark.parametrize("name", RECIPES)
def test_numeric_moves_spread_as_the_recipe_says(name: str) -> None:
    recipe = RECIPES[name]
    # Of two parameters, or one, all change in every recipe.
    units = of_kind(name, *middle(1), count=4000).flatten().numpy()
    if name == "crossover":
        assert set(units) == {0.5}
        return

    def expected(x: np.ndarray) -> np.ndarray:
        # Moves are reflected at the bounds: the copies of the parent lie at 0.5 + k.
        moved = np.zeros_like(x)
        for scale in recipe.scales if max(recipe.scales) > 0 else ():
            for copy in range(-3, 5):
                copies = stats.norm(0.5 + copy - 1, scale)
                moved += (copies.cdf(x) - copies.cdf(0)) / len(recipe.scales)
        return recipe.redraw[0] * x + (1 - recipe.redraw[0]) * moved

    assert stats.kstest(units, expected).pvalue > 1e-3


@pytest.mark.parametrize("name", RECIPES)
def test_choices_are_redrawn_as_often_as_the_recipe_says(name: str) -> None:
    geometry = geometry_of(CategoricalDistribution(range(10)), CONTINUOUS)
    choices = of_kind(name, lone(geometry, 3.0, 0.5), geometry, 3000)[:, 0].long()
    chance = RECIPES[name].redraw[1]
    counts = torch.bincount(choices, minlength=10).numpy()
    if chance == 0:
        assert counts[3] == len(choices)
        return
    expected = np.full(10, chance / 10)
    expected[3] += 1 - chance
    assert stats.chisquare(counts, expected * len(choices)).pvalue > 1e-3


def test_a_proposal_has_one_scale() -> None:
    history, geometry = middle(100)
    moves = of_kind("local", history, geometry) - 0.5
    scale = moves.square().mean(-1).sqrt()[:, None]
    scales = torch.tensor(RECIPES["local"].scales)
    off = (scale / scales - 1).abs()
    assert bool((off.amin(-1) < 0.3).all())
    counts = torch.bincount(off.argmin(-1), minlength=len(scales)).numpy()
    assert stats.chisquare(counts).pvalue > 1e-3


def test_moves_are_reflected_at_the_bounds() -> None:
    geometry = unit_geometry(3)
    history = lone(geometry, 0.0, 1.0, 0.999)
    for name in ("local", "mutation", "density"):
        units = of_kind(name, history, geometry)
        assert bool(((units >= 0) & (units <= 1)).all())
        if not RECIPES[name].few:
            assert not bool(((units == 0) | (units == 1)).any())


def test_reflection_folds_at_both_bounds() -> None:
    units = torch.tensor([1.3, -0.2, 0.4, 2.1, -1.9, 0.0, 1.0, -1.0, 3.0]).double()
    expected = torch.tensor([0.7, 0.2, 0.4, 0.1, 0.1, 0.0, 1.0, 1.0, 1.0]).double()
    torch.testing.assert_close(proposals.reflect(units), expected)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.floats(-40, 40))
def test_reflection_is_that_of_a_light_between_mirrors(unit: float) -> None:
    folded = float(proposals.reflect(torch.tensor(unit, dtype=torch.float64)))
    while not 0 <= unit <= 1:
        unit = -unit if unit < 0 else 2 - unit
    assert 0 <= folded <= 1 and folded == pytest.approx(unit, abs=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3, 12, 60])
def test_mutation_changes_about_two_parameters_and_at_least_one(d: int) -> None:
    history, geometry = middle(d)
    n_changed = (of_kind("mutation", history, geometry, 2000) != 0.5).sum(-1)
    chance = min(2 / d, 1)
    none = (1 - chance) ** d  # then one
    assert float(n_changed.double().mean()) == pytest.approx(d * chance + none, abs=0.1)
    assert int(n_changed.min()) == max(1, d if chance == 1 else 1)
    assert int(n_changed.max()) >= min(d, 4)


def test_mutation_changes_every_parameter_alike() -> None:
    history, geometry = middle(5)
    changed = (of_kind("mutation", history, geometry, 2000) != 0.5).sum(0)
    assert stats.chisquare(changed.numpy()).pvalue > 1e-3


def test_mutation_counts_the_parameters_of_each_study_of_a_batch() -> None:
    wide = unit_geometry(12, batch=2)
    geometry = replace(wide, present=torch.arange(12) < torch.tensor([[12], [3]]))
    units = torch.where(geometry.present[:, None], 0.5, 0.0).double()
    history = history_of(units, torch.zeros(2, 1).double(), geometry)
    pool = propose(history, geometry, 3000)
    chosen = pool.kind[0] == KIND["mutation"]
    n_changed = (pool.units[:, chosen] != units).sum(-1)
    assert bool((n_changed >= 1).all())
    for mine, d in zip(n_changed.double().mean(-1), (12, 3), strict=True):
        assert float(mine) == pytest.approx(2 + (1 - 2 / d) ** d, abs=0.15)


@pytest.mark.parametrize("n_values", [2, 3, 11, 101, 301])
@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_moves_of_a_mutation_leave_the_cell_of_a_grid(n_values: int, share: float) -> None:
    geometry = geometry_of(IntDistribution(1, n_values))
    start = (round(share * (n_values - 1)) + 0.5) / n_values
    units = of_kind("mutation", lone(geometry, start), geometry, 2000)[:, 0]
    distance = ((units - start) * n_values).round().abs()
    # Those that are drawn afresh or reflected may come back to it.
    drawn_back = RECIPES["mutation"].redraw[0] / n_values
    assert float((distance == 0).double().mean()) < 1.5 * drawn_back + 0.01
    # The smallest moves are one cell wide.
    assert float((distance == 1).double().mean()) > 1 / n_values


def test_mutation_reaches_every_parameter_of_a_mixed_space() -> None:
    geometry = flat_geometry()
    parent = random_history(geometry, 1, plain=True)
    units = of_kind("mutation", parent, geometry)
    for column in range(6):
        assert bool((units[:, column] != parent.units[0, 0, column]).any()), column


def test_moves_around_candidates_are_as_far_as_said_and_valid() -> None:
    geometry = mixed_geometry()
    units = torch.full((1, 4000, geometry.present.shape[-1]), 0.5, dtype=torch.float64)
    parents = proposals.finish(units, torch.zeros(1, 4000, dtype=torch.long), geometry)
    made = proposals.around(parents, geometry, (0.1, 0.01), generator())
    assert_valid(made, geometry)
    chosen = geometry.is_categorical[0]
    assert torch.equal(made.units[..., chosen], parents.units[..., chosen])
    plain = geometry_of(FloatDistribution(0, 1))
    parents = Pool(units[..., :1], torch.ones(1, 4000, 1) > 0, torch.zeros(1, 4000).long())
    moved = proposals.around(parents, plain, (0.1, 0.01), generator()).units[0, :, 0] - 0.5
    assert moved[::2].std() == pytest.approx(0.1, rel=0.1)
    assert moved[1::2].std() == pytest.approx(0.01, rel=0.1)
    imposed = torch.tensor([[0.25]], dtype=torch.float64)
    assert (proposals.around(parents, plain, (0.1,), generator(), imposed).units == 0.25).all()
