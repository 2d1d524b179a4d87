from __future__ import annotations

from typing import Any

import pytest
import torch

from optuna_rocket.agent import update
from optuna_rocket.training.branching import Branches
from optuna_rocket.training.branching import branch
from optuna_rocket.training.league import new_network
from optuna_rocket.training.tasks import Tasks
from optuna_rocket.training.tasks import sample_tasks
from tests.builders import generator


OPTIONS: dict[str, Any] = {
    "n_trials": 9,
    "first": 1,
    "every": 4,
    "n_branches": 3,
    "n_repeats": 2,
    "discount": 0.9,
    "n_candidates": 40,
    "horizon_known": True,
}


def tasks() -> Tasks:
    return sample_tasks(5, generator(1))


def branched(**changes: Any) -> Branches:
    return branch(tasks(), new_network(), generator(2), **{**OPTIONS, **changes})


def test_every_branching_is_a_labelled_decision() -> None:
    games = branched()
    m = games.decisions.rule.shape[-1]
    assert games.chosen.shape == games.returns.shape == (5, 2, 3)
    assert games.decisions.n_read.tolist() == [1, 5] or tasks().delay > 0
    assert games.decisions.tokens.shape[:2] == (5, 9)
    assert bool((games.chosen < m).all())
    assert bool(games.decisions.allowed.gather(-1, games.chosen).all())


def test_candidates_differ_and_the_favourite_is_among_them() -> None:
    games = branched()
    for one in games.chosen.flatten(0, 1):
        assert len(set(one.tolist())) == 3
    logits = update.replay(new_network(), games.decisions)
    assert torch.equal(games.chosen[..., 0], logits.argmax(-1))


def test_incumbents_never_lose_so_undiscounted_returns_tell_quiet_gains() -> None:
    """Without noise or failures the incumbent only gets better: no branch can earn less than 0."""
    quiet = tasks()
    quiet = Tasks(**{**quiet.__dict__, "noise": torch.zeros_like(quiet.noise)})
    played = branch(quiet, new_network(), generator(2), **{**OPTIONS, "discount": 1.0})
    assert float(played.returns.min()) >= 0
    assert float(played.returns.std()) > 0


def test_branching_repeats_exactly_and_depends_on_its_generator() -> None:
    first, second = branched(), branched()
    assert torch.equal(first.returns, second.returns)
    other = branch(tasks(), new_network(), generator(3), **OPTIONS)
    assert not torch.equal(first.returns, other.returns)


@pytest.mark.parametrize("better", [0, 2])
def test_branch_loss_prefers_what_earned_more(better: int) -> None:
    logits = torch.zeros(1, 1, 4, requires_grad=True)
    chosen = torch.tensor([[[0, 1, 2]]])
    returns = torch.nn.functional.one_hot(torch.tensor([[better]]), 3).float()
    update.branch_loss(logits.log_softmax(-1), chosen, returns).backward()
    assert logits.grad is not None
    step = -logits.grad[0, 0]
    assert int(step.argmax()) == better and float(step[better]) > 0
    assert float(step[3].abs()) < 1e-6, "what was not tried is not judged"


def test_branch_loss_ignores_what_all_branches_share() -> None:
    log_pi = torch.randn(2, 3, 6, generator=generator(0)).log_softmax(-1)
    chosen = torch.tensor([0, 2, 5]).expand(2, 3, 3)
    returns = torch.rand(2, 3, 3, generator=generator(1))
    shifted = returns + torch.rand(2, 3, 1, generator=generator(2))
    expected = update.branch_loss(log_pi, chosen, returns)
    torch.testing.assert_close(update.branch_loss(log_pi, chosen, shifted), expected)
