from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
import torch
from torch import Tensor

from optuna_rocket.space import INACTIVE_CHOICE
from optuna_rocket.space import INACTIVE_NUMERIC
from optuna_rocket.training import functions
from optuna_rocket.training import tasks as tasks_module
from optuna_rocket.training.functions import FAMILIES
from optuna_rocket.training.tasks import MAX_CHOICES
from optuna_rocket.training.tasks import Tasks
from optuna_rocket.training.tasks import random_units
from optuna_rocket.training.tasks import repeat_geometry
from optuna_rocket.training.tasks import sample_tasks
from tests.builders import generator


SEEDS = range(8)


@pytest.fixture(scope="module")
def batches() -> list[Tasks]:
    return [sample_tasks(20, generator(seed)) for seed in SEEDS]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: str(family.__name__))
@pytest.mark.parametrize("d", [1, 2, 7])
def test_families_are_finite_and_depend_on_what_is_important(
    family: Callable[[Tensor, torch.Generator], functions.Function], d: int
) -> None:
    rng = generator()
    importance = torch.ones(6, d)
    importance[:, d - 1] = 1.0 if d == 1 else 0.0
    f = family(importance, rng)
    x = torch.rand(6, 64, d, generator=rng)
    corners = torch.randint(0, 2, (6, 64, d), generator=rng).float()
    values = f(torch.cat([x, corners], 1))
    assert values.shape == (6, 128) and bool(torch.isfinite(values).all())
    assert bool((values.std(-1) > 1e-3).all())
    torch.testing.assert_close(f(x), values[:, :64], atol=1e-4, rtol=1e-4)
    if d > 3 and family is not functions.trees:  # a tree may split on an inert column, rarely
        moved = x.clone()
        moved[..., d - 1] = 1 - moved[..., d - 1]
        torch.testing.assert_close(f(moved), values[:, :64], atol=1e-4, rtol=1e-4)


def test_values_run_from_minus_one_at_the_median_to_zero_at_best(batches: list[Tasks]) -> None:
    medians, bests = [], []
    for seed, tasks in zip(SEEDS, batches, strict=True):
        values = tasks.evaluate(random_units(tasks.geometry, 3000, generator(100 + seed)))
        assert bool((values <= 0).all() and torch.isfinite(values).all())
        medians.append(values.median(-1).values)
        bests.append(values.amax(-1))
    median, best = torch.cat(medians), torch.cat(bests)
    rough = torch.cat([tasks.nugget for tasks in batches]) > 0
    for some in (rough, ~rough):
        assert float(((median[some] + 1).abs() < 0.15).double().mean()) > 0.85
    assert float((best > -0.5).double().mean()) > 0.8
    # Random search does not solve most of them.
    assert float((best > -1e-3).double().mean()) < 0.8


def test_best_is_hard_to_beat(batches: list[Tasks]) -> None:
    """Where the known best was missed, values pile up at zero."""
    at_best = []
    for seed, tasks in zip(SEEDS, batches, strict=True):
        values = tasks.evaluate(random_units(tasks.geometry, 3000, generator(100 + seed)))
        continuous = ((tasks.geometry.n_cells == 0) & tasks.geometry.present).sum(-1) > 2
        at_best.append((values[continuous] > -1e-9).double().mean(-1))
    assert float((torch.cat(at_best) < 0.01).double().mean()) > 0.85


def test_same_generator_same_tasks() -> None:
    one, two, other = (sample_tasks(6, generator(seed)) for seed in (3, 3, 4))
    units = random_units(one.geometry, 20, generator())
    assert torch.equal(one.evaluate(units), two.evaluate(units))
    assert torch.equal(one.noise, two.noise) and one.delay == two.delay
    assert not torch.equal(one.noise, other.noise)


def test_number_of_tasks_is_rounded_up_to_the_families() -> None:
    n = len(FAMILIES)
    assert len(sample_tasks(1, generator())) == n
    assert len(sample_tasks(n + 1, generator())) == 2 * n


def test_a_task_does_not_depend_on_how_many_candidates_are_asked(batches: list[Tasks]) -> None:
    for tasks in batches[:3]:
        units = random_units(tasks.geometry, 30, generator())
        whole = tasks.evaluate(units)
        torch.testing.assert_close(
            tasks.evaluate(units[:, 4:9]), whole[:, 4:9], atol=1e-3, rtol=1e-3
        )


