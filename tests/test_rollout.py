from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import Any

import pytest
import torch
from torch import Tensor

from optuna_rocket.agent import observation
from optuna_rocket.agent import policy
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import HIDDEN
from optuna_rocket.agent.policy import Decision
from optuna_rocket.features import N_TOKEN_FEATURES
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.training import playing
from optuna_rocket.training import rollout
from optuna_rocket.training.rollout import Player
from optuna_rocket.training.rollout import Trajectory
from optuna_rocket.training.rollout import agent_player
from optuna_rocket.training.rollout import greedy_player
from optuna_rocket.training.rollout import utility
from optuna_rocket.training.tasks import Tasks
from optuna_rocket.training.tasks import sample_tasks
from tests.builders import generator
from tests.builders import restless_network


@dataclass
class Witness:
    """Sees the histories of a rollout: what was decided on, and what was observed."""

    decided_on: list[History] = field(default_factory=list)
    observed: list[History] = field(default_factory=list)
    noise: list[Tensor] = field(default_factory=list)


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Witness:
    seen = Witness()
    decide, observe = policy.decide, playing.observe_trial

    def watched_decide(history: History, *arguments: Any, **options: Any) -> Decision:
        seen.decided_on.append(history)
        return decide(history, *arguments, **options)

    def watched_observe(*arguments: Any) -> tuple[History, Tensor]:
        history, value = observe(*arguments)
        seen.observed.append(history)
        seen.noise.append(arguments[-1])
        return history, value

    monkeypatch.setattr(policy, "decide", watched_decide)
    monkeypatch.setattr(playing, "observe_trial", watched_observe)
    return seen


def some_tasks(seed: int = 1, **changes: Any) -> Tasks:
    tasks = sample_tasks(6, generator(seed))
    return Tasks(**{**tasks.__dict__, "delay": 0, **changes})


def play(tasks: Tasks, players: list[Player], **options: Any) -> Trajectory:
    defaults: dict[str, Any] = {
        "noise_seed": 3,
        "n_trials": 10,
        "n_first": 3,
        "n_candidates": 80,
        "horizon_known": False,
    }
    network = options.pop("network", None) or restless_network()
    return rollout.play(tasks, players, network, generator(2), **{**defaults, **options})


def test_shapes_and_ranges() -> None:
    tasks = some_tasks()
    played = play(tasks, [agent_player, greedy_player, agent_player])
    rows, n, m = 18, 10, played.decisions.rule.shape[-1]
    assert played.group_size == 3
    assert played.decisions.candidates.shape == (rows, n, m, len(observation.CANDIDATE_FEATURES))
    assert played.decisions.study.shape == (rows, n, len(observation.STUDY_FEATURES))
    assert played.decisions.tokens.shape == (rows, n, N_TOKEN_FEATURES)
    assert played.decisions.allowed.shape == played.gains.shape == (rows, n, m)
    assert played.actions.shape == played.log_prob.shape == played.regret.shape == (rows, n)
    assert played.decided.tolist() == [False] * 3 + [True] * 7
    assert played.decisions.n_read.tolist() == list(range(10))
    assert bool((played.gains >= 0).all())
    assert bool(((played.regret >= 0) & (played.regret <= 1.5)).all())
    for values in (*played.decisions, played.gains):
        assert bool(torch.isfinite(values).all())
    taken = played.decisions.allowed.gather(-1, played.actions[..., None])[:, played.decided]
    assert bool(taken.all()) and bool((played.log_prob[:, played.decided] <= 0).all())


def test_members_share_first_trials_and_noise(witness: Witness) -> None:
    play(some_tasks(), [greedy_player, greedy_player], n_first=4, n_trials=6)
    last = witness.observed[-1]
    for name in ("units", "outcomes", "scores", "fidelity"):
        first = getattr(last, name)[:, :4]
        torch.testing.assert_close(first[0::2], first[1::2], atol=0, rtol=0, equal_nan=True)
    for noise in witness.noise:
        assert torch.equal(noise[0::2], noise[1::2])
    assert len({tuple(noise[0].tolist()) for noise in witness.noise}) == 6


def test_rollouts_repeat_with_their_seeds() -> None:
    first, again = (play(some_tasks(), [agent_player] * 2) for _ in range(2))
    assert torch.equal(first.actions, again.actions) and torch.equal(first.regret, again.regret)
    other = play(some_tasks(), [agent_player] * 2, noise_seed=4)
    assert not torch.equal(first.regret, other.regret)


def test_recording_changes_nothing() -> None:
    tasks = some_tasks()
    loud, quiet = (play(tasks, [agent_player] * 2, record=record) for record in (True, False))
    assert torch.equal(loud.regret, quiet.regret)


def test_regret_is_that_of_the_trial_that_looks_best(witness: Witness) -> None:
    tasks = some_tasks(
        noise=torch.zeros(6).double(), early_noise=torch.full((6,), torch.nan).double()
    )
    played = play(tasks, [agent_player], n_trials=8)
    history = witness.observed[-1]
    best = history.scores.nan_to_num(-torch.inf).cummax(-1).values
    expected = (-best).clamp(0, 1.5)
    torch.testing.assert_close(played.regret, expected)
    assert bool((played.regret.diff(dim=-1) <= 0).all())


