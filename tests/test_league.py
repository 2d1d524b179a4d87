from __future__ import annotations

from collections import Counter
import random

import pytest
from scipy import stats
import torch

from optuna_rocket.agent import policy
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.policy import Inputs
from optuna_rocket.agent.proposals import KIND
from optuna_rocket.agent.proposals import propose
from optuna_rocket.training.league import ExperiencePool
from optuna_rocket.training.league import League
from optuna_rocket.training.league import kind_player
from optuna_rocket.training.league import paired_t
from optuna_rocket.training.league import rule_player
from tests.builders import generator
from tests.builders import mixed_geometry
from tests.builders import random_history
from tests.builders import restless_network


def some_decision(n: int = 15) -> Decision:
    geometry, network = mixed_geometry(), restless_network()
    history = random_history(geometry, n, plain=True)
    belief = policy.believe(history, geometry, policy.initial_belief(geometry), network)
    return policy.decide(history, geometry, belief, network, generator())


@pytest.mark.parametrize("seed", range(3))
def test_paired_t_agrees_with_scipy(seed: int) -> None:
    rng = generator(seed)
    a, b = (torch.randn(30, generator=rng, dtype=torch.float64) for _ in range(2))
    expected = stats.ttest_rel((a + 0.3).numpy(), b.numpy()).statistic
    assert paired_t(a + 0.3 - b) == pytest.approx(expected)


def test_paired_t_of_equal_players_is_zero() -> None:
    assert paired_t(torch.zeros(20, dtype=torch.float64)) == 0


@pytest.mark.parametrize("name", ["random", "density", "mutation"])
def test_kind_player_picks_its_kind_alone_and_all_of_it(name: str) -> None:
    decision, rng = some_decision(), generator()
    picks = {int(kind_player(name)(decision, rng)) for _ in range(400)}
    assert {int(decision.pool.kind[0, pick]) for pick in picks} == {KIND[name]}
    available = int((decision.pool.kind == KIND[name]).sum())
    assert len(picks) > min(available, 400) / 3


def test_kind_player_picks_something_where_its_kind_is_missing() -> None:
    decision = some_decision()
    logits = decision.logits.masked_fill(decision.pool.kind == KIND["density"], -torch.inf)
    decision = decision._replace(logits=logits)
    pick = int(kind_player("density")(decision, generator()))
    assert bool(torch.isfinite(decision.logits[0, pick]))


def test_rule_player_takes_the_best_allowed_of_the_rule() -> None:
    decision = some_decision()
    logits = decision.logits.clone()
    logits[0, decision.inputs.rule.argmax()] = -torch.inf
    decision = decision._replace(logits=logits)
    rule = decision.inputs.rule.masked_fill(~torch.isfinite(logits), -torch.inf)
    pick = int(rule_player(decision, generator()))
    assert float(rule[0, pick]) == pytest.approx(float(rule.max()), abs=1e-4)


def test_rule_player_ignores_the_network() -> None:
    decision = some_decision()
    turned = decision._replace(logits=-decision.logits)
    assert torch.equal(rule_player(decision, generator()), rule_player(turned, generator()))
    assert isinstance(decision.inputs, Inputs)


def test_new_networks_play_the_rule() -> None:
    geometry, network = mixed_geometry(), new_network()
    history = random_history(geometry, 10, plain=True)
    pool = propose(history, geometry, 60, generator())
    belief = policy.believe(history, geometry, policy.initial_belief(geometry), network)
    decision = policy.decide(history, geometry, belief, network, generator(), pool=pool)
    assert torch.equal(policy.act(decision.logits), rule_player(decision, generator()))


def test_league_keeps_the_first_and_the_latest_selves() -> None:
    league = League(max_selves=3)
    for seed in range(6):
        league.admit(restless_network(seed).state_dict())
        assert len(league.selves) <= 3
    kept = [
        seed
        for state in league.selves
        for seed in range(6)
        if torch.equal(state["middle.weight"], restless_network(seed).middle.weight)
    ]
    assert kept == [0, 4, 5]


def test_nothing_is_drawn_from_an_empty_league_or_pool() -> None:
    assert League().draw(random.Random(0)) is None
    assert ExperiencePool().draw(random.Random(0)) is None


def test_experience_pool_keeps_the_worst_losses() -> None:
    pool = ExperiencePool(capacity=3)
    for seed, loss in enumerate((0.1, 0.5, 0.3, 0.2, 0.4)):
        pool.record(seed, loss)
    assert pool.losses == {1: 0.5, 2: 0.3, 4: 0.4}


def test_a_win_leaves_the_experience_pool() -> None:
    pool = ExperiencePool()
    pool.record(7, 0.5)
    pool.record(8, 0.1)
    pool.record(7, -0.2)
    assert pool.losses == {8: 0.1}
    pool.record(8, 0.3)
    assert pool.losses == {8: 0.3}


def test_worse_losses_are_replayed_more_often() -> None:
    pool, rng = ExperiencePool(), random.Random(0)
    pool.record(1, 0.1)
    pool.record(2, 0.4)
    counts = Counter(pool.draw(rng) for _ in range(2000))
    assert set(counts) == {1, 2}
    assert counts[2] / counts[1] == pytest.approx(4, rel=0.25)
