from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
import math

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel
from sklearn.gaussian_process.kernels import Matern
from sklearn.gaussian_process.kernels import PairwiseKernel
import torch
from torch import Tensor

from optuna_rocket.agent import fitting
from optuna_rocket.agent import gram
from optuna_rocket.agent import kernels
from optuna_rocket.agent import level
from optuna_rocket.agent import memory
from optuna_rocket.agent.gram import MemoryWeights
from optuna_rocket.history import ALWAYS_THERE
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.history import empty_history
from optuna_rocket.space import Geometry
from optuna_rocket.space import Space
from optuna_rocket.training.tasks import random_units
from tests.builders import appended
from tests.builders import flat_geometry
from tests.builders import generator
from tests.builders import history_of
from tests.builders import mixed_geometry
from tests.builders import random_history
from tests.builders import rebuilt
from tests.builders import stacked
from tests.builders import transform_scores
from tests.builders import unit_geometry
from tests.test_level import dense_level


def weights_for(geometry: Geometry, seed: int = 0) -> MemoryWeights:
    """Some weights, different for every column."""
    rng = generator(seed)
    batch, d = geometry.present.shape
    return MemoryWeights(
        torch.randn(batch, d, generator=rng, dtype=torch.float64) + 1,
        0.3 * torch.randn(batch, generator=rng, dtype=torch.float64),
        -3 + 0.3 * torch.randn(batch, generator=rng, dtype=torch.float64),
    )


def read_at(
    history: History, geometry: Geometry, weights: MemoryWeights, units: Tensor
) -> memory.Reading:
    remembered = memory.condition(history, geometry, weights)
    return memory.read(remembered, units, geometry.activity(units))