def test_gain_of_the_chosen_candidate_is_the_improvement_it_brought() -> None:
    tasks = some_tasks(
        noise=torch.zeros(6).double(), early_noise=torch.full((6,), torch.nan).double()
    )
    played = play(tasks, [agent_player] * 2, n_first=0)
    start = torch.full((12, 1), 1.5, dtype=torch.float64)
    brought = utility(torch.cat([start, played.regret], 1)).diff(dim=-1)
    promised = played.gains.gather(-1, played.actions[..., None])[..., 0].double()
    torch.testing.assert_close(promised, brought, atol=1e-4, rtol=0)
    assert float(brought.max()) > 0.1


def test_delayed_trials_are_pending_and_unread(witness: Witness) -> None:
    played = play(some_tasks(delay=3), [agent_player], n_first=2, n_trials=12)
    for t, history in enumerate(witness.decided_on):
        pending = history.outcomes == Outcome.PENDING
        if t > 2:
            assert bool(pending[:, -3:].all()) and int(pending.sum(-1).max()) == min(3, t)
            assert not bool(torch.isfinite(history.scores[pending]).any())
        else:
            assert not bool(pending.any())
    lag = torch.arange(12) - played.decisions.n_read
    assert lag[:3].tolist() == [0, 0, 0] and lag[6:].tolist() == [3] * 6
    assert bool((played.decisions.n_read.diff() >= 0).all())


def test_nobody_knows_the_result_of_a_pending_trial(witness: Witness) -> None:
    """The last results differ with the noise; decisions made before they are in do not."""
    loud = torch.ones(6).double()
    tasks = some_tasks(delay=3, noise=loud)
    play(tasks, [greedy_player], n_first=4, n_trials=7)
    history = witness.decided_on[-1]
    complete = history.outcomes == Outcome.COMPLETE
    assert bool(torch.isfinite(history.scores[complete]).all())
    assert torch.equal(complete.any(0), torch.arange(6) < 3)


def test_pruned_trials_are_below_the_median_and_of_less_fidelity(witness: Witness) -> None:
    play(some_tasks(early_noise=torch.full((6,), 0.1).double()), [agent_player], n_trials=15)
    history = witness.observed[-1]
    pruned = history.outcomes == Outcome.PRUNED
    assert bool(pruned.any()) and not bool(pruned[:, :5].any())
    assert bool((history.fidelity[pruned] < 1).all()) and bool(
        (history.fidelity[~pruned] == 1).all()
    )


def test_forgetting_empties_the_recurrent_state(witness: Witness) -> None:
    tasks = some_tasks()
    plain, forgetful = (play(tasks, [agent_player], forget=forget) for forget in (False, True))
    assert not torch.equal(plain.log_prob, forgetful.log_prob)
    assert torch.equal(forgetful.decisions.n_read, plain.decisions.n_read)


def test_the_horizon_is_told_only_when_known() -> None:
    column = observation.STUDY_FEATURES.index("horizon_known")
    for known in (True, False):
        played = play(some_tasks(), [greedy_player], n_trials=4, horizon_known=known)
        assert bool((played.decisions.study[..., column] == float(known)).all())


def test_utility_rewards_halving_alike_and_is_bounded() -> None:
    regret = torch.tensor([3.0, 1.5, 0.8, 0.4, 0.2, 0.0])
    values = utility(regret)
    assert values[0] == values[1] and bool((values[1:].diff() > 0).all())
    halved = values.diff()[2:4]
    assert float(halved[0]) == pytest.approx(float(halved[1]), rel=0.2)


def choose_by_memory(forget: bool) -> float:
    """Accuracy where the right one of two candidates was told by the first of eight tokens."""
    rng = generator(5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = new_network()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    width, n_study = network.from_candidate.in_features, network.context.in_features - HIDDEN
    candidates = torch.zeros(1, 2, width)
    candidates[0, 0, 0] = candidates[0, 1, 1] = 1.0

    def batch(n: int) -> tuple[Tensor, Tensor]:
        tokens = torch.randn(n, 8, N_TOKEN_FEATURES, generator=rng)
        right = torch.randint(0, 2, (n,), generator=rng)
        tokens[:, 0, 0] = 4.0 * right - 2.0
        state = network.encode(tokens, torch.zeros(n, HIDDEN))
        state = torch.zeros_like(state) if forget else state
        study = torch.ones(n, n_study)
        return network(torch.zeros(n, 2), candidates.expand(n, -1, -1), study, state), right

    for _ in range(300):
        logits, right = batch(64)
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(logits, right))
        optimizer.step()
    with torch.no_grad():
        logits, right = batch(2000)
    return float((logits.argmax(-1) == right).double().mean())


def test_only_a_recurrent_policy_can_use_what_an_earlier_token_said() -> None:
    assert choose_by_memory(forget=False) > 0.9
    assert choose_by_memory(forget=True) < 0.55
