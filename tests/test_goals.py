"""Goals beside a history, the hypervolume rule, and the chance of feasibility."""

from __future__ import annotations

from dataclasses import replace
import math

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
import pytest
import torch
from torch import Tensor

from benchmarks.hypervolume import hypervolume as exact_hypervolume
from optuna_rocket import constraints
from optuna_rocket.agent import feasibility
from optuna_rocket.agent import fitting
from optuna_rocket.agent import hypervolume
from optuna_rocket.agent import many_goals
from optuna_rocket.agent import memory
from optuna_rocket.goals import Box
from optuna_rocket.goals import Goals
from optuna_rocket.goals import beside
from optuna_rocket.goals import directions
from optuna_rocket.goals import repeated
from optuna_rocket.history import History
from optuna_rocket.scores import continue_transform
from optuna_rocket.scores import gaps_of
from optuna_rocket.scores import transform_gaps
from optuna_rocket.space import Space
from tests.builders import transform_scores


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_goals(m: int, n: int, n_constraints: int = 0) -> Goals:
    draw = generator(m * 1000 + n)
    return Goals(
        torch.randn(m, n, generator=draw, dtype=torch.float64),
        torch.randn(n_constraints, n, generator=draw, dtype=torch.float64),
    )


def dominated(scores: Tensor) -> Tensor:
    better = (scores[:, None] >= scores[:, :, None]).all(0)
    return (better & (scores[:, None] > scores[:, :, None]).any(0)).any(-1)


# Standing


@pytest.mark.parametrize("m", [2, 3, 5])
def test_the_best_standing_is_never_dominated(m: int) -> None:
    goals = random_goals(m, 60)
    leaders = goals.standing.argsort(descending=True)[:4]
    assert not dominated(goals.scores)[leaders].any()


def test_infeasible_trials_stand_below_by_their_violation() -> None:
    goals = Goals(
        torch.tensor([[5.0, 4.0, 1.0, 9.0, math.nan]], dtype=torch.float64),
        torch.tensor([[-1.0, -3.0, 0.0, math.nan, 1.0]], dtype=torch.float64),
    )
    order = goals.standing.argsort(descending=True, stable=True).tolist()
    assert order == [3, 2, 0, 1, 4]
    assert goals.standing[4] == -math.inf
    assert goals.feasible.tolist() == [False, False, True, True, False]


def test_standing_where_nothing_is_feasible_or_nothing_is_there() -> None:
    goals = Goals(torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[-2.0, -1.0]]).double())
    assert goals.standing.argmax() == 1
    for n in (0, 1):
        empty = Goals(torch.full((2, n), torch.nan).double(), torch.zeros(1, n).double())
        assert empty.standing.tolist() == [-math.inf] * n


def test_context_keeps_the_latest_and_those_of_best_standing() -> None:
    goals = random_goals(2, 400)
    index = many_goals.context_index(goals)
    assert len(index) == memory.MAX_CONTEXT and index.tolist() == sorted(set(index.tolist()))
    assert index[-80:].tolist() == list(range(320, 400))
    early = goals.take(torch.arange(320))
    assert set(early.standing.topk(40).indices.tolist()) <= set(index.tolist())


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_directions_fill_the_positive_part_of_the_sphere(m: int) -> None:
    found = directions(512, m, torch.full((m,), 0.5))
    assert torch.allclose(found.norm(dim=-1), torch.ones(512, dtype=torch.float64))
    assert (found > 0).all()
    assert torch.allclose(found.square().mean(0), torch.full((m,), 1 / m).double(), atol=0.02)


# Hypervolume


def plain_box(m: int) -> Box:
    """A box that changes nothing."""
    blank = torch.zeros(m, 1, dtype=torch.float64)
    return Box(1.0, blank, blank)