def oracle(
    x: np.ndarray,
    z: np.ndarray,
    at: np.ndarray,
    scale: float,
    noise: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's regression with the same kernel, on columns times the root of relevance."""
    share = kernels._ROUGH_SHARE
    smooth = ConstantKernel((1 - share) * scale) * Matern(1.0, nu=2.5)
    rough = PairwiseKernel(metric="laplacian", gamma=kernels._ROUGH_RATE)
    kernel = smooth + ConstantKernel(share * scale) * rough
    # A level with a prior of its own is a regression of all scores on a constant ...
    solved = np.linalg.solve(kernel(x) + np.diag(noise), np.ones(len(x)))
    far = solved @ z / (solved.sum() + level._STD**-2)

    def process(rows: np.ndarray, z: np.ndarray) -> GaussianProcessRegressor:
        return GaussianProcessRegressor(kernel, alpha=noise[rows], optimizer=None).fit(x[rows], z)

    # ... and counts as far as every score is surely predicted by the others.
    others = ~np.eye(len(x), dtype=bool)
    missed = [z[~rows] - process(rows, z[rows]).predict(x[~rows]) for rows in others]
    gain = z**2 - np.concatenate(missed) ** 2
    share = (gain.mean() - level._CAUTION * gain.std() / len(x) ** 0.5) / (z**2).mean()
    far *= max(share, 0) ** level._TRUST
    mean, std = process(np.full(len(x), True), z - far).predict(at, return_std=True)
    return mean + far, std


@pytest.mark.parametrize("smooth", [False, True])
def test_reading_agrees_with_scikit_learn(smooth: bool) -> None:
    geometry = unit_geometry(3)
    history = random_history(geometry, 30, plain=True)
    if smooth:
        history = replace(history, scores=-(history.units - 0.3).square().sum(-1))
    weights = weights_for(geometry)
    at = random_units(geometry, 50, generator(5))
    reading = read_at(history, geometry, weights, at)
    far = float(memory.condition(history, geometry, weights).level)
    assert abs(far) > 0.01 if smooth else far == 0

    z = transform_scores(history.scores, history.scored)[0].numpy()
    root = (weights.relevance[0] / 2).exp().numpy()
    noise = np.full(30, weights.noise.exp().item() + gram.JITTER)
    scale = weights.outputscale.exp().item()
    mean, std = oracle(history.units[0].numpy() * root, z, at[0].numpy() * root, scale, noise)
    np.testing.assert_allclose(reading.mean[0].numpy(), mean, atol=1e-6)
    np.testing.assert_allclose(reading.std[0].numpy(), std, atol=1e-6)
    assert np.ptp(mean) > 0.5 and np.ptp(std) > 0.01


@pytest.mark.parametrize(("share", "apart"), [(1e-9, 2), (1 - 1e-9, 4)])
def test_categories_are_a_distance_of_one_apart(
    monkeypatch: pytest.MonkeyPatch, share: float, apart: float
) -> None:
    """The oracle sees one-hot columns: their distance is √2 (smooth part) or 2 (rough part)."""
    monkeypatch.setattr(kernels, "_ROUGH_SHARE", share)
    geometry = flat_geometry()
    history = random_history(geometry, 30, plain=True)
    weights = weights_for(geometry)
    at = random_units(geometry, 40, generator(5))
    reading = read_at(history, geometry, weights, at)

    def one_hot(units: Tensor) -> np.ndarray:
        hot = torch.nn.functional.one_hot(units[0, :, 2].long(), 3).double()
        return torch.cat([units[0][:, [0, 1, 3, 4, 5]], hot], -1).numpy()

    relevance = weights.relevance[0].exp()
    root = torch.cat([relevance[[0, 1, 3, 4, 5]], relevance[2].expand(3) / apart]).sqrt().numpy()
    z = transform_scores(history.scores, history.scored)[0].numpy()
    noise = np.full(30, weights.noise.exp().item() + gram.JITTER)
    scale = weights.outputscale.exp().item()
    mean, std = oracle(one_hot(history.units) * root, z, one_hot(at) * root, scale, noise)
    np.testing.assert_allclose(reading.mean[0].numpy(), mean, atol=1e-6)
    np.testing.assert_allclose(reading.std[0].numpy(), std, atol=1e-6)


def log_posterior(history: History, geometry: Geometry, weights: MemoryWeights) -> Tensor:
    """Written from the formulas alone: pairwise loops over columns, dense inverse."""
    kept = history.scored[0]
    z = transform_scores(history.scores, history.scored)[0, kept]
    units, active = history.units[0, kept], history.active[0, kept]
    fidelity = history.fidelity[0, kept]
    r2, q = torch.zeros(2, len(z), len(z), dtype=torch.float64)
    for j in range(units.shape[1]):
        column = units[:, j]
        relevance = weights.relevance[0, j].exp()
        if geometry.is_categorical[0, j]:
            distances = [(column[:, None] != column).double()]
        else:
            switched = (active[:, j, None] != active[:, j]).double()
            distances = [(column[:, None] - column).abs(), kernels._INACTIVE_DISTANCE * switched]
        for distance in distances:
            r2 = r2 + relevance * distance.square()
            q = q + relevance.sqrt() * distance
    root = (5 * r2 + 1e-30).sqrt()
    smooth = (1 + root + root.square() / 3) * torch.exp(-root)
    share = kernels._ROUGH_SHARE
    kernel = (1 - share) * smooth + share * torch.exp(-kernels._ROUGH_RATE * q)
    multiplier = 1 + gram.FIDELITY_NOISE * (1 / fidelity - 1).clamp(0, 4)
    noise = weights.noise.exp() * multiplier + gram.JITTER
    covariance = weights.outputscale.exp() * kernel + torch.diag(noise)
    normal = torch.distributions.MultivariateNormal(torch.zeros_like(z), covariance)
    prior = fitting.prior_weights(geometry)
    far = dense_level(z, covariance).detach()  # held as it is
    total = normal.log_prob(z - far)
    for mine, centre, std in zip(parts(weights), parts(prior), fitting.PRIOR_STD, strict=True):
        total = total - ((mine - centre) / std).square().sum() / 2
    return torch.as_tensor(total)


def parts(weights: MemoryWeights) -> tuple[Tensor, Tensor, Tensor]:
    return weights.relevance, weights.outputscale, weights.noise


@pytest.mark.parametrize("geometry", [flat_geometry(), mixed_geometry(), unit_geometry(4)])
@pytest.mark.parametrize("smooth", [False, True])
def test_fit_follows_the_gradient_of_the_log_posterior(geometry: Geometry, smooth: bool) -> None:
    history = random_history(geometry, 25)
    start = weights_for(geometry, seed=3)
    if smooth:
        history = random_history(geometry, 60)
        scores = -(history.units - 0.3).abs().sum(-1)
        history = replace(history, scores=torch.where(history.scored, scores, history.scores))
        assert float(memory.condition(history, geometry, start).level.abs()) > 0.02
    assert bool((~history.scored).any())
    leaves = [x.clone().requires_grad_() for x in parts(start)]
    torch.autograd.backward(log_posterior(history, geometry, MemoryWeights(*leaves)))
    gradient = torch.cat([leaf.grad.flatten() for leaf in leaves if leaf.grad is not None])

    moved = fitting.fit(history, geometry, start, 1)
    move = torch.cat([(b - a).flatten() for a, b in zip(parts(start), parts(moved), strict=True)])
    # A step is nearly as long wherever the gradient is large.
    torch.testing.assert_close(move, 0.5 * gradient / (gradient.abs() + 0.5))
    assert len(move) == geometry.present.shape[1] + 2


@pytest.mark.parametrize("seed", range(4))
def test_fit_climbs_the_log_posterior(seed: int) -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 40, seed=seed)
    start = fitting.prior_weights(geometry)

    def height(n_steps: int) -> float:
        fitted = fitting.fit(history, geometry, start, n_steps)
        return log_posterior(history, geometry, fitted).item()

    assert height(0) < height(1) < height(4) < height(14)


