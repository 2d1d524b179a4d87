"""Games: one batch of tasks played by the policy and its league, and validation.

Everything here is a function of plain arguments, so that worker processes can play for the loop in
``self_play``.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
import multiprocessing
import random
from typing import Any
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.training.foresight import Labels
from optuna_rocket.training.foresight import foresee
from optuna_rocket.training.league import FIXED_OPPONENTS
from optuna_rocket.training.rollout import Player
from optuna_rocket.training.rollout import Trajectory
from optuna_rocket.training.rollout import agent_player
from optuna_rocket.training.rollout import greedy_player
from optuna_rocket.training.rollout import play
from optuna_rocket.training.rollout import utility
from optuna_rocket.training.tasks import sample_tasks


State = dict[str, Tensor]
VALIDATION_BATCH, VALIDATION_TRIALS = 24, 50


@dataclass(frozen=True)
class Order:
    """What to play.

    Attributes:
        task_seed: Decides the tasks.
        seed: Decides everything else.
        n_tasks: Tasks of the batch.
        members: Members of each group that the policy plays.
        n_candidates: Size of the first pool.
        forget: Whether to empty the recurrent state (ablation).
        n_ahead: Trials that a label looks ahead.
        n_contenders: Candidates of a decision that are labelled.
        with_league: Whether opponents play the same tasks.
    """

    task_seed: int
    seed: int
    n_tasks: int
    members: int
    n_candidates: int
    forget: bool
    n_ahead: int
    n_contenders: int
    with_league: bool


class Game(NamedTuple):
    """What was played: the policy's trajectory and the utilities ``(B, L, T)`` of opponents."""

    task_seed: int
    played: Trajectory
    league: Tensor | None

    def copied(self) -> Game:
        """The same in memory of its own: what comes from a process holds a file descriptor."""
        league = None if self.league is None else self.league.clone()
        return Game(self.task_seed, self.played.copied(), league)

    @property
    def shortfall(self) -> float:
        """How much the policy's mean utility is below that of the best opponent."""
        if self.league is None:
            return 0.0
        mine = utility(self.played.regret).view(len(self.league), -1, self.league.shape[-1])
        return float((self.league.mean(-1).amax(-1) - mine.mean((1, 2))).mean())


def play_order(order: Order, policy_state: State, older_state: State | None) -> Game:
    """Play one batch of tasks."""
    rng = random.Random(order.seed)
    tasks = sample_tasks(order.n_tasks, torch.Generator().manual_seed(order.task_seed))
    generator = torch.Generator().manual_seed(rng.randrange(2**62))
    shared: dict[str, Any] = {
        "noise_seed": rng.randrange(2**62),
        "n_trials": rng.choice((20, 30, 45)),
        "n_first": rng.choice((0, 0, 2, 5)),
        "n_candidates": order.n_candidates,
        "horizon_known": rng.random() < 0.5,
        "forget": order.forget,
    }
    players: list[Player] = [agent_player] * order.members
    played = play(tasks, players, _network(policy_state), generator, **shared)
    if not order.with_league:
        return Game(order.task_seed, played, None)
    shared["record"] = False
    opponents = [play(tasks, FIXED_OPPONENTS, new_network(), generator, **shared)]
    if older_state is not None:
        opponents.append(play(tasks, [greedy_player], _network(older_state), generator, **shared))
    utilities = [utility(x.regret).view(len(tasks), x.group_size, -1) for x in opponents]
    return Game(order.task_seed, played, torch.cat(utilities, 1))


def play_labelled(order: Order, policy_state: State) -> Labels:
    """Play one batch of tasks, labelling decisions on the way."""
    rng = random.Random(order.seed)
    return foresee(
        sample_tasks(order.n_tasks, torch.Generator().manual_seed(order.task_seed)),
        _network(policy_state),
        torch.Generator().manual_seed(rng.randrange(2**62)),
        n_trials=rng.choice((15, 30, 60)),
        n_ahead=order.n_ahead,
        n_contenders=order.n_contenders,
        every=rng.choice((2, 3)),
        n_candidates=order.n_candidates,
        horizon_known=rng.random() < 0.5,
        forget=order.forget,
    )


def play_validation(seed: int, state: State, player: Player, forget: bool) -> Tensor:
    """Normalised regret on fixed tasks, played as in use.

    It is ``(VALIDATION_BATCH, VALIDATION_TRIALS)``.
    """
    played = play(
        sample_tasks(VALIDATION_BATCH, torch.Generator().manual_seed(seed)),
        [player],
        _network(state),
        torch.Generator().manual_seed(seed + 1),
        noise_seed=seed,
        n_trials=VALIDATION_TRIALS,
        n_first=0,
        n_candidates=160,
        horizon_known=False,
        record=False,
        forget=forget,
    )
    return played.regret


@contextmanager
def workers(count: int) -> Iterator[Executor | None]:
    """Processes of one thread each; None, for playing in this process, where one is enough."""
    if count == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    initial = torch.set_num_threads
    with ProcessPoolExecutor(count, context, initializer=initial, initargs=(1,)) as executor:
        yield executor


def run(executor: Executor | None, function: Any, *columns: Any) -> list[Any]:
    """``map`` over the processes, or here."""
    mapped = map(function, *columns) if executor is None else executor.map(function, *columns)
    return list(mapped)


def _network(state: State) -> RecurrentScorer:
    network = new_network()
    network.load_state_dict(state)
    return network
