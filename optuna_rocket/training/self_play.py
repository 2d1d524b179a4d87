"""Meta-train the agent by self-play on synthetic tasks.

``python -m optuna_rocket.training.self_play --help``. Four phases share one loop: *clone* (the
choice of a clairvoyant), *exact* (all-action gradient of the gain of the next trial), *foresight*
(all-action gradient of what candidates lead to over several trials), *group* (recurrent group
policy optimisation: what pays over the rest of the study, relative to a group that holds the
policy, a league and the improvement rule). The newest state is written after every evaluation,
and a run started again with the same ``--out`` goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
import copy
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
import json
from pathlib import Path
import random
import time
from typing import Any
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import update
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.returns import discounted_improvements
from optuna_rocket.agent.returns import group_advantages
from optuna_rocket.training import games as games_module
from optuna_rocket.training.foresight import Labels
from optuna_rocket.training.games import VALIDATION_BATCH
from optuna_rocket.training.games import Game
from optuna_rocket.training.games import State
from optuna_rocket.training.games import play_labelled
from optuna_rocket.training.games import play_order
from optuna_rocket.training.games import play_validation
from optuna_rocket.training.league import ExperiencePool
from optuna_rocket.training.league import League
from optuna_rocket.training.league import new_network
from optuna_rocket.training.league import paired_t
from optuna_rocket.training.league import rule_player
from optuna_rocket.training.rollout import PLAY_SHARPNESS
from optuna_rocket.training.rollout import Player
from optuna_rocket.training.rollout import Trajectory
from optuna_rocket.training.rollout import greedy_player
from optuna_rocket.training.rollout import utility


# Training seeds stay below, validation seeds start here, test seeds further up.
VALIDATION_SEED = 10**7
TEST_SEED = 2 * 10**7
# Labelled decisions are dear and age slowly: the policy changes little in as many iterations.
_RECENT_LABELS = 4
PHASES = ("clone", "exact", "foresight", "group")


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """Options of a training run; the defaults, stopped after 80 iterations, made what ships."""

    out: str = _option("runs/default", "folder of checkpoints and log; a run in it is resumed")
    seed: int = _option(0, "seed of tasks, rollouts and initial weights")
    clone: int = _option(0, "iterations of cloning")
    exact: int = _option(0, "iterations of the exact all-action gradient")
    foresight: int = _option(280, "iterations of what candidates lead to within the pool")
    group: int = _option(0, "iterations of recurrent group policy optimisation")
    tasks: int = _option(24, "tasks per iteration and worker")
    members: int = _option(6, "members of a group that the policy plays")
    candidates: int = _option(160, "size of the first pool in training")
    n_ahead: int = _option(6, "foresight: trials that a label looks ahead")
    n_contenders: int = _option(48, "foresight: candidates of a decision that are labelled")
    discount: float = _option(0.9, "group: discount per trial of future improvements")
    learning_rate: float = _option(2e-3, "Adam's rate for clone and exact")
    group_rate: float = _option(1e-3, "Adam's rate for foresight and group")
    averaging: float = _option(0.0, "per update, of the weights that are validated and kept")
    clip: float = _option(0.2, "clip range of the importance ratio")
    update_epochs: int = _option(3, "group: passes over the rollouts of an iteration")
    updates: int = _option(8, "clone and exact: updates per iteration, on recent rollouts")
    recent: int = _option(16, "clone and exact: iterations whose rollouts are kept")
    kl: float = _option(0.02, "weight of the KL divergence to the reference policy")
    exact_weight: float = _option(0.0, "weight of the (short-sighted) exact gradient in group")
    replay: float = _option(0.25, "share of iterations on tasks where the policy lost")
    evaluate_every: int = _option(20, "iterations between evaluations")
    validation: int = _option(10, "batches of 24 validation tasks")
    workers: int = _option(2, "processes that play, of one thread each")
    threads: int = _option(1, "torch threads of the updates")
    device: str = _option("cpu", "cpu, or cuda for the updates (rollouts run on the CPU)")
    forget: int = _option(0, "1 empties the recurrent state (ablation of the recurrence)")


@dataclass
class Progress:
    """Everything that a resumed run needs.

    ``average`` is the moving average of the network's weights: updates are noisy, and it is their
    mean that is validated, kept as reference and shipped.
    """

    network: RecurrentScorer
    average: RecurrentScorer
    reference: RecurrentScorer
    best: RecurrentScorer
    optimizer: torch.optim.Optimizer
    league: League
    pool: ExperiencePool
    reference_utility: Tensor
    recent: deque[Trajectory]
    labels: deque[Labels]
    iteration: int = 0
    best_score: float = -float("inf")
    seconds: float = 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, or go on training."""
    settings = _parse(arguments)
    torch.set_num_threads(settings.threads)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    progress = _resume(settings, out)
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
            _append(out / "log.jsonl", {"iteration": iteration, "phase": phase, **log})
            bar.set_postfix_str(f"{phase} loss {log['loss']:.3f} valid {progress.best_score:.3f}")
            if "valid_utility" in log:
                _store(progress, settings, out)


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
        return _learn_next_trial(progress, settings, phase, games, rng)
    for game in games:
        progress.pool.record(game.task_seed, game.shortfall)
    log = _learn_group(progress, settings, games)
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