def test_no_steps_leave_the_weights() -> None:
    geometry = mixed_geometry()
    start = weights_for(geometry)
    assert parts(fitting.fit(random_history(geometry, 9), geometry, start, 0)) == parts(start)


def test_relevance_of_an_inert_parameter_falls_behind() -> None:
    geometry = unit_geometry(2)
    units = random_units(geometry, 40, generator())
    history = history_of(units, torch.sin(6 * units[..., 0]), geometry)
    weights = fitting.prior_weights(geometry)
    for _ in range(5):
        weights = fitting.fit(history, geometry, weights, 6)
    assert float(weights.relevance[0, 0]) > float(weights.relevance[0, 1]) + 2


def test_noise_is_found_in_noise() -> None:
    geometry = unit_geometry(2)
    units = random_units(geometry, 60, generator())
    clean = units[..., 0] * 2
    noisy = torch.randn(1, 60, generator=generator(1), dtype=torch.float64)
    fitted = []
    for scores in (clean, noisy):
        history = history_of(units, scores, geometry)
        fitted.append(fitting.fit(history, geometry, fitting.prior_weights(geometry), 14))
    assert float(fitted[1].noise) > float(fitted[0].noise) + 1


def test_failed_trials_leave_mean_and_spread_alone() -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 20, plain=True)
    outcomes = torch.full((1, 5), int(Outcome.FAILED))
    extra = random_history(geometry, 5, seed=9, plain=True)
    failed = rebuilt(extra, outcomes=outcomes, scores=extra.scores * torch.nan)
    weights, at = weights_for(geometry), random_units(geometry, 30, generator(4))
    # In front, so that a shifted index would show.
    with_failed = read_at(appended(failed, history), geometry, weights, at)
    without = read_at(history, geometry, weights, at)

    torch.testing.assert_close(with_failed.mean, without.mean)
    torch.testing.assert_close(with_failed.std, without.std)
    assert bool((without.failure == 0).all()) and bool((with_failed.failure > 0).any())
    fitted = fitting.fit(appended(failed, history), geometry, weights, 3)
    for mine, other in zip(
        parts(fitted), parts(fitting.fit(history, geometry, weights, 3)), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_a_batch_of_two_is_two_singles() -> None:
    single, double = unit_geometry(3), unit_geometry(3, batch=2)
    one, two = random_history(single, 22, seed=1), random_history(single, 22, seed=2)
    one = rebuilt(one, outcomes=one.outcomes.masked_fill(torch.arange(22) > 19, 0))
    both = stacked(one, two)
    at = random_units(double, 15, generator())
    fitted = fitting.fit(both, double, fitting.prior_weights(double), 5)
    reading = read_at(both, double, fitted, at)
    for row, alone in enumerate((one, two)):
        weights = fitting.fit(alone, single, fitting.prior_weights(single), 5)
        mine = read_at(alone, single, weights, at[row : row + 1])
        torch.testing.assert_close(fitted.relevance[row : row + 1], weights.relevance)
        torch.testing.assert_close(reading.mean[row : row + 1], mine.mean)
        torch.testing.assert_close(reading.std[row : row + 1], mine.std)
        torch.testing.assert_close(reading.failure[row : row + 1], mine.failure)
        torch.testing.assert_close(reading.nearest[row : row + 1], mine.nearest)


def test_a_pending_trial_lowers_the_spread_near_it_and_leaves_the_mean() -> None:
    geometry = unit_geometry(2)
    history = random_history(geometry, 12, plain=True)
    spot = torch.tensor([[[0.93, 0.07]]], dtype=torch.float64)
    outcomes = torch.full((1, 1), int(Outcome.PENDING))
    pending = history_of(spot, torch.zeros(1, 1).double(), geometry, outcomes)
    weights = fitting.prior_weights(geometry)
    at = torch.cat([spot + 0.005, random_units(geometry, 200, generator())], 1).clamp(0, 1)
    before = read_at(history, geometry, weights, at)
    after = read_at(appended(history, pending), geometry, weights, at)

    torch.testing.assert_close(after.mean, before.mean)
    assert float(after.std[0, 0]) < 0.5 * float(before.std[0, 0])
    assert bool((after.std <= before.std + 1e-12).all())
    far = (at - spot).norm(dim=-1) > 0.9
    loss = 1 - after.std / before.std
    assert float(loss[far].mean()) < 0.1 * float(loss[0, 0])


def test_failures_are_expected_near_failures() -> None:
    geometry = unit_geometry(2)
    units = random_units(geometry, 40, generator())
    outcomes = torch.where(units[..., 0] > 0.6, int(Outcome.FAILED), int(Outcome.COMPLETE))
    history = history_of(units, units[..., 1], geometry, outcomes)
    at = random_units(geometry, 200, generator(1))
    reading = read_at(history, geometry, fitting.prior_weights(geometry), at)
    inside, outside = reading.failure[at[..., 0] > 0.7], reading.failure[at[..., 0] < 0.5]
    assert float(inside.mean()) > 0.6 and float(outside.mean()) < 0.2
    assert bool(((reading.failure >= 0) & (reading.failure < 1)).all())


def test_less_certain_scores_pull_less() -> None:
    geometry = unit_geometry(1)
    units = torch.tensor([[[0.1], [0.5], [0.9]]], dtype=torch.float64)
    scores = torch.tensor([[0.0, 3.0, 0.0]], dtype=torch.float64)
    history = history_of(units, scores, geometry)
    uncertain = rebuilt(history, fidelity=torch.tensor([[1.0, 0.1, 1.0]]).double())
    weights = weights_for(geometry)
    full = read_at(history, geometry, weights, units)
    partial = read_at(uncertain, geometry, weights, units)
    assert float(partial.mean[0, 1]) < float(full.mean[0, 1])
    assert float(partial.std[0, 1]) > float(full.std[0, 1])


def test_incumbent_is_the_greatest_expected_score_among_trials() -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 30)
    weights = weights_for(geometry)
    remembered = memory.condition(history, geometry, weights)
    reading = memory.read(remembered, history.units, history.active)
    expected = reading.mean.masked_fill(~history.scored, -math.inf).amax(-1)
    torch.testing.assert_close(remembered.incumbent, expected, atol=1e-3, rtol=0)


