from __future__ import annotations

import math

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest
from scipy import integrate
from scipy import stats
import torch
from torch import Tensor

from optuna_rocket.agent import fitting
from optuna_rocket.agent import improvement
from optuna_rocket.agent import memory
from optuna_rocket.agent import observation
from optuna_rocket.agent import policy
from optuna_rocket.agent import visited
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.experience import Guide
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.proposals import KIND
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.agent.proposals import finish
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.history import empty_history
from optuna_rocket.space import Geometry
from optuna_rocket.space import Space
from optuna_rocket.training import league
from optuna_rocket.training.tasks import random_units
from tests.builders import MIXED_CONDITIONS
from tests.builders import appended
from tests.builders import flat_geometry
from tests.builders import generator
from tests.builders import history_of
from tests.builders import mixed_geometry
from tests.builders import random_history
from tests.builders import rebuilt
from tests.builders import restless_network
from tests.builders import stacked
from tests.builders import unit_geometry


NETWORK = restless_network()
UNIT = FloatDistribution(0.0, 1.0)


def random_pool(geometry: Geometry, m: int = 40, seed: int = 7) -> Pool:
    rng = generator(seed)
    kind = torch.randint(0, len(KIND), (len(geometry.present), m), generator=rng)
    return finish(random_units(geometry, m, rng), kind, geometry)


def decide(
    history: History, geometry: Geometry, pool: Pool | None = None, seed: int = 0
) -> Decision:
    finished = history.take((history.outcomes[0] != Outcome.PENDING).nonzero()[:, 0])
    belief = policy.believe(finished, geometry, policy.initial_belief(geometry), NETWORK)
    return policy.decide(history, geometry, belief, NETWORK, generator(seed), pool=pool)


@pytest.mark.parametrize("geometry", [mixed_geometry(), unit_geometry(2)])
def test_believing_trial_by_trial_is_believing_from_scratch(geometry: Geometry) -> None:
    n = 62
    history = random_history(geometry, n)
    restarts = [fitting.starts_chain(k) for k in range(len(fitting.link_sizes(n)))]
    assert sum(restarts) >= 2, "the history must reach past a restart of the chain"
    belief = policy.initial_belief(geometry)
    for k in range(n + 1):
        belief = policy.believe(history.take(torch.arange(k)), geometry, belief, NETWORK)
        if k in (0, 1, 7, 23, 44, n):
            whole = policy.believe(
                history.take(torch.arange(k)), geometry, policy.initial_belief(geometry), NETWORK
            )
            assert torch.equal(belief.weights.relevance, whole.weights.relevance)
            assert torch.equal(belief.weights.outputscale, whole.weights.outputscale)
            assert torch.equal(belief.weights.noise, whole.weights.noise)
            assert (
                (belief.n_read, belief.n_links)
                == (whole.n_read, whole.n_links)
                == (k, belief.n_links)
            )
            torch.testing.assert_close(
                belief.recurrent_state, whole.recurrent_state, atol=1e-5, rtol=0
            )


def test_believing_in_leaps_is_believing_from_scratch() -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 70)
    leaped = policy.initial_belief(geometry)
    for k in (2, 5, 40, 41, 70):
        leaped = policy.believe(history.take(torch.arange(k)), geometry, leaped, NETWORK)
    whole = policy.believe(history, geometry, policy.initial_belief(geometry), NETWORK)
    assert torch.equal(leaped.weights.relevance, whole.weights.relevance)
    torch.testing.assert_close(leaped.recurrent_state, whole.recurrent_state, atol=1e-5, rtol=0)


def padded(geometry: Geometry, extra: int) -> Geometry:
    def widen(x: Tensor, value: float) -> Tensor:
        return torch.cat([x, torch.full((1, extra, *x.shape[2:]), value, dtype=x.dtype)], 1)

    log_bounds = geometry.log_bounds
    if log_bounds is not None:
        log_bounds = torch.cat([log_bounds, torch.zeros(1, 2, extra).double()], -1)
    return Geometry(
        widen(geometry.is_categorical, False),
        widen(geometry.n_cells, 0),
        widen(geometry.present, False),
        widen(geometry.parent, -1),
        widen(geometry.allowed, True),
        log_bounds,
        geometry.has_gaps,
    )