def test_some_tasks_fail_in_a_part_of_their_space(batches: list[Tasks]) -> None:
    shares = []
    for seed, tasks in zip(SEEDS, batches, strict=True):
        units = random_units(tasks.geometry, 2000, generator(200 + seed))
        shares.append(tasks.fails(units).double().mean(-1))
    share = torch.cat(shares)
    assert 0.08 < float((share > 0).double().mean()) < 0.35
    assert 0.4 < float(share.max()) < 0.65
    assert float((share[share > 0] > 0.03).double().mean()) > 0.8


def smooth(tasks: Tasks) -> Tasks:
    """The same tasks without roughness."""
    return replace(tasks, nugget=torch.zeros_like(tasks.nugget))


def test_some_tasks_are_a_little_rough(batches: list[Tasks]) -> None:
    nugget = torch.cat([tasks.nugget for tasks in batches])
    assert 0.2 < float((nugget == 0).double().mean()) < 0.45
    assert 0.2 < float(nugget.max()) <= 0.3 and bool((nugget >= 0).all())


def test_roughness_is_a_number_of_each_configuration(batches: list[Tasks]) -> None:
    numbers = []
    for tasks in batches:
        units = random_units(tasks.geometry, 200, generator(5))
        rough = (tasks._raw(units) - smooth(tasks)._raw(units)) / tasks.scale[:, None]
        assert bool((rough[tasks.nugget == 0] == 0).all())
        wide = ((tasks.geometry.n_cells == 0) & tasks.geometry.present).sum(-1) > 2
        chosen = wide & (tasks.nugget > 0.01)
        numbers.append((rough / tasks.nugget[:, None])[chosen].flatten())
        # The same again, in another order and company.
        order = torch.randperm(200, generator=generator())
        again = tasks.evaluate(units[:, order[:50]])
        torch.testing.assert_close(again, tasks.evaluate(units)[:, order[:50]], atol=1e-3, rtol=0)
    assert stats.kstest(torch.cat(numbers).numpy(), "norm").pvalue > 1e-3


def test_roughness_is_without_structure(batches: list[Tasks]) -> None:
    here: list[Tensor] = []
    beside: list[Tensor] = []
    for tasks in batches:
        geometry = tasks.geometry
        numeric = (geometry.n_cells == 0) & geometry.present
        chosen = (numeric.sum(-1) > 2) & (tasks.nugget > 0.01)
        units = random_units(geometry, 200, generator(5)).clamp_max(0.999)
        units = torch.where(geometry.is_categorical[:, None], units.round(), units)
        nearby = torch.where(numeric[:, None], units + 1e-6, units)
        for at, into in ((units, here), (nearby, beside)):
            rough = tasks._raw(at) - smooth(tasks)._raw(at)
            into.append(rough[chosen].flatten() / tasks.nugget[chosen].repeat_interleave(200))
    one, two = torch.cat(here), torch.cat(beside)
    assert abs(float(torch.corrcoef(torch.stack([one, two]))[0, 1])) < 0.05


def test_roughness_changes_values_only_slightly(batches: list[Tasks]) -> None:
    changed, alike = [], []
    for tasks in batches:
        units = random_units(tasks.geometry, 500, generator(5))
        for rough, even, nugget in zip(
            tasks.evaluate(units), smooth(tasks).evaluate(units), tasks.nugget, strict=True
        ):
            if nugget > 0.02:
                changed.append(not torch.equal(rough, even))
                alike.append(stats.spearmanr(rough.numpy(), even.numpy()).statistic)
    assert all(changed) and len(alike) > 30
    # Where most of a space is at chance level, roughness alone orders that part.
    assert np.quantile(alike, 0.1) > 0.7 and np.median(alike) > 0.95


