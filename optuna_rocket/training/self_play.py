"""Meta-train the agent by self-play on synthetic tasks.

``python -m optuna_rocket.training.self_play --help``. Four phases share one loop: *clone* (the
choice of a clairvoyant), *exact* (all-action gradient of the gain of the next trial), *foresight*
(all-action gradient of what candidates lead to over several trials), *group* (recurrent group
policy optimisation: what pays over the rest of the study, relative to a group that holds the
policy, a league and the improvement rule). The newest state is written after every evaluation,
and a run started again with the same ``--out`` goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
import copy
from pathlib import Path
import random
import sys
import time

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.training import games as games_module
from optuna_rocket.training.foresight import Labels
from optuna_rocket.training.games import Game
from optuna_rocket.training.games import play_labelled
from optuna_rocket.training.games import play_order
from optuna_rocket.training.games import play_validation
from optuna_rocket.training.league import paired_t
from optuna_rocket.training.league import rule_player
from optuna_rocket.training.lessons import learn_group
from optuna_rocket.training.lessons import learn_labels
from optuna_rocket.training.lessons import learn_next_trial
from optuna_rocket.training.progress import Progress
from optuna_rocket.training.progress import append_log
from optuna_rocket.training.progress import frozen
from optuna_rocket.training.progress import resume
from optuna_rocket.training.progress import store
from optuna_rocket.training.rollout import Player
from optuna_rocket.training.rollout import greedy_player
from optuna_rocket.training.rollout import utility
from optuna_rocket.training.settings import PHASES
from optuna_rocket.training.settings import VALIDATION_SEED
from optuna_rocket.training.settings import Settings
from optuna_rocket.training.settings import parse_settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or go on training."""
    settings = parse_settings(arguments)
    torch.set_num_threads(settings.threads)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        progress = resume(settings, out)
    except ValueError as error:
        sys.exit(f"error: {error}")
    total = sum(getattr(settings, phase) for phase in PHASES)
    if progress.iteration >= total:
        print(f"{out} holds {progress.iteration} iterations already; nothing to do.")
        return
    with games_module.workers(settings.workers) as executor:
        baseline = validate(new_network(), settings, executor, rule_player)
        if progress.iteration == 0:  # the first reference plays the rule
            progress.reference_utility = utility(baseline).mean(-1)
        bar = tqdm(range(progress.iteration, total), initial=progress.iteration, total=total)
        for iteration in bar:
            started = time.monotonic()
            phase = _phase(settings, iteration)
            _set_rate(progress, settings, phase)
            log = _iterate(progress, settings, phase, executor)
            progress.iteration = iteration + 1
            if progress.iteration % settings.evaluate_every == 0 or progress.iteration == total:
                log |= _evaluate(progress, settings, phase, baseline, executor)
            progress.seconds += time.monotonic() - started
            append_log(out / "log.jsonl", {"iteration": iteration, "phase": phase, **log})
            bar.set_postfix_str(f"{phase} loss {log['loss']:.3f} valid {progress.best_score:.3f}")
            if "valid_utility" in log:
                store(progress, settings, out)


def _iterate(
    progress: Progress, settings: Settings, phase: str, executor: Executor | None
) -> dict[str, float]:
    """One batch of tasks for every worker, played and learned from."""
    rng = random.Random(f"{settings.seed} {progress.iteration}")
    orders = [_order(progress, settings, phase, rng) for _ in range(settings.workers)]
    states = [frozen(progress.network)] * len(orders)
    if phase == "foresight":
        labels: list[Labels] = games_module.run(executor, play_labelled, orders, states)
        return learn_labels(progress, settings, labels)
    older = [progress.league.draw(rng) for _ in orders]
    games: list[Game] = games_module.run(executor, play_order, orders, states, older)
    games = [game.copied() for game in games]
    if phase != "group":
        return learn_next_trial(progress, settings, phase, games, rng)
    for game in games:
        progress.pool.record(game.task_seed, game.shortfall)
    log = learn_group(progress, settings, games)
    return log | {"shortfall": sum(game.shortfall for game in games) / len(games)}


def _order(
    progress: Progress, settings: Settings, phase: str, rng: random.Random
) -> games_module.Order:
    lost = progress.pool.draw(rng) if phase == "group" and rng.random() < settings.replay else None
    return games_module.Order(
        task_seed=lost if lost is not None else rng.randrange(1, VALIDATION_SEED),
        seed=rng.randrange(2**62),
        n_tasks=settings.tasks,
        members=settings.members,
        n_candidates=settings.candidates,
        forget=bool(settings.forget),
        n_ahead=settings.n_ahead,
        n_contenders=settings.n_contenders,
        with_league=phase == "group",
    )


def validate(
    network: RecurrentScorer,
    settings: Settings,
    executor: Executor | None = None,
    player: Player = greedy_player,
) -> Tensor:
    """Normalised regret ``(tasks, trials)`` on the validation tasks."""
    count = settings.validation
    parts: list[Tensor] = games_module.run(
        executor,
        play_validation,
        range(VALIDATION_SEED, VALIDATION_SEED + count),
        [frozen(network)] * count,
        [player] * count,
        [bool(settings.forget)] * count,
    )
    return torch.cat(parts)


def _evaluate(
    progress: Progress,
    settings: Settings,
    phase: str,
    baseline: Tensor,
    executor: Executor | None,
) -> dict[str, float]:
    """Validate; replace the reference, the best and the league when the policy got better."""
    regret = validate(progress.average, settings, executor)
    mine = utility(regret).mean(-1)
    score = float(mine.mean())
    log = {
        "valid_utility": score,
        "rule_utility": float(utility(baseline).mean()),
        "t_against_rule": paired_t(mine - utility(baseline).mean(-1)),
        **{f"regret_{n}": float(regret[:, n - 1].mean()) for n in (5, 10, 25, 50)},
        **{f"rule_regret_{n}": float(baseline[:, n - 1].mean()) for n in (5, 10, 25, 50)},
    }
    if score > progress.best_score:
        progress.best_score = score
        progress.best = copy.deepcopy(progress.average)
    # The reference follows only a policy that beats it in a paired test on the same tasks.
    t = paired_t(mine - progress.reference_utility)
    replaced = t > 1.65 or phase in ("clone", "exact")
    if replaced:
        progress.reference_utility = mine
        progress.reference = copy.deepcopy(progress.average).requires_grad_(False)
        progress.league.admit(frozen(progress.average))
    return log | {"t_against_reference": t, "reference_replaced": float(replaced)}


def _phase(settings: Settings, iteration: int) -> str:
    for phase in PHASES:
        iteration -= getattr(settings, phase)
        if iteration < 0:
            return phase
    raise ValueError("the run is longer than its phases")


def _set_rate(progress: Progress, settings: Settings, phase: str) -> None:
    rate = settings.learning_rate
    before = settings.clone + settings.exact
    if progress.iteration >= before:
        done = (progress.iteration - before) / (settings.foresight + settings.group)
        rate = settings.group_rate * (1 - 0.9 * done)
    for group in progress.optimizer.param_groups:
        group["lr"] = rate


if __name__ == "__main__":
    main()