def test_absent_columns_change_nothing() -> None:
    geometry = mixed_geometry()
    wide = padded(geometry, 3)
    history, pool = random_history(geometry, 40), random_pool(geometry)

    def widen(x: Tensor) -> Tensor:
        return torch.cat([x, torch.zeros(*x.shape[:2], 3, dtype=x.dtype)], -1)

    wide_history = rebuilt(history, units=widen(history.units), active=widen(history.active))
    wide_pool = Pool(widen(pool.units), widen(pool.active), pool.kind)
    narrow, broad = decide(history, geometry, pool), decide(wide_history, wide, wide_pool)
    torch.testing.assert_close(
        broad.inputs.candidates, narrow.inputs.candidates, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(broad.inputs.study, narrow.inputs.study, atol=1e-5, rtol=0)
    torch.testing.assert_close(broad.logits, narrow.logits, atol=1e-3, rtol=0)
    assert torch.equal(wide.activity(wide_pool.units), wide_pool.active)


def test_permuting_candidates_permutes_logits() -> None:
    geometry = mixed_geometry()
    history, pool = random_history(geometry, 20), random_pool(geometry, 30)
    order = torch.randperm(30, generator=generator())[None]
    straight, permuted = (
        decide(history, geometry, pool),
        decide(history, geometry, pool.take(order)),
    )
    torch.testing.assert_close(permuted.logits, straight.logits[:, order[0]], atol=1e-3, rtol=0)


def test_permuting_parameters_changes_nothing() -> None:
    geometry = mixed_geometry()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    place = {int(old): new for new, old in enumerate(order)}
    parent = torch.full((1, 6), -1)
    for child, (column, _) in MIXED_CONDITIONS.items():
        parent[0, place[child]] = place[column]
    assert geometry.log_bounds is not None
    moved = Geometry(
        geometry.is_categorical[:, order],
        geometry.n_cells[:, order],
        geometry.present[:, order],
        parent,
        geometry.allowed[:, order],
        geometry.log_bounds[..., order],
        geometry.has_gaps,
    )
    history, pool = random_history(geometry, 30), random_pool(geometry)
    moved_history = rebuilt(
        history, units=history.units[..., order], active=history.active[..., order]
    )
    moved_pool = Pool(pool.units[..., order], pool.active[..., order], pool.kind)
    torch.testing.assert_close(
        decide(moved_history, moved, moved_pool).logits,
        decide(history, geometry, pool).logits,
        atol=1e-3,
        rtol=0,
    )


@pytest.mark.parametrize("scale", [1e-4, 1e5])
def test_logits_ignore_scale_and_offset_of_scores(scale: float) -> None:
    geometry = mixed_geometry()
    history, pool = random_history(geometry, 30), random_pool(geometry)
    moved = rebuilt(history, scores=scale * (history.scores - 3))
    torch.testing.assert_close(
        decide(moved, geometry, pool).logits,
        decide(history, geometry, pool).logits,
        atol=1e-2,
        rtol=0,
    )


def test_greedy_choice_ignores_the_last_digits() -> None:
    logits = torch.tensor([[0.2, 1.0, 1.00001, 0.99999], [5.0, 1.0, 2.0, 5.00002]])
    assert policy.act(logits).tolist() == [1, 0]
    jitter = 1e-6 * torch.randn(logits.shape, generator=generator())
    assert policy.act(logits + jitter).tolist() == [1, 0]
    assert policy.act(torch.tensor([[0.0, 1.0, 1.01]])).tolist() == [2]
    assert policy.act(torch.tensor([[-torch.inf, -50.0, -torch.inf]])).tolist() == [1]


def test_sampled_choice_follows_the_probabilities() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -torch.inf]).expand(6000, 4)
    counts = torch.bincount(policy.act(logits, generator()), minlength=4)
    assert counts[3] == 0
    expected = torch.tensor([0.0, 1.0, 2.0]).softmax(-1).double() * 6000
    assert stats.chisquare(counts[:3].numpy(), expected.numpy(), sum_check=False).pvalue > 1e-3


