"""Play studies on synthetic tasks: the same decisions as in use, with everything recorded.

A group is one task played by several members at once. Members share the task, the noise of the
observations and the first trials (common random numbers), so that what differs is what they chose.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import torch
from torch import Tensor

from optuna_rocket.agent import policy
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Belief
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.features import N_TOKEN_FEATURES
from optuna_rocket.features import tokens
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.history import empty_history
from optuna_rocket.space import Geometry
from optuna_rocket.training.tasks import Playable
from optuna_rocket.training.tasks import random_units
from optuna_rocket.training.tasks import repeat_geometry


# A member of a group: chooses an index ``(rows,)`` from a decision.
Player = Callable[[Decision, torch.Generator], Tensor]
_FLOOR = 0.02
# Inverse temperature of sampling in rollouts. At 1 the policy is so even over a pool of good
# candidates that what it earns says little of its greedy use.
PLAY_SHARPNESS = 4.0


@dataclass(frozen=True)
class Trajectory:
    """What ``B`` tasks times ``G`` members played for ``T`` trials; rows are task-major.

    Attributes:
        rule: ``(B G, T, m)`` network inputs of every decision, as are the next two.
        candidates: ``(B G, T, m, f)``.
        study: ``(B G, T, s)``.
        allowed: ``(B G, T, m)`` candidates that exist and repeat nothing.
        tokens: ``(B G, T, k)`` token of every trial.
        n_read: ``(T,)`` tokens that had been read when the decision was made.
        actions: ``(B G, T)`` index of the chosen candidate.
        log_prob: ``(B G, T)`` of the action under the policy as ``agent_player`` samples it.
        decided: ``(T,)`` bool, False for the shared first trials.
        regret: ``(B G, T)`` normalised regret of the incumbent after each trial, at most 1.5.
        gains: ``(B G, T, m)`` utility that each candidate would truly have gained.
        group_size: G.
    """

    rule: Tensor
    candidates: Tensor
    study: Tensor
    allowed: Tensor
    tokens: Tensor
    n_read: Tensor
    actions: Tensor
    log_prob: Tensor
    decided: Tensor
    regret: Tensor
    gains: Tensor
    group_size: int


def utility(regret: Tensor) -> Tensor:
    """Log-scale utility of a normalised regret: halving it is worth the same anywhere."""
    return -torch.log10(regret.clamp(0, 1.5) + _FLOOR)


@torch.no_grad()
def play(
    tasks: Playable,
    players: Sequence[Player],
    network: RecurrentScorer,
    generator: torch.Generator,
    *,
    noise_seed: int,
    n_trials: int,
    n_first: int,
    n_candidates: int,
    horizon_known: bool,
    record: bool = True,
    forget: bool = False,
) -> Trajectory:
    """Play every task with every player.

    Args:
        tasks: B tasks.
        players: G members of each group.
        network: Gives the logits that players see; a player may ignore them.
        generator: Randomness of proposals and actions.
        noise_seed: Randomness that all members share: observation noise and first trials.
        n_trials: T.
        n_first: Number of first trials that are random and shared by the group.
        n_candidates: Size of the first pool.
        horizon_known: Whether the policy is told T.
        record: Whether to keep the inputs for training (large).
        forget: Whether to empty the recurrent state before every decision (ablation).
    """
    group = len(players)
    geometry = repeat_geometry(tasks.geometry, group)
    batch, d = geometry.present.shape
    shared = torch.Generator().manual_seed(noise_seed)
    noise = torch.randn(len(tasks), n_trials, 2, generator=shared, dtype=torch.float64)
    noise = noise.repeat_interleave(group, 0)
    first = random_units(tasks.geometry, max(n_first, 1), shared)
    first = first.repeat_interleave(group, 0)
    history, values = empty_history(batch, d), torch.zeros(batch, 0, dtype=torch.float64)
    belief, steps, regrets, n_read = policy.initial_belief(geometry), [], [], []
    best = torch.full((batch,), 1.5, dtype=torch.float64)
    horizon = n_trials if horizon_known else None
    for t in range(n_trials):
        belief, decision = look(
            geometry,
            history,
            belief,
            network,
            generator,
            delay=tasks.delay if t > n_first else 0,
            horizon=horizon,
            n_candidates=n_candidates,
            forget=forget,
        )
        n_read.append(belief.n_read)
        if t < n_first:
            decision = _impose(
                decision, first[:, t : t + 1], geometry.activity(first)[:, t : t + 1]
            )
            action = torch.zeros(batch, dtype=torch.long)
        else:
            action = _choose(decision, players, group, generator)
        history, value = observe_trial(tasks, group, history, decision, action, noise[:, t])
        values = torch.cat([values, value[:, None]], 1)
        if record:
            steps.append(_step_record(tasks, group, decision, action, best))
        best = incumbent_regret(history, values)
        regrets.append(best)
    decided = torch.arange(n_trials) >= n_first
    regret = torch.stack(regrets, 1)
    return _trajectory(steps, history, geometry, n_read, decided, regret, group)


def look(
    geometry: Geometry,
    history: History,
    belief: Belief,
    network: RecurrentScorer,
    generator: torch.Generator,
    *,
    delay: int = 0,
    horizon: int | None = None,
    n_candidates: int = policy.N_CANDIDATES,
    forget: bool = False,
) -> tuple[Belief, Decision]:
    """Belief and decision while the last ``delay`` trials are still running."""
    n = history.n_trials
    finished = history.take(torch.arange(max(0, n - delay)))
    if finished.n_trials >= belief.n_read:
        belief = policy.believe(finished, geometry, belief, network)
    decision = policy.decide(
        as_seen(history, delay),
        geometry,
        policy.rewound(belief) if forget else belief,
        network,
        generator,
        horizon=horizon,
        n_candidates=n_candidates,
    )
    return belief, decision


def agent_player(decision: Decision, generator: torch.Generator) -> Tensor:
    """The policy, sampled at a low temperature: near enough to its greedy use to improve that."""
    return policy.act(decision.logits * PLAY_SHARPNESS, generator)


def greedy_player(decision: Decision, generator: torch.Generator) -> Tensor:
    """The policy, greedy, as in use."""
    return policy.act(decision.logits)


def _choose(
    decision: Decision, players: Sequence[Player], group: int, generator: torch.Generator
) -> Tensor:
    action = torch.zeros(len(decision.logits), dtype=torch.long)
    for member, player in enumerate(players):
        rows = torch.arange(member, len(action), group)
        action[rows] = player(_rows(decision, rows), generator)
    return action


def _rows(decision: Decision, rows: Tensor) -> Decision:
    pool, inputs, reading = decision.pool, decision.inputs, decision.reading
    return Decision(
        Pool(pool.units[rows], pool.active[rows], pool.kind[rows]),
        decision.logits[rows],
        type(inputs)(*(x[rows] for x in inputs)),
        type(reading)(*(getattr(reading, k)[rows] for k in reading.__dataclass_fields__)),
    )


def _impose(decision: Decision, units: Tensor, active: Tensor) -> Decision:
    """Put given configurations ``(B, 1, d)`` in place of the first candidate.

    As with a trial that somebody else made, nothing was expected of it.
    """
    pool, reading = decision.pool, decision.reading
    unknown = torch.full_like(reading.mean[:, :1], torch.nan)
    imposed = Pool(
        torch.cat([units, pool.units[:, 1:]], 1),
        torch.cat([active, pool.active[:, 1:]], 1),
        torch.cat([torch.full_like(pool.kind[:, :1], -1), pool.kind[:, 1:]], 1),
    )
    mean = torch.cat([unknown, reading.mean[:, 1:]], 1)
    std = torch.cat([unknown, reading.std[:, 1:]], 1)
    return decision._replace(pool=imposed, reading=replace(reading, mean=mean, std=std))


def as_seen(history: History, delay: int) -> History:
    """The history as seen while the last ``delay`` trials are still running."""
    if delay == 0:
        return history
    late = torch.arange(history.n_trials) >= history.n_trials - delay
    return replace(
        history,
        outcomes=torch.where(late, int(Outcome.PENDING), history.outcomes),
        scores=torch.where(late, torch.nan, history.scores),
    )


def observe_trial(
    tasks: Playable,
    group: int,
    history: History,
    decision: Decision,
    action: Tensor,
    noise: Tensor,
) -> tuple[History, Tensor]:
    """Evaluate the chosen candidates and append the trials; also their true values ``(B G,)``."""
    chosen = decision.pool.take(action[:, None])
    shape = (len(tasks), group, -1)
    value = tasks.evaluate(chosen.units.view(shape)).view(-1)
    failed = tasks.fails(chosen.units.view(shape)).view(-1)
    score = value + noise[:, 0] * tasks.noise.repeat_interleave(group)
    rung = score + noise[:, 1] * tasks.early_noise.repeat_interleave(group)
    scored = history.scores.masked_fill(~history.scored, torch.nan)
    median = scored.nanmedian(-1).values if history.n_trials else torch.full_like(rung, torch.nan)
    pruned = ~failed & (rung < median) & (history.n_trials >= 5)
    outcome = torch.where(pruned, int(Outcome.PRUNED), int(Outcome.COMPLETE))
    outcome = torch.where(failed, int(Outcome.FAILED), outcome)
    score = torch.where(failed, torch.nan, torch.where(pruned, rung, score))
    fidelity = torch.where(pruned, 1 / 3, torch.ones_like(score))
    expected = [decision.reading.mean, decision.reading.std]
    predicted = torch.stack([x.gather(1, action[:, None]) for x in expected], -1)
    history = History(
        torch.cat([history.units, chosen.units], 1),
        torch.cat([history.active, chosen.active], 1),
        torch.cat([history.outcomes, outcome[:, None]], 1),
        torch.cat([history.scores, score[:, None]], 1),
        torch.cat([history.fidelity, fidelity[:, None]], 1),
        torch.cat([history.predicted, predicted], 1),
        torch.cat([history.kind, chosen.kind], 1),
        torch.cat([history.errors, torch.zeros_like(score)[:, None]], 1),
    )
    return history, value


def incumbent_regret(history: History, values: Tensor) -> Tensor:
    """Normalised regret of the true value of the complete trial with the best score."""
    complete = history.outcomes == Outcome.COMPLETE
    scores = history.scores.masked_fill(~complete, -torch.inf)
    regret = -values.gather(1, scores.argmax(-1, keepdim=True))[:, 0]
    return torch.where(complete.any(-1), regret.clamp(0, 1.5), 1.5)


def _step_record(
    tasks: Playable, group: int, decision: Decision, action: Tensor, best: Tensor
) -> dict[str, Tensor]:
    pool, logits = decision.pool, decision.logits
    batch, m = logits.shape
    shape = (len(tasks), group * m, -1)
    regret = -tasks.evaluate(pool.units.view(shape)).view(batch, m)
    fails = tasks.fails(pool.units.view(shape)).view(batch, m)
    gain = (utility(regret) - utility(best)[:, None]).clamp_min(0)
    return {
        "rule": decision.inputs.rule,
        "candidates": decision.inputs.candidates,
        "study": decision.inputs.study,
        "allowed": torch.isfinite(logits),
        "actions": action,
        "log_prob": (logits * PLAY_SHARPNESS).log_softmax(-1).gather(1, action[:, None])[:, 0],
        "gains": torch.where(fails, 0.0, gain).float(),
    }


def _trajectory(
    steps: list[dict[str, Tensor]],
    history: History,
    geometry: Geometry,
    n_read: list[int],
    decided: Tensor,
    regret: Tensor,
    group: int,
) -> Trajectory:
    width = max((step["rule"].shape[1] for step in steps), default=0)
    names = ("rule", "candidates", "study", "allowed", "actions", "log_prob", "gains")
    stacked = {
        name: torch.stack([_widen(step[name], name, width) for step in steps], 1)
        if steps
        else torch.zeros(0)
        for name in names
    }
    read = tokens(history, geometry) if steps else torch.zeros(0, 0, N_TOKEN_FEATURES)
    return Trajectory(
        tokens=read,
        n_read=torch.tensor(n_read),
        decided=decided,
        regret=regret,
        group_size=group,
        **stacked,
    )


def _widen(values: Tensor, name: str, width: int) -> Tensor:
    """Pad the candidates of a decision with ones that are not allowed."""
    if name in ("study", "actions", "log_prob"):
        return values
    missing = width - values.shape[1]
    return torch.cat([values, values.new_zeros(values.shape[0], missing, *values.shape[2:])], 1)
