"""Studies on synthetic tasks while they are played: the same decisions as in use."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace

import torch
from torch import Tensor

from optuna_rocket.agent import policy
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Belief
from optuna_rocket.agent.policy import Decision
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.history import empty_history
from optuna_rocket.space import Geometry
from optuna_rocket.training.tasks import Playable
from optuna_rocket.training.tasks import repeat_geometry


MAX_REGRET = 1.5  # normalised; also that of a study without a complete trial


@dataclass(frozen=True)
class Playing:
    """Studies of ``B`` tasks under way, each played by ``G`` members; rows are task-major.

    Attributes:
        tasks: The tasks.
        group: G.
        geometry: Of the ``B G`` spaces.
        history: The trials so far.
        values: ``(B G, n)`` their true values.
        belief: What the agent has come to believe.
    """

    tasks: Playable
    group: int
    geometry: Geometry
    history: History
    values: Tensor
    belief: Belief

    @property
    def regret(self) -> Tensor:
        """``(B G,)`` normalised regret of the complete trial with the best score."""
        complete = self.history.outcomes == Outcome.COMPLETE
        if not bool(complete.any()):
            return self.values.new_full(complete.shape[:1], MAX_REGRET)
        scores = self.history.scores.masked_fill(~complete, -torch.inf)
        regret = -self.values.gather(1, scores.argmax(-1, keepdim=True))[:, 0]
        return torch.where(complete.any(-1), regret.clamp(0, MAX_REGRET), MAX_REGRET)

    def look(
        self,
        network: RecurrentScorer,
        generator: torch.Generator,
        *,
        delay: int = 0,
        horizon: int | None = None,
        n_candidates: int = policy.N_CANDIDATES,
        forget: bool = False,
    ) -> tuple[Playing, Decision]:
        """Belief and decision while the last ``delay`` trials are still running."""
        belief = self.belief
        finished = self.history.take(torch.arange(max(0, self.history.n_trials - delay)))
        if finished.n_trials >= belief.n_read:
            belief = policy.believe(finished, self.geometry, belief, network)
        decision = policy.decide(
            as_seen(self.history, delay),
            self.geometry,
            policy.rewound(belief) if forget else belief,
            network,
            generator,
            horizon=horizon,
            n_candidates=n_candidates,
        )
        return replace(self, belief=belief), decision

    def observed(self, decision: Decision, action: Tensor, noise: Tensor) -> Playing:
        """With one more trial: the candidate ``action`` ``(B G,)``, ``noise`` ``(B G, 2)``."""
        history, value = observe_trial(
            self.tasks, self.group, self.history, decision, action, noise
        )
        return replace(self, history=history, values=torch.cat([self.values, value[:, None]], 1))


def begin(tasks: Playable, group: int = 1) -> Playing:
    """Studies without trials."""
    geometry = repeat_geometry(tasks.geometry, group)
    history = empty_history(*geometry.present.shape)
    return Playing(
        tasks, group, geometry, history, history.scores, policy.initial_belief(geometry)
    )


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