def test_tried_configurations_are_not_chosen_again() -> None:
    geometry = flat_geometry()
    history = random_history(geometry, 20)
    pool = random_pool(geometry, 30)
    # The tried ones of a pool, in any trial state, a pending one among them.
    outcomes = history.outcomes.clone()
    outcomes[0, 4] = int(Outcome.PENDING)
    history = rebuilt(
        history,
        outcomes=outcomes,
        scores=history.scores.masked_fill(outcomes == Outcome.PENDING, torch.nan),
    )
    units = torch.cat([history.units[:, :8], pool.units], 1)
    kind = torch.zeros(1, 38, dtype=torch.long)
    decision = decide(history, geometry, finish(units, kind, geometry))
    assert bool(torch.isneginf(decision.logits[0, :8]).all())
    assert bool(torch.isfinite(decision.logits[0, 8:]).all())


def test_repeats_are_allowed_where_nothing_else_is_left() -> None:
    geometry = flat_geometry()
    history = random_history(geometry, 20)
    pool = finish(history.units[:, :6], torch.zeros(1, 6, dtype=torch.long), geometry)
    assert bool(torch.isfinite(decide(history, geometry, pool).logits).all())


def test_is_in_agrees_with_sets() -> None:
    rng = generator()
    tried = torch.randint(-30, 30, (3, 25), generator=rng)
    keys = torch.randint(-30, 30, (3, 40), generator=rng)
    found = visited.is_in(keys, tried)
    for row in range(3):
        known = set(tried[row].tolist())
        assert found[row].tolist() == [key in known for key in keys[row].tolist()]
    assert not bool(visited.is_in(keys, tried[:, :0]).any())


def expected_improvement(u: float) -> float:
    """``log E max(u + Z, 0)`` by quadrature, the density's peak factored out."""
    width = max(1.0, -u)

    def integrand(t: float) -> float:
        x = t / width
        return x * math.exp(min(u, 0) * x - x * x / 2 if u < 0 else -((x - u) ** 2) / 2) / width

    integral = integrate.quad(integrand, 0, 60 if u < 0 else u + 12, epsabs=0, epsrel=1e-10)[0]
    peak = -u * u / 2 if u < 0 else 0.0
    return peak - math.log(2 * math.pi) / 2 + math.log(integral)


def test_log_improvement_agrees_with_scipy() -> None:
    u = np.linspace(-5, 8, 131)
    expected = np.log(stats.norm.pdf(u) + u * stats.norm.cdf(u))
    grid = torch.from_numpy(u)
    mine = improvement.log_improvement(grid, torch.ones_like(grid)).numpy()
    np.testing.assert_allclose(mine, expected, atol=1e-8)


@pytest.mark.parametrize("u", [3.0, 0.0, -0.999, -1.001, -5.0, -20.0, -100.0, -900.0])
def test_log_improvement_agrees_with_quadrature_far_out(u: float) -> None:
    one = torch.ones((), dtype=torch.float64)
    mine = improvement.log_improvement(u * one, one).item()
    assert mine == pytest.approx(expected_improvement(u), rel=1e-7, abs=1e-7)


def test_log_improvement_grows_and_stays_finite() -> None:
    u = torch.linspace(-1e4, 50, 100_001, dtype=torch.float64)
    values = improvement.log_improvement(u, torch.ones_like(u))
    assert bool(torch.isfinite(values).all())
    assert bool((values.diff() >= 0).all())


def remembered_after(n: int, geometry: Geometry) -> memory.Conditioned:
    history = random_history(geometry, n, plain=True)
    return memory.condition(history, geometry, fitting.prior_weights(geometry))


