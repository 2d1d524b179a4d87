from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks import adaptation
from benchmarks.adaptation import AdaptingScorer
from benchmarks.adaptation import StudyLearner
from optuna_rocket.agent.network import RecurrentScorer
from tests.builders import restless_network


def flat(network: RecurrentScorer) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_studies_learn_apart_and_leave_the_network_alone() -> None:
    network = restless_network()
    before = flat(network)
    scorer = AdaptingScorer(network, 1e-2, batch=2)
    first, second = scorer._learners
    logits = torch.zeros(1, 6)
    inputs = (torch.rand(1, 6), torch.rand(1, 6, 17), torch.rand(1, 11), torch.rand(1, 32))
    for action in range(5):
        first.chose(inputs, logits, action)
    first.read([2.0, -1.0, 0.0, 1.0, -2.0])
    assert torch.equal(flat(network), before)
    assert torch.equal(flat(second.network), before)
    assert not torch.equal(flat(first.network), before)


def test_a_choice_that_ranked_high_becomes_likelier() -> None:
    learner = StudyLearner(restless_network(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 6), (1, 6, 17), (1, 11), (1, 32))
    inputs = tuple(torch.rand(*shape, generator=generator) for shape in shapes)
    inputs[2][:, -1] = 1  # the start is over
    logits = learner.network(*inputs).detach()
    for action in (3, 0, 1, 2, 4):
        learner.chose(inputs, logits, action)
    learner.read([3.0, -1.0, -1.0, -1.0, 0.0])
    after = learner.network(*inputs).detach()
    gained = after.log_softmax(-1) - logits.log_softmax(-1)
    assert int(gained[0, :5].argmax()) == 3


def test_rate_zero_is_the_agent_and_others_are_not() -> None:
    network = restless_network()
    still = adaptation.measure(network, 0.0, n_tasks=6, n_trials=20)
    assert torch.equal(still, adaptation.measure(network, 1e-12, n_tasks=6, n_trials=20))
    assert not torch.equal(still, adaptation.measure(network, 0.1, n_tasks=6, n_trials=20))


def test_wrong_number_of_tasks_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        adaptation.main(["--tasks", "7"])
    assert "--tasks" in capsys.readouterr().err