def test_gaps_and_transformed_scores_are_two_views() -> None:
    scores = torch.randn(3, 40, generator=generator(), dtype=torch.float64)
    scored = torch.ones_like(scores, dtype=torch.bool)
    gaps = torch.linspace(-0.2, 2.9, 20, dtype=torch.float64).expand(3, -1)
    transformed = transform_gaps(scores, scored, gaps)
    assert torch.allclose(gaps_of(scores, scored, transformed), gaps)
    best = torch.zeros(3, 1, dtype=torch.float64)
    top = scores.amax(-1, keepdim=True)
    assert torch.allclose(
        transform_gaps(scores, scored, best), continue_transform(scores, scored, top)
    )


@pytest.mark.parametrize("m", [2, 3])
def test_gain_of_sure_points_is_that_of_the_exact_hypervolume(m: int) -> None:
    """In gap units, from the same reference point, up to a common factor."""
    goals = random_goals(m, 40)
    scored = torch.ones_like(goals.scores, dtype=torch.bool)
    front = transform_scores(goals.scores, scored)
    points = -gaps_of(goals.scores, scored, front)
    leading = points[:, ~dominated(points)]
    nadir = leading.amin(-1, keepdim=True)
    margin = max(0.1, 4 / leading.shape[1])
    reference = (nadir - margin * (leading.amax(-1, keepdim=True) - nadir)).numpy().ravel()
    # Points a little beyond the front
    better = (leading + 0.08).clamp_max(0.2)
    mean = transform_gaps(goals.scores, scored, -better)
    totals = torch.zeros(better.shape[1], dtype=torch.float64)
    for seed in range(64):
        nodes = hypervolume.nodes(
            goals.scores, scored, front, plain_box(len(goals.scores)), generator(seed)
        )
        gain = hypervolume.log_gain(nodes, mean, torch.full_like(mean, 1e-4)).exp()
        totals += gain
    before = exact_hypervolume(-leading.T.numpy(), -reference)
    exact = [
        exact_hypervolume(-torch.cat([leading, better[:, [k]]], 1).T.numpy(), -reference) - before
        for k in range(better.shape[1])
    ]
    shares = (totals / totals.sum()).numpy()
    assert (
        np.abs(shares - np.array(exact) / sum(exact)).max() < 0.08
    )  # few nodes on a ray see a sharp edge, the fewer the farther away the reference point is


def test_a_sparse_front_gains_by_what_lies_far_beyond_its_ends() -> None:
    """Two trials close together: what is much better at one objective and worse at the other."""
    line = torch.linspace(-1, 1, 30, dtype=torch.float64)
    scores = torch.stack([line, -line])
    scored = torch.ones_like(scores, dtype=torch.bool)
    z = transform_scores(scores, scored)
    beyond, std = z[:, [18]], torch.full((2, 1), 1e-2, dtype=torch.float64)
    gains = []
    for count in (2, 60):  # the same place on the front again and again is no sparse front
        middle = torch.linspace(0, 0.1, count, dtype=torch.float64)
        front = transform_gaps(scores, scored, torch.stack([1 - middle, 1 + middle]) * 0.7)
        nodes = hypervolume.nodes(scores, scored, front, plain_box(2), generator())
        gains.append(float(hypervolume.log_gain(nodes, beyond, std)))
    assert gains[0] > gains[1] + 5


def test_a_dominated_candidate_gains_little_and_a_wider_one_more() -> None:
    goals = random_goals(2, 30)
    scored = torch.ones_like(goals.scores, dtype=torch.bool)
    front = transform_scores(goals.scores, scored)
    nodes = hypervolume.nodes(
        goals.scores, scored, front, plain_box(len(goals.scores)), generator()
    )
    mean = torch.tensor([[2.0, -1.0, -1.0], [2.0, -1.0, -1.0]], dtype=torch.float64)
    std = torch.tensor([[0.3, 0.3, 1.0], [0.3, 0.3, 1.0]], dtype=torch.float64)
    ideal, poor, wide = hypervolume.log_gain(nodes, mean, std).tolist()
    assert ideal > wide > poor


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_gains_are_finite_at_any_scale_and_where_all_are_equal(scale: float) -> None:
    scores = random_goals(2, 10).scores * scale
    for known in (scores, torch.full_like(scores, scale), scores[:, :1]):
        scored = torch.ones_like(known, dtype=torch.bool)
        goals = Goals(known, known[:0])
        front = transform_scores(known, scored, goals.box.unit)
        nodes = hypervolume.nodes(known, scored, front, goals.box, generator())
        gain = hypervolume.log_gain(nodes, front, torch.ones_like(front))
        assert torch.isfinite(gain).all()