def reading_of(mean: list[float], std: list[float], failure: list[float]) -> Reading:
    columns = [torch.tensor([x], dtype=torch.float64) for x in (mean, std, failure)]
    return Reading(columns[0], columns[1], columns[2], torch.ones_like(columns[0]))


def test_rule_prefers_mean_and_spread_and_shuns_failure() -> None:
    geometry = unit_geometry(2)
    remembered, pool = remembered_after(12, geometry), random_pool(geometry, 3)
    rising = reading_of([-0.5, 0.0, 0.5], [0.5, 0.5, 0.5], [0, 0, 0])
    assert bool((improvement.improvement_rule(remembered, pool, rising)[0].diff() > 0).all())
    wider = reading_of([-1.0, -1.0, -1.0], [0.2, 0.5, 1.0], [0, 0, 0])
    assert bool((improvement.improvement_rule(remembered, pool, wider)[0].diff() > 0).all())
    failing = reading_of([0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.0, 0.5, 0.9])
    rule = improvement.improvement_rule(remembered, pool, failing)[0]
    expected = torch.tensor([0.0, math.log(0.5), math.log(0.1)], dtype=torch.float64)
    torch.testing.assert_close(rule, expected)


# The start


def rule_choice(
    history: History, geometry: Geometry, pool: Pool | None = None
) -> tuple[int, Pool]:
    """What the rule alone takes, and from what."""
    decision = decide(history, geometry, pool)
    return int(league.rule_player(decision, generator())), decision.pool


def distances(pool: Pool, history: History, geometry: Geometry) -> Tensor:
    """Root mean square distance of each candidate to its nearest trial, pair by pair."""
    nearest = []
    for row in pool.units[0]:
        to_trials = []
        for trial in history.units[0]:
            squared = (row - trial).square()
            squared[geometry.is_categorical[0]] = (row != trial).double()[
                geometry.is_categorical[0]
            ]
            to_trials.append(float(squared.mean().sqrt()))
        nearest.append(min(to_trials))
    return torch.tensor(nearest, dtype=torch.float64)


def off_centre(pool: Pool, geometry: Geometry) -> Tensor:
    """Mean distance of the numeric parameters to their middle."""
    return (pool.units[0][:, ~geometry.is_categorical[0]] - 0.5).abs().mean(-1)


def starting_history(n_scored: int, n_others: int = 0) -> History:
    """Complete trials of the flat space, and then failed ones."""
    n = n_scored + n_others
    history = random_history(flat_geometry(), n, plain=True)
    outcomes = torch.where(torch.arange(n) < n_scored, 1, int(Outcome.FAILED))[None]
    return rebuilt(
        history,
        outcomes=outcomes,
        scores=history.scores.masked_fill(outcomes == Outcome.FAILED, torch.nan),
    )


def test_the_first_trial_is_near_the_centre() -> None:
    geometry = flat_geometry()
    chosen, pool = rule_choice(empty_history(1, 6), geometry)
    off = off_centre(pool, geometry)
    assert float(off[chosen]) == float(off.min()) < 0.2
    column = observation.CANDIDATE_FEATURES.index("off_centre")
    feature = decide(empty_history(1, 6), geometry, pool).inputs.candidates[0, :, column]
    torch.testing.assert_close(feature.double(), 2 * off, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("n_scored", "n_others"), [(1, 0), (4, 0), (0, 1), (0, 8), (3, 6)])
def test_the_next_trials_are_far_from_all_others_and_near_the_centre(
    n_scored: int, n_others: int
) -> None:
    geometry, history = flat_geometry(), starting_history(n_scored, n_others)
    for seed in range(6):
        pool = random_pool(geometry, 60, seed)
        random = pool.kind[0] == KIND["random"]
        n = max(history.n_trials, improvement.RULE_FROM)
        weight = 2 * improvement._START_CENTRE * (improvement.RULE_FROM / n) ** 2
        score = distances(pool, history, geometry) - weight * off_centre(pool, geometry)
        chosen, _ = rule_choice(history, geometry, pool)
        assert bool(random[chosen])
        assert float(score[chosen]) == pytest.approx(float(score[random].max()))
        # A pool without random ones is ranked all the same.
        others = (~random).nonzero()[:, 0]
        chosen, _ = rule_choice(history, geometry, pool.take(others[None]))
        assert float(score[others][chosen]) == pytest.approx(float(score[others].max()))