def test_nearest_is_zero_on_a_trial_and_grows_with_distance() -> None:
    geometry = unit_geometry(1)
    units = torch.tensor([[[0.2]]], dtype=torch.float64)
    history = history_of(units, torch.zeros(1, 1).double(), geometry)
    at = torch.tensor([[[0.2], [0.3], [0.6], [1.0]]], dtype=torch.float64)
    nearest = read_at(history, geometry, fitting.prior_weights(geometry), at).nearest[0]
    assert float(nearest[0]) == pytest.approx(0, abs=1e-6)
    assert bool((nearest.diff() > 0).all()) and float(nearest[-1]) <= 1


def test_memory_of_nothing_is_the_prior() -> None:
    geometry = unit_geometry(3)
    at = random_units(geometry, 5, generator())
    weights = weights_for(geometry)
    reading = read_at(empty_history(1, 3), geometry, weights, at)
    assert bool((reading.mean == 0).all() and (reading.failure == 0).all())
    torch.testing.assert_close(reading.std.square(), weights.outputscale.exp().expand(1, 5))


def test_repeated_configurations_do_not_break_the_factor() -> None:
    geometry = unit_geometry(2)
    units = torch.full((1, 30, 2), 0.5, dtype=torch.float64)
    history = history_of(units, torch.arange(30.0).double()[None], geometry)
    weights = MemoryWeights(
        torch.zeros(1, 2).double(), torch.ones(1).double() * 3, torch.full((1,), -30.0).double()
    )
    reading = read_at(history, geometry, weights, random_units(geometry, 9, generator()))
    assert bool(torch.isfinite(reading.mean).all() and torch.isfinite(reading.std).all())