def collapsed_goals() -> Goals:
    """One trial best at nearly everything; what the first objective can lose is hardly seen."""
    first = torch.cat([-torch.logspace(-12, -9, 18), torch.tensor([-1e-3, -0.4])]).double()
    second = torch.linspace(-1.0, -2.0, 20, dtype=torch.float64)
    return Goals(torch.stack([first, second]), torch.zeros(0, 20).double())


def test_the_box_of_a_collapsed_front_reaches_as_far_as_the_trials() -> None:
    goals = collapsed_goals()
    box = goals.box
    assert box.coverage < 1e-6
    assert torch.allclose(2 * box.beyond, torch.tensor([[0.4], [1.0]]).double(), rtol=1e-5)
    scored = torch.ones_like(goals.scores, dtype=torch.bool)
    alone = transform_scores(goals.scores, scored)
    told_apart = transform_scores(goals.scores, scored, box.unit)
    assert alone[0, 18] == alone[0, 19]  # both count as equally bad
    assert told_apart[0, 18] > told_apart[0, 19] + 1


def test_giving_up_a_little_gains_where_the_front_has_collapsed() -> None:
    goals = collapsed_goals()
    scored = torch.ones_like(goals.scores, dtype=torch.bool)
    std = torch.full((2, 1), 0.05, dtype=torch.float64)
    gains = []
    for box in (goals.box, plain_box(2)):
        front = transform_scores(goals.scores, scored, box.unit)
        worse_better = torch.tensor([[0.1], [-0.2]]).double()  # in gaps
        mean = transform_gaps(goals.scores, scored, worse_better, goals.box.unit)
        nodes = hypervolume.nodes(goals.scores, scored, front, box, generator())
        best = hypervolume.log_gain(nodes, front, torch.full_like(front, 0.05)).amax()
        gains.append(float(hypervolume.log_gain(nodes, mean, std) - best))
    assert gains[0] > 0 > gains[1]


@pytest.mark.parametrize("m", [2, 4])
def test_a_wide_front_keeps_its_own_box(m: int) -> None:
    box = random_goals(m, 40).box
    assert box.coverage > 0.5
    assert (box.beyond == 0).all()


def test_the_box_before_any_score_and_of_infeasible_trials() -> None:
    nothing = Goals(torch.zeros(2, 0).double(), torch.zeros(0, 0).double()).box
    assert nothing.coverage == 1.0
    goals = random_goals(2, 12)
    violated = Goals(goals.scores, -torch.ones(1, 12, dtype=torch.float64))
    assert torch.equal(violated.box.unit, goals.box.unit)


# Constraints


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, {}),
        ({"constraints:a": 1.5, "constraints:b": -1, "rocket": 3}, {"a": 1.5, "b": -1.0}),
        ({"constraints": [0.5, -2.0], "constraints:1": 3.0}, {"0": 0.5, "1": 3.0}),
        ({"constraints": (1, None, math.nan, "x"), "constraints:k": "y"}, {"0": 1.0}),
        ({"constraints": {"a": 1.0}}, {}),
        ({"constraints:big": -(10**400)}, {"big": -math.inf}),
    ],
)
def test_what_is_read_of_stored_constraints(
    attributes: dict[str, object], expected: dict[str, float]
) -> None:
    assert constraints.read(attributes) == expected
    assert constraints.is_feasible(attributes) == all(x <= 0 for x in expected.values())