def test_most_ranges_are_chosen_around_good_values() -> None:
    at_middle, at_ends, centred, flat = [], [], [], []
    for seed in SEEDS:
        tasks = sample_tasks(20, generator(seed))
        numeric = tasks.geometry.present & ~tasks.geometry.is_categorical
        centred.append(tasks.middle[numeric])
        flat.append((tasks.tilt == 0).all(-1))
        # The tilt alone: one column moved from where it is best to where it is farthest from it.
        units = random_units(tasks.geometry, 50, generator())
        for column in range(units.shape[-1]):
            best, end = units.clone(), units.clone()
            best[..., column] = tasks.middle[:, None, column]
            end[..., column] = (tasks.middle[:, None, column] < 0.5).double()
            level = replace(tasks, tilt=torch.zeros_like(tasks.tilt))
            gains = [tasks._raw(x) - level._raw(x) for x in (best, end)]
            tilted = numeric[:, column] & (tasks.tilt[:, column] > 0)
            at_middle.append(gains[0][tilted].flatten())
            at_ends.append(gains[1][tilted].flatten())
            still = ~numeric[:, column] | (tasks.tilt[:, column] == 0)
            torch.testing.assert_close(gains[0][still], gains[1][still], atol=1e-4, rtol=0)
    assert bool((torch.cat(at_middle) > torch.cat(at_ends)).all())
    assert abs(float(torch.cat(centred).mean()) - 0.5) < 0.03
    assert float((torch.cat(centred) - 0.5).std()) < 0.2
    assert 0.1 < float(torch.cat(flat).double().mean()) < 0.4


def test_what_matters_most_is_tilted_most() -> None:
    importance = torch.tensor([[1.0, 0.5, 0.0]]).expand(400, 3)
    tilt = tasks_module._sample_tilt(importance, generator())
    assert bool((tilt[:, 2] == 0).all()) and bool((tilt >= 0).all())
    torch.testing.assert_close(tilt[:, 0], 2 * tilt[:, 1])
    units = torch.rand(400, 2000, 3, generator=generator(), dtype=torch.float64)
    spread = (tilt[:, None] * (units - 0.5).square()).sum(-1).std(-1)
    # Beside a function of deviation one, up to one and a half.
    assert 1.2 < float(spread.max()) < 1.6
    assert 0.15 < float((spread == 0).double().mean()) < 0.35


def test_hashed_numbers_are_normal_and_always_the_same() -> None:
    neighbours, far = torch.arange(5000), torch.arange(5000) * 2**49 + 3
    for keys in (neighbours, far, -neighbours - 1):
        numbers = tasks_module._hashed_normal(keys)
        assert torch.equal(numbers, tasks_module._hashed_normal(keys.clone()))
        assert stats.kstest(numbers.numpy(), "norm").pvalue > 1e-3
        assert abs(float(torch.corrcoef(torch.stack([numbers[1:], numbers[:-1]]))[0, 1])) < 0.06


def test_geometries_are_valid(batches: list[Tasks]) -> None:
    for tasks in batches:
        geometry = tasks.geometry
        categorical, cells = geometry.is_categorical, geometry.n_cells
        assert bool((geometry.n_params >= 2).all())
        assert not bool((categorical & ~geometry.present).any())
        assert bool(((cells[categorical] >= 2) & (cells[categorical] <= MAX_CHOICES)).all())
        assert bool(((cells == 0) | (cells >= 2))[geometry.present].all())
        child = geometry.parent >= 0
        assert bool(geometry.present[child].all())
        own = torch.arange(geometry.present.shape[1])
        assert not bool((geometry.parent == own).any())


def test_some_choices_are_many(batches: list[Tasks]) -> None:
    counts = torch.cat([t.geometry.n_cells[t.geometry.is_categorical] for t in batches])
    assert float(counts.max()) > 20
    assert 0.05 < float((counts > 8).double().mean()) < 0.3


def test_every_parameter_of_a_tree_belongs_to_one_branch() -> None:
    rng = generator()
    batch, d = 200, 9
    n_branches = torch.randint(2, 6, (batch, 1), generator=rng).double()
    n_cells = torch.cat([n_branches, torch.zeros(batch, d - 1).double()], 1)
    present = torch.arange(d) < torch.randint(3, d + 1, (batch, 1), generator=rng)
    is_tree = torch.arange(batch)[:, None] < batch // 2
    parent, allowed = tasks_module._sample_conditions(n_cells, present, is_tree, rng)
    child = parent >= 0
    assert bool((parent[child] == 0).all()) and not bool(child[:, 0].any())
    assert not bool(child[~present].any())
    assert bool(allowed[~child].all())
    exists = torch.arange(allowed.shape[-1]) < n_branches
    n_allowed = (allowed & exists[:, None]).sum(-1)
    in_tree, elsewhere = child & is_tree, child & ~is_tree
    assert bool((n_allowed[in_tree] == 1).all()) and bool((n_allowed[elsewhere] != 1).any())
    share = in_tree.sum() / (present & is_tree)[:, 1:].sum()
    assert 0.6 < float(share) < 0.8
    # All branches have some.
    taken = (allowed & exists[:, None] & in_tree[..., None])[n_branches[:, 0] == 4].sum((0, 1))
    assert int(taken[:4].min()) > 0.15 * int(taken.sum()) and int(taken[4:].sum()) == 0