def test_links_are_a_growing_chain_that_only_gets_longer() -> None:
    sizes = fitting.link_sizes(1000)
    assert sizes == sorted(set(sizes)) and sizes[-1] <= 1000
    for n in (0, 2, 3, 10, 57, 999):
        shorter = fitting.link_sizes(n)
        assert shorter == sizes[: len(shorter)]
        assert all(size <= n for size in shorter)
        assert len(shorter) == sum(size <= n for size in sizes)
    assert len(sizes) < 100


def test_chains_start_from_the_prior_now_and_then() -> None:
    starts = [link for link in range(200) if fitting.starts_chain(link)]
    assert starts[0] == 0 and len(starts) >= 3
    assert max(b - a for a, b in pairwise(starts)) <= 50


def test_a_short_history_is_its_own_context() -> None:
    for n in (0, 1, memory.MAX_CONTEXT):
        history = random_history(unit_geometry(1), n)
        assert memory.context(history, unit_geometry(1)) is history


def test_context_is_bounded_and_holds_the_latest_and_the_best() -> None:
    geometry = unit_geometry(1)
    limit = memory.MAX_CONTEXT
    n = 3 * limit
    history = rebuilt(random_history(geometry, n), kind=torch.arange(n)[None])
    context = memory.context(history, geometry)
    rows = context.kind[0]
    assert context.n_trials == limit == len(set(rows.tolist()))
    assert rows.tolist() == sorted(rows.tolist())
    assert n - 1 in rows and n - limit // 4 in rows
    scores = history.scores[0].masked_fill(~history.scored[0], -torch.inf)
    best = scores.argsort(descending=True)[: limit // 4]
    assert set(best.tolist()) <= set(rows.tolist())
    assert context.least_unit is None is history.least_unit
    assert context.outdated is None is history.outdated
    for name in ALWAYS_THERE:
        mine, whole = getattr(context, name), getattr(history, name)
        torch.testing.assert_close(mine, whole[:, rows], equal_nan=True, atol=0, rtol=0)


def branching_geometry() -> Geometry:
    """Four branches of one parameter each: two parameters exist at a time."""
    branches: dict[str, BaseDistribution] = {f"x{k}": FloatDistribution(0, 1) for k in range(4)}
    space = Space({"kind": CategoricalDistribution(range(4)), **branches})
    conditions = {1 + k: (0, [k == cell for cell in range(4)]) for k in range(4)}
    return space.geometry(conditions, has_gaps=True)


def test_prior_counts_the_parameters_that_exist_at_a_time() -> None:
    tree = fitting.prior_weights(branching_geometry())
    for d, same in ((2, True), (5, False)):
        flat = fitting.prior_weights(unit_geometry(d))
        assert torch.allclose(tree.relevance[0, 0], flat.relevance[0, 0]) == same
    assert tree.relevance.unique().numel() == 1
    wide, narrow = (fitting.prior_weights(unit_geometry(d)).relevance[0, 0] for d in (20, 2))
    assert float(wide) < float(narrow) - 1  # the more parameters, the smoother along each