def line(values: list[float]) -> tuple[History, memory.Conditioned]:
    """Trials at equal distances on one parameter, with the slacks of one constraint."""
    n = len(values)
    distributions: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    geometry = Space(distributions).geometry({}, has_gaps=False)
    units = torch.linspace(0, 1, n, dtype=torch.float64)[None, :, None]
    history = History.of(
        units,
        torch.ones_like(units, dtype=torch.bool),
        torch.ones(1, n, dtype=torch.long),
        torch.zeros(1, n, dtype=torch.float64),
    )
    slacks = feasibility.balanced(torch.tensor([values], dtype=torch.float64))
    wide = repeated(geometry, 1)
    known = memory.condition(beside(history, slacks), wide, fitting.prior_weights(wide))
    return history, known


def chances(values: list[float]) -> Tensor:
    history, known = line(values)
    reading = memory.read(known, history.units, history.active)
    return feasibility.log_chance(known, reading).exp()


def test_chance_of_feasibility_follows_the_slack() -> None:
    chance = chances([-100.0, -1.0, -0.5, 0.5, 1.0, 50.0])
    assert (chance[:2] < 0.4).all() and (chance[4:] > 0.6).all()
    assert chance[2] < chance[3]


def approach(*values: list[float]) -> Tensor:
    """What the points of the line promise whose slacks these are, a row per constraint."""
    history, _ = line(values[0])
    slacks = feasibility.balanced(torch.tensor(values, dtype=torch.float64))
    geometry = Space({"x": FloatDistribution(0, 1)}).geometry({}, has_gaps=False)
    wide = repeated(geometry, len(values))
    known = memory.condition(beside(history, slacks), wide, fitting.prior_weights(wide))
    expand = (len(values), -1, -1)
    reading = memory.read(known, history.units.expand(expand), history.active.expand(expand))
    # Far from the level the chance goes by what is unsure; here all are equally sure.
    reading = replace(reading, std=torch.full_like(reading.std, 0.3))
    return feasibility.log_approach(known, reading)


def test_the_violated_is_to_be_improved() -> None:
    promise = approach([-9.0, -7.0, -5.0, -4.0, -3.0, -2.5])
    assert (promise.diff() > 0).all()


def test_the_satisfied_is_to_stay_so_and_no_better() -> None:
    violated = [-9.0, -9.0, -9.0, -9.0, -8.0, -6.0]
    plain, kept = approach(violated), approach(violated, [5.0, 4.0, 3.0, 2.0, 2.0, 4.0])
    lost = approach(violated, [-5.0, -5.0, 3.0, 3.0, 3.0, 3.0])
    assert kept.argmax() == plain.argmax() == 5  # what is far above its level elsewhere is nothing
    assert ((kept - plain).abs() < 0.3)[[0, 5]].all()
    assert (lost - plain)[0] < (lost - plain)[5] - 1


@pytest.mark.parametrize("other", [math.nan, -1.0, 1.0])
def test_approaching_beside_a_constraint_that_says_nothing(other: float) -> None:
    promise = approach([-9.0, -7.0, -5.0, -4.0, -3.0, -2.5], [other] * 6)
    assert torch.isfinite(promise).all() and promise.argmax() == 5
    assert torch.isfinite(approach([other] * 6)).all()


@pytest.mark.parametrize(("value", "low", "high"), [(1.0, 0.9, 1.0), (-1.0, 0.0, 0.3)])
def test_a_constraint_that_never_varies(value: float, low: float, high: float) -> None:
    chance = chances([value] * 5)
    assert (chance >= low).all() and (chance <= high).all()


def test_a_constraint_that_no_trial_has_says_nothing() -> None:
    assert (chances([math.nan] * 4) > 0.95).all()