def with_nothing_believed(units: Tensor, pool: Pool) -> Decision:
    """What is decided after trials ``(n, d)`` where there is experience, none of it believed."""
    geometry = unit_geometry(units.shape[-1])
    scores = torch.linspace(0, 1, len(units), dtype=torch.float64)[None]
    history, belief = history_of(units[None], scores, geometry), policy.initial_belief(geometry)
    belief = policy.believe(history, geometry, belief, NETWORK)
    guide = Guide(None, None)
    return policy.decide(history, geometry, belief, NETWORK, generator(), pool=pool, guide=guide)


@pytest.mark.parametrize("first_is_central", [False, True])
def test_the_start_goes_on_with_the_centre_where_experience_is_not_believed(
    first_is_central: bool,
) -> None:
    first = [0.45] * 6 if first_is_central else [0.9] * 6
    tried = torch.tensor([first, [0.1] * 5 + [0.9]], dtype=torch.float64)
    units = torch.tensor([[[0.5] * 6, [0.5] * 5 + [1.0]]], dtype=torch.float64)
    pool = finish(units, torch.full((1, 2), KIND["random"]), unit_geometry(6))
    chosen = int(policy.act(with_nothing_believed(tried, pool).logits)[0])
    assert chosen == int(first_is_central)


def test_a_trial_of_experience_does_not_shorten_the_start() -> None:
    pool = random_pool(unit_geometry(3))
    units = random_units(unit_geometry(3), 6, generator(2))[0]
    for n, is_start in ((5, True), (6, False)):
        decision = with_nothing_believed(units[:n], pool)
        history = history_of(units[None, :n], torch.zeros(1, n).double(), unit_geometry(3))
        plain = improvement.start_rule(
            memory.condition(history, unit_geometry(3), fitting.prior_weights(unit_geometry(3))),
            pool,
        )
        assert torch.equal(decision.logits, plain.float()) == is_start


def test_the_start_prefers_any_random_candidate() -> None:
    geometry = unit_geometry(1)
    history = history_of(torch.tensor([[[0.1]]]).double(), torch.zeros(1, 1).double(), geometry)
    units = torch.tensor([[[0.6], [0.0], [1.0]]], dtype=torch.float64)
    kind = torch.tensor([[KIND["local"], KIND["random"], KIND["random"]]])
    chosen, _ = rule_choice(history, geometry, finish(units, kind, geometry))
    assert chosen == 2


@pytest.mark.parametrize("n_scored", [0, 2])
def test_the_start_keeps_away_from_pending_trials(n_scored: int) -> None:
    geometry = unit_geometry(2)
    units = torch.tensor([[[0.1, 0.1], [0.2, 0.1]]], dtype=torch.float64)[:, :n_scored]
    scored = history_of(units, torch.zeros(1, n_scored).double(), geometry)
    spots = torch.tensor([[[0.9, 0.9], [0.1, 0.1], [0.9, 0.1], [0.1, 0.9]]], dtype=torch.float64)
    pool = finish(spots, torch.zeros(1, 4, dtype=torch.long), geometry)
    pending = history_of(
        spots[:, :1] - 0.05,
        torch.zeros(1, 1).double(),
        geometry,
        torch.full((1, 1), int(Outcome.PENDING)),
    )
    alone, _ = rule_choice(scored, geometry, pool)
    crowded, _ = rule_choice(appended(scored, pending), geometry, pool)
    if n_scored:
        assert alone == 0
    assert crowded != 0 and crowded == int(
        distances(pool, appended(scored, pending), geometry).argmax()
    )


