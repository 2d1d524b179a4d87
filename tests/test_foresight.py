from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from optuna_rocket.agent import fitting
from optuna_rocket.agent import improvement
from optuna_rocket.agent import memory
from optuna_rocket.agent import update
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.scores import continue_transform
from optuna_rocket.training import foresight
from optuna_rocket.training.foresight import Labels
from optuna_rocket.training.foresight import foresee
from optuna_rocket.training.rollout import utility
from optuna_rocket.training.tasks import Tasks
from optuna_rocket.training.tasks import random_units
from optuna_rocket.training.tasks import sample_tasks
from tests.builders import generator
from tests.builders import mixed_geometry
from tests.builders import random_history
from tests.builders import transform_scores


OPTIONS: dict[str, Any] = {
    "n_trials": 12,
    "n_ahead": 3,
    "n_contenders": 10,
    "every": 2,
    "n_candidates": 40,
    "horizon_known": True,
}


def tasks(**changes: Any) -> Tasks:
    sampled = sample_tasks(6, generator(1))
    return Tasks(**{**sampled.__dict__, "delay": 0, **changes})


def labelled(**changes: Any) -> Labels:
    return foresee(tasks(), new_network(), generator(2), **{**OPTIONS, **changes})


def test_decisions_after_the_start_are_labelled() -> None:
    labels = labelled()
    assert labels.decisions.n_read.tolist() == [6, 8, 10]
    assert labels.chosen.shape == labels.returns.shape == (6, 3, 10)
    assert labels.decisions.tokens.shape[:2] == (6, 12)
    assert bool(labels.decisions.allowed.gather(-1, labels.chosen).all())
    assert bool(torch.isfinite(labels.returns).all())
    assert float(labels.returns.std(-1).mean()) > 0


def test_contenders_differ_and_hold_both_favourites() -> None:
    labels = labelled()
    for one in labels.chosen.flatten(0, 1):
        assert len(set(one.tolist())) == 10
    logits = update.replay(new_network(), labels.decisions)
    for scores in (logits, labels.decisions.rule.masked_fill(~labels.decisions.allowed, -99)):
        favourite = scores.argmax(-1, keepdim=True)
        assert bool((labels.chosen == favourite).any(-1).all())


def test_labels_repeat_exactly_and_depend_on_the_generator() -> None:
    first, second = labelled(), labelled()
    assert torch.equal(first.returns, second.returns)
    other = foresee(tasks(), new_network(), generator(3), **OPTIONS)
    assert not torch.equal(first.returns, other.returns)


def test_one_quiet_trial_ahead_is_the_better_of_two() -> None:
    """Without noise the next trial's utility is that of the better one, old or new."""
    view = replace(outlook(h=1), fails=torch.zeros(1, 12, dtype=torch.bool))
    view = replace(view, observed=view.values[:, None], best_score=view.best_value)
    returns = foresight._continue(view, torch.arange(12)[None])
    torch.testing.assert_close(returns, utility(-view.values.clamp_min(-0.7)))
    assert 1 < int((view.values > -0.7).sum()) < 11


def test_covariance_agrees_with_single_readings() -> None:
    geometry = mixed_geometry()
    history = random_history(geometry, 20)
    remembered = memory.condition(history, geometry, fitting.prior_weights(geometry))
    units = random_units(geometry, 30, generator(4))
    active = geometry.activity(units)
    joint = memory.covariance(remembered, units, active)
    std = memory.read(remembered, units, active).std
    torch.testing.assert_close(joint.diagonal(dim1=-2, dim2=-1).sqrt(), std, atol=1e-6, rtol=0)
    torch.testing.assert_close(joint, joint.mT)
    assert float(torch.linalg.eigvalsh(joint).min()) > -1e-8


def outlook(m: int = 12, h: int = 3) -> foresight._Outlook:
    """One decision with made-up numbers; candidate 3 fails."""
    rng = generator(7)
    root = torch.randn(1, m, m, generator=rng, dtype=torch.float64) / m**0.5
    values = -torch.rand(1, m, generator=rng, dtype=torch.float64)
    observed = values[:, None] + 0.1 * torch.randn(1, h, 1, generator=rng, dtype=torch.float64)
    return foresight._Outlook(
        mean=torch.randn(1, m, generator=rng, dtype=torch.float64) / 3,
        covariance=root @ root.mT,
        noise=torch.full((1, 1), 0.05).double(),
        log_success=torch.zeros(1, m).double(),
        allowed=torch.arange(m)[None] != 5,
        fails=torch.arange(m)[None] == 3,
        values=values,
        observed=observed,
        scores=2 * observed + 1,
        incumbent=torch.zeros(1, 1).double(),
        best_score=torch.full((1, 1), -0.6).double(),
        best_value=torch.full((1, 1), -0.7).double(),
    )