def test_some_spaces_are_trees() -> None:
    n_trees, n_spaces = 0, 0
    for seed in range(60):
        geometry = tasks_module._sample_geometry(10, 9, generator(seed))
        child = geometry.parent >= 0
        cells = torch.arange(geometry.allowed.shape[-1]) < geometry.n_cells[:, :1]
        single = (geometry.allowed & cells[:, None]).sum(-1) == 1
        is_tree = (child.sum(-1) >= 3) & (single | ~child).all(-1) & geometry.is_categorical[:, 0]
        active = geometry.activity(random_units(geometry, 300, generator()))
        assert bool((active.any(1) | ~geometry.present)[is_tree].all())
        n_trees, n_spaces = n_trees + int(is_tree.sum()), n_spaces + 10
    assert 0.1 < n_trees / n_spaces < 0.35


def test_spaces_are_of_every_kind(batches: list[Tasks]) -> None:
    kinds = set()
    for tasks in batches:
        geometry = tasks.geometry
        for row in range(len(tasks)):
            here = geometry.present[row]
            categorical = geometry.is_categorical[row, here]
            grid = (geometry.n_cells[row, here] > 0) & ~categorical
            kinds.add(
                (bool(categorical.any()), bool(grid.any()), bool((~categorical & ~grid).any()))
            )
    assert {
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (True, True, True),
    } <= kinds


def test_the_value_of_the_parent_alone_switches_a_parameter(batches: list[Tasks]) -> None:
    n_switched = 0
    for tasks in batches:
        geometry = tasks.geometry
        units = random_units(geometry, 200, generator())
        active = geometry.activity(units)
        absent = ~active & geometry.present[:, None]
        neutral = torch.where(geometry.is_categorical, INACTIVE_CHOICE, INACTIVE_NUMERIC).double()
        assert torch.equal(units[absent], neutral[:, None].expand(units.shape)[absent])
        for row, column in absent.any(1).nonzero().tolist():
            parent = units[row, :, geometry.parent[row, column]]
            on = set(parent[active[row, :, column]].tolist())
            off = set(parent[absent[row, :, column]].tolist())
            assert not on & off
            n_switched += bool(on)
    assert n_switched > 5


def test_switched_parameters_matter_where_they_exist(batches: list[Tasks]) -> None:
    n_changed = 0
    for tasks in batches:
        geometry = tasks.geometry
        units = random_units(geometry, 200, generator())
        active = geometry.activity(units)
        switched = (geometry.parent >= 0)[:, None] & ~geometry.is_categorical[:, None]
        moved = torch.where(switched & active, 1 - units, units)
        differs = (tasks.evaluate(moved) - tasks.evaluate(units)).abs() > 1e-6
        touched = (moved != units).any(-1)
        assert not bool((differs & ~touched).any())
        n_changed += int((differs & touched).sum())
    assert n_changed > 50


def test_random_units_are_values_that_exist(batches: list[Tasks]) -> None:
    for tasks in batches[:4]:
        units = random_units(tasks.geometry, 100, generator())
        active = tasks.geometry.activity(units)
        snapped = tasks.geometry.fill_inactive(tasks.geometry.snap(units), active)
        assert torch.equal(snapped, units)


def test_repeated_geometry_is_task_major() -> None:
    geometry = sample_tasks(6, generator(2)).geometry
    thrice = repeat_geometry(geometry, 3)
    for name in ("is_categorical", "n_cells", "present", "parent", "allowed"):
        assert torch.equal(getattr(thrice, name)[3:6], getattr(geometry, name)[[1, 1, 1]])


def test_distribution_has_noise_pruning_and_delay() -> None:
    batches = [sample_tasks(6, generator(seed)) for seed in range(40)]
    noise = torch.cat([tasks.noise for tasks in batches])
    assert float(noise.min()) < 0.01 and float(noise.max()) > 0.1 and bool((noise >= 0).all())
    pruned = torch.isfinite(torch.cat([tasks.early_noise for tasks in batches]))
    assert 0.05 < float(pruned.double().mean()) < 0.4
    delays = {tasks.delay for tasks in batches}
    assert 0 in delays and max(delays) > 1
    widths = {tasks.geometry.present.shape[1] for tasks in batches}
    assert min(widths) <= 4 and max(widths) >= 9