def _learn_next_trial(
    progress: Progress, settings: Settings, phase: str, games: list[Game], rng: random.Random
) -> dict[str, float]:
    """Clone or exact: the targets do not depend on who played, so older rollouts serve too."""
    progress.recent.extend(game.played for game in games)
    log: dict[str, float] = {}
    for update_step in range(settings.updates):
        chosen = games[0].played if update_step == 0 else rng.choice(list(progress.recent))
        decisions, gains = _decisions(chosen, settings), chosen.gains[:, chosen.decided]
        log_pi = update.replay(progress.network, decisions)
        if phase == "clone":
            loss = update.cloning_loss(log_pi, gains.to(log_pi.device), temperature=0.1)
        else:
            loss = update.exact_loss(log_pi, gains.to(log_pi.device))
        _learn(progress, settings, loss)
        if update_step == 0:
            log = update.metrics(loss, log_pi)._asdict()
    return log


def _learn(progress: Progress, settings: Settings, loss: Tensor) -> None:
    """One update of the network and of the average of its weights."""
    update.apply_gradient(loss, progress.network, progress.optimizer)
    share = 1 - settings.averaging
    pairs = zip(progress.average.parameters(), progress.network.parameters(), strict=True)
    with torch.no_grad():
        for mean, weight in pairs:
            mean.lerp_(weight, share)


def _learn_group(progress: Progress, settings: Settings, games: list[Game]) -> dict[str, float]:
    """Recurrent group policy optimisation: clipped, anchored to the reference policy."""
    batches = [_group_batch(progress, settings, game) for game in games]
    log: dict[str, float] = {}
    for _ in range(settings.update_epochs):
        for batch in batches:
            log_pi = update.replay(progress.network, batch.decisions, PLAY_SHARPNESS)
            log_prob = log_pi.gather(-1, batch.actions)[..., 0]
            kl = update.divergence(log_pi, batch.log_reference)
            loss = update.clipped_loss(log_prob, batch.behaviour, batch.advantage, settings.clip)
            loss = loss + settings.kl * kl
            loss = loss + settings.exact_weight * update.exact_loss(log_pi, batch.gains)
            _learn(progress, settings, loss)
            clipped = ((log_prob - batch.behaviour).exp() - 1).abs() > settings.clip
            log = update.metrics(loss, log_pi, kl, clipped)._asdict()
    return log


def learn_labels(progress: Progress, settings: Settings, games: list[Labels]) -> dict[str, float]:
    """Policy gradient over the contenders of each decision, anchored to the reference policy."""
    progress.labels.extend(game.copied() for game in games)
    batches = []
    for game in progress.labels:
        decisions = update.Decisions(*(x.to(settings.device) for x in game.decisions))
        with torch.no_grad():
            log_reference = update.replay(progress.reference, decisions)
        contest = (game.chosen.to(settings.device), game.returns.to(settings.device))
        batches.append((decisions, log_reference, contest))
    log: dict[str, float] = {}
    for _ in range(settings.update_epochs):
        for decisions, log_reference, contest in batches:
            log_pi = update.replay(progress.network, decisions)
            kl = update.divergence(log_pi, log_reference)
            loss = update.contest_loss(log_pi, *contest) + settings.kl * kl
            _learn(progress, settings, loss)
            log = update.metrics(loss, log_pi, kl)._asdict()
    return log


class GroupBatch(NamedTuple):
    """One game, ready for the clipped loss; shapes as in ``rollout.Trajectory``."""

    decisions: update.Decisions
    actions: Tensor
    behaviour: Tensor
    advantage: Tensor
    gains: Tensor
    log_reference: Tensor


def _group_batch(progress: Progress, settings: Settings, game: Game) -> GroupBatch:
    played, league = game.played, game.league
    assert league is not None
    start = utility(torch.full(played.regret.shape[:1], 1.5, dtype=torch.float64))
    returns = discounted_improvements(utility(played.regret), start, settings.discount)
    flat = league.flatten(0, 1)
    league_returns = discounted_improvements(flat, start[:1].expand(len(flat)), settings.discount)
    advantage = group_advantages(returns, played.group_size, league_returns.view_as(league))
    advantage = advantage[:, played.decided] / advantage.std().clamp_min(1e-3)
    decisions = _decisions(played, settings)
    with torch.no_grad():
        log_reference = update.replay(progress.reference, decisions, PLAY_SHARPNESS)
    return GroupBatch(
        decisions=decisions,
        actions=played.actions[:, played.decided, None].to(settings.device),
        behaviour=played.log_prob[:, played.decided].to(settings.device),
        advantage=advantage.float().to(settings.device),
        gains=played.gains[:, played.decided].to(settings.device),
        log_reference=log_reference,
    )


