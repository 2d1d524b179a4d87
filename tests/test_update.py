from __future__ import annotations

import pytest
import torch
from torch import Tensor

from optuna_rocket.agent import update
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.update import Decisions
from optuna_rocket.features import N_TOKEN_FEATURES
from optuna_rocket.training.rollout import PLAY_SHARPNESS
from optuna_rocket.training.rollout import Trajectory
from optuna_rocket.training.rollout import agent_player
from optuna_rocket.training.rollout import play
from optuna_rocket.training.tasks import Tasks
from optuna_rocket.training.tasks import sample_tasks
from tests.builders import generator
from tests.builders import restless_network


@pytest.fixture(scope="module", params=[0, 3], ids=["sequential", "delayed"])
def played(request: pytest.FixtureRequest) -> Trajectory:
    tasks = sample_tasks(6, generator(1))
    tasks = Tasks(**{**tasks.__dict__, "delay": request.param})
    return play(
        tasks,
        [agent_player, agent_player],
        restless_network(),
        generator(2),
        noise_seed=3,
        n_trials=14,
        n_first=2,
        n_candidates=80,
        horizon_known=True,
    )


def decisions_of(played: Trajectory) -> Decisions:
    return played.decisions.at(played.decided)


def test_replay_gives_the_probabilities_that_were_played(played: Trajectory) -> None:
    log_pi = update.replay(restless_network(), decisions_of(played), PLAY_SHARPNESS)
    actions = played.actions[:, played.decided, None]
    mine = log_pi.gather(-1, actions)[..., 0]
    torch.testing.assert_close(mine, played.log_prob[:, played.decided], atol=1e-4, rtol=0)
    assert float(mine.std()) > 0.05


def test_replay_reads_the_tokens_in_their_time(played: Trajectory) -> None:
    """A token changes the decisions that had read it, and no others."""
    decisions = decisions_of(played)
    tokens = decisions.tokens.clone()
    tokens[:, 6] += 1.0
    before = update.replay(restless_network(), decisions)
    after = update.replay(restless_network(), decisions._replace(tokens=tokens))
    moved = (after - before).nan_to_num(0.0).abs().amax((0, 2)) > 1e-5
    assert moved.tolist() == (decisions.n_read > 6).tolist()
    assert bool(moved.any()) and not bool(moved.all())


def test_replay_gives_no_chance_to_what_was_not_allowed(played: Trajectory) -> None:
    log_pi = update.replay(restless_network(), decisions_of(played), PLAY_SHARPNESS)
    allowed = decisions_of(played).allowed
    assert torch.equal(torch.isfinite(log_pi), allowed)
    total = log_pi.exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_a_better_return_makes_an_action_likelier(played: Trajectory) -> None:
    decisions = decisions_of(played)
    actions = played.actions[:, played.decided, None]
    behaviour = played.log_prob[:, played.decided]
    advantage = torch.zeros_like(behaviour)
    advantage[:, ::2], advantage[:, 1::2] = 1.0, -1.0
    network = restless_network().requires_grad_(True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)

    def chosen() -> Tensor:
        return update.replay(network, decisions, PLAY_SHARPNESS).gather(-1, actions)[..., 0]

    before = chosen().detach()
    update.apply_gradient(
        update.clipped_loss(chosen(), behaviour, advantage, 0.2), network, optimizer
    )
    rise = chosen().detach() - before
    assert float((rise * advantage).mean()) > 0


def bandit(n: int = 16, m: int = 6, seed: int = 0) -> tuple[RecurrentScorer, Decisions, Tensor]:
    """Gains that a candidate feature tells; the rule knows nothing."""
    network, rng = new_network(), generator(seed)
    width = network.from_candidate.in_features
    candidates = torch.randn(n, 2, m, width, generator=rng)
    decisions = Decisions(
        rule=torch.zeros(n, 2, m),
        candidates=candidates,
        study=torch.ones(n, 2, network.context.in_features - 32),
        allowed=torch.ones(n, 2, m, dtype=torch.bool),
        tokens=torch.zeros(n, 2, N_TOKEN_FEATURES),
        n_read=torch.tensor([0, 1]),
    )
    return network, decisions, (candidates[..., 3] > 0).float()


def expected_gain(network: RecurrentScorer, decisions: Decisions, gains: Tensor) -> float:
    with torch.no_grad():
        return -update.exact_loss(update.replay(network, decisions), gains).item()


def test_exact_gradient_learns_a_bandit() -> None:
    network, decisions, gains = bandit()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    assert expected_gain(network, decisions, gains) < 0.65
    for _ in range(80):
        loss = update.exact_loss(update.replay(network, decisions), gains)
        update.apply_gradient(loss, network, optimizer)
    assert expected_gain(network, decisions, gains) > 0.95 * float(gains.amax(-1).mean())
    _, fresh, fresh_gains = bandit(seed=1)
    assert expected_gain(network, fresh, fresh_gains) > 0.75


def test_exact_loss_by_hand() -> None:
    """The best that was allowed counts as one: 0.25 · 1 + 0.75 · 0.25."""
    log_pi = torch.tensor([[[0.25, 0.75, 0.0]]]).log()
    gains = torch.tensor([[[4.0, 1.0, 9.0]]])
    assert update.exact_loss(log_pi, gains).item() == pytest.approx(-0.4375, rel=0.05)


def test_gains_are_relative_to_the_best_of_their_decision() -> None:
    log_pi, rng = random_log_pi(0), generator()
    gains = torch.rand(3, 4, 7, generator=rng)
    relative = update.relative_gains(log_pi, gains)
    allowed = torch.isfinite(log_pi)
    best = (relative * allowed).amax(-1)
    assert bool(((best > 0.8) & (best < 1)).all())
    for ratio in (1e-12, 1.0, 1e6):
        none = update.relative_gains(log_pi, gains * 0 * ratio)
        assert bool((none == 0).all())
    louder = update.relative_gains(log_pi, gains * 1e4)
    torch.testing.assert_close(louder.argsort(-1), relative.argsort(-1))
    assert float((louder * allowed).amax(-1).min()) > 0.99