def test_the_start_ends_with_the_fifth_score() -> None:
    geometry, pool = flat_geometry(), random_pool(flat_geometry(), 60)
    agrees = []
    for n_scored in (improvement.RULE_FROM - 1, improvement.RULE_FROM):
        history = starting_history(n_scored, 5)
        remembered = memory.condition(history, geometry, fitting.prior_weights(geometry))
        reading = memory.read(remembered, pool.units, pool.active)
        rule = improvement.improvement_rule(remembered, pool, reading)[0]
        assert float(rule.max()) == 0 and float(rule.min()) >= -20
        std = reading.std[0] * improvement.SPREAD
        gain = reading.mean[0] - remembered.incumbent
        score = improvement.log_improvement(gain, std) + (1 - reading.failure[0]).log()
        expected = (score - score.max()).clamp_min(-20)
        agrees.append(bool(torch.allclose(rule, expected)))
    assert agrees == [False, True]
    assert improvement.RULE_FROM == 5


def test_every_study_of_a_batch_has_its_own_start() -> None:
    single, double = unit_geometry(2), unit_geometry(2, batch=2)
    first = random_history(single, 6, plain=True)
    failed = torch.where(torch.arange(6) < 3, int(Outcome.FAILED), 1)[None]
    second = rebuilt(
        first,
        outcomes=failed,
        scores=first.scores.masked_fill(failed == Outcome.FAILED, torch.nan),
    )
    pool = random_pool(single, 30)
    pools = Pool(*(x.expand(2, *x.shape[1:]) for x in (pool.units, pool.active, pool.kind)))

    def rule(history: History, geometry: Geometry, pool: Pool) -> Tensor:
        remembered = memory.condition(history, geometry, fitting.prior_weights(geometry))
        reading = memory.read(remembered, pool.units, pool.active)
        return improvement.improvement_rule(remembered, pool, reading)

    both = rule(stacked(first, second), double, pools)
    alone = [rule(history, single, pool)[0] for history in (first, second)]
    torch.testing.assert_close(both, torch.stack(alone))
    assert not torch.allclose(both[0], both[1])


# Rare choices


def rarities(history: History, geometry: Geometry, pool: Pool) -> list[float]:
    column = observation.CANDIDATE_FEATURES.index("rare_choice")
    values = decide(history, geometry, pool).inputs.candidates[0, :, column]
    return [float(value) for value in values]


def tried(rows: list[list[float]], geometry: Geometry) -> History:
    units = torch.tensor([rows], dtype=torch.float64)
    return history_of(units, torch.zeros(1, len(rows)).double(), geometry)


def candidates(rows: list[list[float]], geometry: Geometry) -> Pool:
    units = torch.tensor([rows], dtype=torch.float64)
    return finish(units, torch.zeros(1, len(rows), dtype=torch.long), geometry)


def test_the_rarest_choice_of_a_candidate_is_counted() -> None:
    space = Space(
        {"a": CategoricalDistribution("uvw"), "b": CategoricalDistribution("xy"), "c": UNIT}
    )
    geometry = space.geometry({}, has_gaps=False)
    pool = candidates([[0, 0, 0.3], [1, 0, 0.3], [2, 0, 0.3], [0, 1, 0.3], [1, 1, 0.3]], geometry)
    history = tried([[0, 0, 0.3], [0, 0, 0.9], [1, 0, 0.1], [1, 0, 0.2], [1, 1, 0.2]], geometry)
    expected = [1 / 3, 1 / 4, 1, 1 / 2, 1 / 2]
    assert rarities(history, geometry, pool) == pytest.approx(expected)
    # Whatever became of a trial, its choices were tried.
    outcomes = torch.tensor([[Outcome.PENDING, Outcome.FAILED, Outcome.PRUNED, 1, 1]])
    other = rebuilt(
        history,
        outcomes=outcomes,
        scores=history.scores.masked_fill(outcomes == Outcome.PENDING, torch.nan),
    )
    assert rarities(other, geometry, pool) == pytest.approx(expected)