def dense(view: foresight._Outlook, first: int) -> float:
    """The continuation from one contender with dense conditioning at every step."""
    seen: list[tuple[int, float]] = []
    tried = set((~view.allowed[0]).nonzero()[:, 0].tolist())
    incumbent, score, value = 0.0, -0.6, -0.7
    action, total = first, 0.0
    for h in range(view.observed.shape[1]):
        index = [i for i, _ in seen]
        covariance = view.covariance[0]
        gram = covariance[index][:, index] + view.noise[0] * torch.eye(len(seen)).double()
        gain = covariance[:, index] @ torch.linalg.inv(gram) if seen else torch.zeros(12, 0)
        target = torch.tensor([z for _, z in seen], dtype=torch.float64)
        mean = view.mean[0] + gain.double() @ (target - view.mean[0, index])
        variance = (covariance - gain.double() @ covariance[index]).diagonal()
        if h > 0:
            std = variance.clamp_min(1e-10).sqrt() * improvement.SPREAD
            rule = improvement.log_improvement(mean - incumbent, std)
            rule[sorted(tried)] = -torch.inf
            action = int(rule.argmax())
        tried.add(action)
        if not bool(view.fails[0, action]):
            z = float(view.scores[0, h, action])
            share = variance[action] / (variance[action] + view.noise[0, 0])
            incumbent = max(incumbent, float(mean[action] + share * (z - mean[action])))
            seen.append((action, z))
            if float(view.observed[0, h, action]) > score:
                score, value = float(view.observed[0, h, action]), float(view.values[0, action])
        total += float(utility(torch.tensor(-value, dtype=torch.float64)))
    return total / view.observed.shape[1]


def test_continuations_agree_with_dense_conditioning() -> None:
    view = outlook()
    chosen = torch.tensor([[i for i in range(12) if i != 5]])
    mine = foresight._continue(view, chosen)[0]
    expected = torch.tensor([dense(view, int(i)) for i in chosen[0]], dtype=torch.float64)
    torch.testing.assert_close(mine, expected)
    assert float(mine.std()) > 0.01


def test_a_failing_candidate_teaches_nothing_and_costs_a_trial() -> None:
    view = replace(outlook(h=1), best_score=torch.full((1, 1), 9.0).double())
    returns = foresight._continue(view, torch.tensor([[3, 0]]))[0]
    expected = utility(torch.tensor(0.7, dtype=torch.float64))
    torch.testing.assert_close(returns, expected.expand(2))


def test_further_scores_are_on_the_scale_of_the_known_ones() -> None:
    scores = torch.randn(3, 9, generator=generator(0), dtype=torch.float64)
    scored = torch.ones(3, 9, dtype=torch.bool)
    scored[1, 2:] = False
    scores[2] = 4.0
    again = continue_transform(scores, scored, scores)
    known = transform_scores(scores, scored)
    torch.testing.assert_close(torch.where(scored, again, 0.0), known)
    better = continue_transform(scores, scored, scores.amax(-1, keepdim=True) + 0.01)
    assert bool((better[:2, 0] > known[:2].amax(-1)).all()) and float(better[2, 0]) == 0


@pytest.mark.parametrize("better", [0, 2])
def test_contest_prefers_what_led_to_more(better: int) -> None:
    logits = torch.zeros(1, 1, 4, requires_grad=True)
    chosen = torch.tensor([[[0, 1, 2]]])
    returns = torch.nn.functional.one_hot(torch.tensor([[better]]), 3).float()
    update.contest_loss(logits.log_softmax(-1), chosen, returns).backward()
    assert logits.grad is not None
    step = -logits.grad[0, 0]
    assert int(step.argmax()) == better and float(step[better]) > 0
    assert float(step[3].abs()) < 1e-6, "what was not tried is not judged"


def test_contest_ignores_what_all_contenders_share() -> None:
    log_pi = torch.randn(2, 3, 6, generator=generator(0)).log_softmax(-1)
    chosen = torch.tensor([0, 2, 5]).expand(2, 3, 3)
    returns = torch.rand(2, 3, 3, generator=generator(1))
    shared: Tensor = torch.rand(2, 3, 1, generator=generator(2))
    expected = update.contest_loss(log_pi, chosen, returns)
    torch.testing.assert_close(update.contest_loss(log_pi, chosen, returns + shared), expected)