def _decisions(played: Trajectory, settings: Settings) -> update.Decisions:
    """The recorded decisions of the policy (not the shared first trials), for replay."""
    decided = played.decided
    n_read = torch.zeros_like(played.n_read) if settings.forget else played.n_read
    return update.Decisions(
        rule=played.rule[:, decided].to(settings.device),
        candidates=played.candidates[:, decided].to(settings.device),
        study=played.study[:, decided].to(settings.device),
        allowed=played.allowed[:, decided].to(settings.device),
        tokens=played.tokens.to(settings.device),
        n_read=n_read[decided],
    )


def validate(
    network: RecurrentScorer,
    settings: Settings,
    executor: Executor | None = None,
    player: Player = greedy_player,
    n_trials: int = 50,
) -> Tensor:
    """Normalised regret ``(tasks, n_trials)`` on the validation tasks."""
    count = settings.validation
    parts: list[Tensor] = games_module.run(
        executor,
        play_validation,
        range(VALIDATION_SEED, VALIDATION_SEED + count),
        [frozen(network)] * count,
        [player] * count,
        [n_trials] * count,
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


def frozen(network: RecurrentScorer) -> State:
    """Frozen copies of the weights, where rollouts run."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


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


def start(network: RecurrentScorer, settings: Settings) -> Progress:
    """The progress of a run that begins with a network, which it will change."""
    reference = copy.deepcopy(network).requires_grad_(False)
    average = copy.deepcopy(network).requires_grad_(False)
    unknown = torch.full((VALIDATION_BATCH * settings.validation,), -1.0, dtype=torch.float64)
    return Progress(
        network,
        average,
        reference,
        copy.deepcopy(average),
        torch.optim.Adam(network.parameters(), lr=settings.learning_rate),
        League(),
        ExperiencePool(),
        unknown,
        deque(maxlen=settings.recent * settings.workers),
        deque(maxlen=settings.workers * _RECENT_LABELS),
    )


def _resume(settings: Settings, out: Path) -> Progress:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = new_network()
    progress = start(network.to(settings.device), settings)
    path = out / "progress.pt"
    if path.exists():
        stored = torch.load(path, weights_only=True)
        for name in ("network", "average", "reference", "best", "optimizer"):
            getattr(progress, name).load_state_dict(stored[name])
        progress.league.selves = stored["selves"]
        progress.pool.losses = stored["losses"]
        if len(stored["reference_utility"]) == len(progress.reference_utility):
            progress.reference_utility = stored["reference_utility"]
        _truncate(out / "log.jsonl", progress_iteration=stored["iteration"])
        progress.iteration = stored["iteration"]
        progress.best_score, progress.seconds = stored["best_score"], stored["seconds"]
    return progress


def _store(progress: Progress, settings: Settings, out: Path) -> None:
    state = {
        name: getattr(progress, name).state_dict()
        for name in ("network", "average", "reference", "best", "optimizer")
    }
    state |= {"selves": progress.league.selves, "losses": progress.pool.losses}
    state |= {"iteration": progress.iteration, "best_score": progress.best_score}
    state |= {"reference_utility": progress.reference_utility, "seconds": progress.seconds}
    torch.save(state, out / "progress.tmp")
    (out / "progress.tmp").replace(out / "progress.pt")
    made_by = {
        "settings": {k: v for k, v in asdict(settings).items() if k != "out"},
        "iterations": progress.iteration,
        "hours": round(progress.seconds / 3600, 2),
        "torch": torch.__version__,
    }
    checkpoint.save(progress.best, out / "best.rocket", made_by)
    checkpoint.save(progress.average, out / "latest.rocket", made_by)


def _truncate(path: Path, progress_iteration: int) -> None:
    """Drop the lines of iterations that will be played again."""
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["iteration"] < progress_iteration]
    path.write_text("".join(kept))


def _append(path: Path, record: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps({k: _short(v) for k, v in record.items()}) + "\n")


def _short(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(
        prog="python -m optuna_rocket.training.self_play",
        description="Meta-train the agent by self-play on synthetic tasks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for option in fields(Settings):
        parser.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=type(option.default),
            default=option.default,
            help=option.metadata["help"],
        )
    return Settings(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