def test_choices_that_do_not_exist_are_not_rare() -> None:
    # The kind exists at a depth of two alone.
    space = Space({"depth": IntDistribution(1, 2), "kind": CategoricalDistribution("xyz")})
    geometry = space.geometry({1: (0, [False, True])}, has_gaps=True)
    pool = candidates([[0.25, 0], [0.75, 0], [0.75, 1], [0.75, 2]], geometry)
    deep = tried([[0.75, 0], [0.75, 0], [0.75, 1]], geometry)
    expected = [0, 1 / 3, 1 / 2, 1]
    assert rarities(deep, geometry, pool) == pytest.approx(expected)
    shallow = tried([[0.25, -1], [0.25, -1]], geometry)
    assert rarities(appended(deep, shallow), geometry, pool) == pytest.approx(expected)


def test_without_choices_nothing_is_rare() -> None:
    geometry = unit_geometry(2)
    assert set(rarities(random_history(geometry, 5), geometry, random_pool(geometry))) == {0.0}
    untried = rarities(empty_history(1, 6), flat_geometry(), random_pool(flat_geometry()))
    assert set(untried) == {1.0}


# Decisions


@pytest.mark.parametrize("n", [0, 3, 10, 50])
def test_a_fresh_network_chooses_what_the_rule_likes_best(n: int) -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, n, plain=True) if n else empty_history(1, 6)
    network = new_network().requires_grad_(False)
    belief = policy.believe(history, geometry, policy.initial_belief(geometry), network)
    decision = policy.decide(history, geometry, belief, network, generator())
    allowed = torch.isfinite(decision.logits)
    rule = decision.inputs.rule.masked_fill(~allowed, -torch.inf)
    chosen = rule[0, policy.act(decision.logits)]
    assert float(chosen) == pytest.approx(float(rule.max()), abs=1e-4)


@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_decisions_are_finite_from_the_first_trial_on(n: int) -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, n) if n else empty_history(1, 6)
    decision = decide(history, geometry)
    for values in decision.inputs:
        assert bool(torch.isfinite(values).all())
    assert bool(torch.isfinite(decision.logits).any())


def test_decisions_repeat_with_the_generator() -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 20)
    first, again = decide(history, geometry, seed=3), decide(history, geometry, seed=3)
    assert torch.equal(first.pool.units, again.pool.units)
    assert torch.equal(first.logits, again.logits)


def test_small_pools_can_be_asked_for() -> None:
    geometry = unit_geometry(2)
    history = random_history(geometry, 10, plain=True)
    belief = policy.believe(history, geometry, policy.initial_belief(geometry), NETWORK)
    decision = policy.decide(history, geometry, belief, NETWORK, generator(), n_candidates=20)
    assert bool(torch.isfinite(decision.logits).any())


def test_pending_trials_push_candidates_away() -> None:
    geometry = unit_geometry(2)
    history = random_history(geometry, 15, plain=True)
    pool = random_pool(geometry, 50)
    network = new_network().requires_grad_(False)
    belief = policy.believe(history, geometry, policy.initial_belief(geometry), network)

    def rule(past: History) -> Tensor:
        made = policy.decide(past, geometry, belief, network, generator(), pool=pool)
        return made.inputs.rule[0]

    alone = rule(history)
    favourite = int(alone.argmax())
    outcomes = torch.full((1, 1), int(Outcome.PENDING))
    spot = (pool.units[:, favourite : favourite + 1] + 1e-4).clamp(0, 1)
    pending = history_of(spot, torch.zeros(1, 1).double(), geometry, outcomes)
    assert int(rule(appended(history, pending)).argmax()) != favourite


def test_rewound_forgets_the_recurrent_state_alone() -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 20)
    belief = policy.believe(history, geometry, policy.initial_belief(geometry), NETWORK)
    rewound = policy.rewound(belief)
    assert bool((belief.recurrent_state != 0).any())
    assert bool((rewound.recurrent_state == 0).all())
    assert rewound.weights is belief.weights and rewound.n_read == belief.n_read