def test_cloning_is_best_at_its_target() -> None:
    gains = torch.tensor([[[0.0, 0.05, 0.3], [0.1, 0.4, 0.4]]])
    relative = update.relative_gains(torch.zeros_like(gains), gains)
    target = (relative / 0.1).softmax(-1)
    logits = target.log().requires_grad_(True)
    loss = update.cloning_loss(logits.log_softmax(-1), gains, 0.1)
    torch.autograd.backward(loss)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros_like(gains), atol=1e-6, rtol=0)
    rng = generator()
    for _ in range(20):
        other = (target.log() + 0.3 * torch.randn(target.shape, generator=rng)).log_softmax(-1)
        assert update.cloning_loss(other, gains, 0.1) > loss


def test_cloning_leaves_hopeless_decisions_out() -> None:
    log_pi = torch.randn(1, 2, 4, generator=generator()).log_softmax(-1)
    gains = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.0, 0.2, 0.0, 0.0]]])
    both = update.cloning_loss(log_pi, gains, 0.05)
    torch.testing.assert_close(both, update.cloning_loss(log_pi[:, 1:], gains[:, 1:], 0.05))
    assert update.cloning_loss(log_pi[:, :1], gains[:, :1], 0.05).item() == 0


def gradient_of_ratio(ratio: float, advantage: float, clip: float = 0.2) -> float:
    log_prob = torch.tensor([ratio]).log().requires_grad_(True)
    loss = update.clipped_loss(log_prob, torch.zeros(1), torch.tensor([advantage]), clip)
    torch.autograd.backward(loss)
    assert log_prob.grad is not None
    return log_prob.grad.item()


def test_clipped_gradient_vanishes_outside_of_the_clip_range_alone() -> None:
    assert gradient_of_ratio(1.3, 1.0) == 0 and gradient_of_ratio(0.7, -1.0) == 0
    assert gradient_of_ratio(1.1, 1.0) == pytest.approx(-1.1)
    assert gradient_of_ratio(0.9, -2.0) == pytest.approx(1.8)
    # The pessimistic side is never clipped.
    assert gradient_of_ratio(0.5, 1.0) < 0 and gradient_of_ratio(1.9, -1.0) > 0


def test_clipped_loss_by_hand() -> None:
    log_prob = torch.tensor([1.5, 0.9, 0.5]).log()
    advantage = torch.tensor([2.0, -1.0, 1.0])
    loss = update.clipped_loss(log_prob, torch.zeros(3), advantage, 0.2)
    assert loss.item() == pytest.approx(-(2.4 - 0.9 + 0.5) / 3)


def random_log_pi(seed: int) -> Tensor:
    logits = torch.randn(3, 4, 7, generator=generator(seed))
    logits[:, 1, 5:] = -torch.inf
    return logits.log_softmax(-1)


def test_divergence_and_entropy_agree_with_torch() -> None:
    one, two = random_log_pi(0), random_log_pi(1)
    a, b = (torch.distributions.Categorical(logits=x[:, [0, 2, 3]]) for x in (one, two))
    c, d = (torch.distributions.Categorical(logits=x[:, [1], :5]) for x in (one, two))
    kl = torch.distributions.kl_divergence
    expected = torch.cat([kl(a, b), kl(c, d)], 1).mean()
    torch.testing.assert_close(update.divergence(one, two), expected)
    torch.testing.assert_close(
        update.entropy(one), torch.cat([a.entropy(), c.entropy()], 1).mean()
    )


def test_divergence_is_zero_for_itself_and_positive_otherwise() -> None:
    assert update.divergence(random_log_pi(0), random_log_pi(0)).item() == 0
    for seed in range(1, 10):
        assert update.divergence(random_log_pi(0), random_log_pi(seed)).item() > 0.01


def test_losses_have_finite_gradients_where_candidates_are_not_allowed() -> None:
    logits = torch.randn(3, 4, 7, generator=generator()).requires_grad_(True)
    forbidden = torch.zeros(3, 4, 7, dtype=torch.bool)
    forbidden[..., 5:] = True
    gains = torch.rand(3, 4, 7, generator=generator())
    log_pi = logits.masked_fill(forbidden, -torch.inf).log_softmax(-1)
    reference = random_log_pi(2).detach().masked_fill(forbidden, -torch.inf).log_softmax(-1)
    loss = update.exact_loss(log_pi, gains) + update.cloning_loss(log_pi, gains, 0.05)
    torch.autograd.backward(loss + update.divergence(log_pi, reference))
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all()) and bool((logits.grad[forbidden] == 0).all())


def test_a_step_is_bounded_whatever_the_loss() -> None:
    network = new_network()
    before = torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    loss = 1e9 * sum((weight.square().sum() for weight in network.parameters()), torch.zeros(()))
    update.apply_gradient(loss, network, optimizer, max_norm=0.5)
    after = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    assert float((after - before).norm()) == pytest.approx(0.5, rel=1e-3)


def test_metrics_are_plain_numbers() -> None:
    log_pi = random_log_pi(0)
    clipped = torch.tensor([True, False, False, False])
    metrics = update.metrics(torch.tensor(2.0), log_pi, torch.tensor(0.5), clipped)
    assert (metrics.loss, metrics.kl, metrics.clipped) == (2.0, 0.5, 0.25)
    assert metrics.entropy == pytest.approx(update.entropy(log_pi).item())
