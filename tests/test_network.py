from __future__ import annotations

import torch
from torch import Tensor

from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import HIDDEN
from optuna_rocket.features import N_TOKEN_FEATURES
from tests.builders import generator
from tests.builders import restless_network


def random_inputs(
    batch: int = 2, m: int = 9, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    network, rng = new_network(), generator(seed)
    n_study = network.context.in_features - HIDDEN
    return (
        torch.randn(batch, m, generator=rng),
        torch.randn(batch, m, network.from_candidate.in_features, generator=rng),
        torch.randn(batch, n_study, generator=rng),
        torch.randn(batch, HIDDEN, generator=rng),
    )


def random_tokens(n: int, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, n, N_TOKEN_FEATURES, generator=generator(seed))


def test_step_by_step_is_the_whole_sequence() -> None:
    network, tokens = restless_network(), random_tokens(40)
    start = torch.randn(2, HIDDEN, generator=generator(1))
    state = start
    for t in range(40):
        state = network.encode(tokens[:, t : t + 1], state)
    torch.testing.assert_close(state, network.encode(tokens, start), atol=1e-5, rtol=0)
    halves = network.encode(tokens[:, 17:], network.encode(tokens[:, :17], start))
    torch.testing.assert_close(state, halves, atol=1e-5, rtol=0)


def test_no_tokens_leave_the_recurrent_state() -> None:
    state = torch.randn(2, HIDDEN)
    assert torch.equal(restless_network().encode(random_tokens(0), state), state)


def test_order_of_tokens_matters() -> None:
    network, tokens = restless_network(), random_tokens(10)
    start = torch.zeros(2, HIDDEN)
    backwards = network.encode(tokens.flip(1), start)
    assert float((network.encode(tokens, start) - backwards).abs().max()) > 1e-3


def test_studies_of_a_batch_do_not_touch_each_other() -> None:
    network, inputs = restless_network(), random_inputs()
    logits = network(*inputs)
    for row in range(2):
        alone = network(*(x[row : row + 1] for x in inputs))
        torch.testing.assert_close(logits[row : row + 1], alone)


def test_permuting_candidates_permutes_logits() -> None:
    network = restless_network()
    rule, candidates, study, state = random_inputs()
    order = torch.randperm(9, generator=generator())
    moved = network(rule[:, order], candidates[:, order], study, state)
    torch.testing.assert_close(moved, network(rule, candidates, study, state)[:, order])


def test_every_input_can_matter() -> None:
    network, inputs = restless_network(), random_inputs()
    logits = network(*inputs)
    for position in range(4):
        changed = list(inputs)
        changed[position] = changed[position] + 1
        assert float((network(*changed) - logits).abs().max()) > 1e-3, position


def test_a_fresh_network_orders_as_the_rule_does() -> None:
    rule, *rest = random_inputs(batch=3, m=50)
    logits = new_network()(rule, *rest)
    assert torch.equal(logits.argsort(-1), rule.argsort(-1))


def test_gradients_reach_every_weight_through_the_recurrence() -> None:
    network = restless_network().requires_grad_(True)
    rule, candidates, study, _ = random_inputs()
    state = network.encode(random_tokens(6), torch.zeros(2, HIDDEN))
    torch.autograd.backward(network(rule, candidates, study, state).square().sum())
    for name, weight in network.named_parameters():
        assert weight.grad is not None and float(weight.grad.abs().max()) > 0, name
