"""The agent's view of a study, now or as it was for an earlier trial, recomputed from storage.

A suggestion is a function of the trials that were stored when it was made, so what the agent
believed then can be computed again at any time. What had finished by then is told by the stored
times: clocks of workers that differ, and trials that were copied in from other studies, blur it.
The agent is that of ``study.sampler`` where this is a ``RocketSampler``, else the shipped one.
Nothing is written to the storage. Callers run under ``suggest.quietly``.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import copy
from dataclasses import dataclass
from datetime import datetime
import math

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import torch
from torch import Tensor

from optuna_rocket import rows as encoding
from optuna_rocket import suggest
from optuna_rocket import trials
from optuna_rocket.agent import memory
from optuna_rocket.agent import policy
from optuna_rocket.agent import weights_file
from optuna_rocket.agent.experience import Guide
from optuna_rocket.agent.experience import Mixture
from optuna_rocket.agent.many_goals import Beliefs
from optuna_rocket.agent.many_goals import Choice
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.policy import Belief
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.features import invert_transform
from optuna_rocket.features import row_distance
from optuna_rocket.features import tokens
from optuna_rocket.goals import Goals
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.sampler import RocketSampler
from optuna_rocket.space import Geometry
from optuna_rocket.space import Space
from optuna_rocket.space import modelled
from optuna_rocket.suggest import Suggester
from optuna_rocket.trials import Record


HALF_WIDTH = 1.2816  # ± so many standard deviations hold 80 %


@dataclass(frozen=True)
class View:
    """What the agent makes of a study's trials; tensors are batches of one.

    Attributes:
        study: The study.
        records: The trials in view, by number, ``n`` of them.
        space: The parameters that the agent models.
        history: The same trials over that space.
        geometry: The space with the conditions found in it.
        goals: What is wanted beside the score, None without constraints.
        beliefs: After the finished trials.
        remembered: The memory, conditioned on the trials.
        suggester: The agent.
        guide: Experience from elsewhere, None without.
        sources: Names of the earlier studies that it is about.
    """

    study: Study
    records: Sequence[Record]
    space: Space
    history: History
    geometry: Geometry
    goals: Goals | None
    beliefs: Belief | Beliefs
    remembered: Conditioned
    suggester: Suggester
    guide: Guide | None
    sources: Sequence[str]

    @property
    def belief(self) -> Belief:
        """The belief of the objective."""
        return _of_objective(self.beliefs)

    @property
    def incumbent(self) -> int | None:
        """Row of the best trial with a score, pruned ones included, None if there is none."""
        if not bool(self.history.scored.any()):
            return None
        return int(self.history.scores.masked_fill(~self.history.scored, -torch.inf).argmax())

    def encode(self, record: Record) -> tuple[Tensor, Tensor]:
        """Units and activity ``(1, 1, d)`` of any record's configuration."""
        row = encoding.history(encoding.encode_rows([record], self.space))
        return row.units, row.active

    def read(self, units: Tensor, active: Tensor) -> Reading:
        """What the memory says of configurations ``(1, m, d)``."""
        return memory.read(self.remembered, units, active)

    def reconsider(
        self, units: Tensor, active: Tensor, kind: int, enqueued: Mapping[str, float], seed: int
    ) -> Decision | Choice:
        """The policy's view of a configuration among candidates that are proposed afresh.

        Args:
            units: The configuration, ``(1, 1, d)``; it becomes the last one of the pool.
            active: Which of its parameters exist, ``(1, 1, d)``.
            kind: Kind of the proposal that it was.
            enqueued: Values that were imposed from outside, in internal representation.
            seed: Of the other candidates.
        """
        past, geometry, space = self.history, self.geometry, self.space
        network, horizon = self.suggester.network, self.suggester.n_trials
        generator = torch.Generator(device="cpu").manual_seed(seed)
        fixed = suggest.fixed_units(space, enqueued)
        pool = suggest.whole_pool(space, geometry, fixed, past, generator)
        decide = suggest.decider(self.goals, self.guide)
        fresh = decide(
            past,
            geometry,
            self.beliefs,
            network,
            generator,
            horizon=horizon,
            fixed=fixed,
            pool=pool,
        ).pool
        others = geometry.keys(fresh.units) != geometry.keys(units)
        fresh = fresh.take(others[0].nonzero()[:, 0][None])
        pool = Pool(
            torch.cat([fresh.units, units], 1),
            torch.cat([fresh.active, active], 1),
            torch.cat([fresh.kind, torch.tensor([[kind]])], 1),
        )
        return decide(past, geometry, self.beliefs, network, generator, horizon=horizon, pool=pool)

    def values(self, transformed: Tensor) -> list[float]:
        """Transformed scores ``(m,)`` as objective values; NaN until two scores differ.

        Values are cut where the memory takes all for equally bad.
        """
        seen = self.remembered.history
        if len(seen.scores[seen.scored].unique()) < 2:
            return [math.nan] * len(transformed)
        scores = invert_transform(seen.scores, seen.scored, transformed[None])[0]
        sign = trials.score_sign(self.study)
        return [sign * score for score in scores.tolist()]

    def distances(self, row: int) -> list[float]:
        """Distance of every trial in view from the one in ``row``: 0 the same, 1 opposite."""
        units = self.history.units
        return [float(x) for x in row_distance(units, units[:, row : row + 1], self.geometry)[0]]

    def relevance(self) -> dict[str, float]:
        """How much each parameter moves two random configurations apart, as shares of 1.

        Names are sorted, greatest first. The squared distance of the memory's kernel is a sum
        over the parameters, ``Σ_j w_j D_j²`` with learned relevances ``w_j``; this is each one's
        part of its expectation. Empty before the first fit, with fewer than 3 finished trials.
        """
        if self.belief.n_links == 0:
            return {}
        geometry = self.geometry
        choices = geometry.n_cells[0].clamp_min(1)
        # E D²: two different choices are 1 apart; uniform units are 1/6 apart in the square.
        apart = torch.where(geometry.is_categorical[0], 1 - 1 / choices, 1 / 6)
        parts = self.belief.weights.relevance[0].exp() * apart
        shares = (parts / parts.sum()).tolist()
        pairs = zip(self.space.names, shares, strict=True)
        return dict(sorted(pairs, key=lambda pair: -pair[1]))

    def influences(self) -> tuple[dict[str, float], dict[str, float]]:
        """Influence of each earlier study and of each guess, as ``reasons.Explanation`` has it.

        Both are empty where experience says nothing of this space.
        """
        if self.guide is None:
            return {}, {}
        mixture, columns = self.remembered.expected, self.guide.guess_columns
        named = [self.space.names[column] for column in columns]
        if not isinstance(mixture, Mixture):  # it has none left, or this trial is a control
            return dict.fromkeys(self.sources, 0.0), dict.fromkeys(named, 0.0)
        pairs = zip(self.sources, mixture.sources.tolist(), strict=True)
        sources = dict(sorted(pairs, key=lambda pair: -pair[1]))
        return sources, dict(zip(named, mixture.guesses.tolist(), strict=True))

    def recurrent_states(self) -> tuple[list[int], Tensor]:
        """Numbers of the ``k`` finished trials, and the recurrent state ``(k, h)`` after each."""
        finished = self._finished()
        history = self.history.take(torch.tensor(finished, dtype=torch.long))
        read = tokens(history, self.geometry)
        state = policy.initial_belief(self.geometry).recurrent_state
        states = []
        for i in range(len(finished)):
            state = self.suggester.network.encode(read[:, i : i + 1], state)
            states.append(state[0])
        stacked = torch.stack(states) if states else torch.zeros(0, state.shape[-1])
        return [self.records[i].number for i in finished], stacked

    def _finished(self) -> list[int]:
        rows = (self.history.outcomes[0] != Outcome.PENDING).nonzero()[:, 0]
        return [int(i) for i in rows]


def look(study: Study, *, with_controls: bool = True) -> View:
    """The view that the next trial's suggestion would have.

    Args:
        study: The study.
        with_controls: Whether it leaves experience aside where that suggestion would.
    """
    stored = study.get_trials(deepcopy=False)
    records = trials.records_of(study, stored, len(stored))
    return _view(study, records, {}, with_controls)


def look_back(study: Study, trial: FrozenTrial) -> View:
    """The view that the agent had when ``trial`` started."""
    stored = [
        _as_of(other, trial.datetime_start)
        for other in study.get_trials(deepcopy=False)
        if _was_there(other, trial)
    ]
    return _view(study, trials.records_of(study, stored, trial.number), trial.distributions)


def require_single_objective(study: Study, what: str) -> None:
    """Raise ``ValueError`` in studies of several objectives."""
    if len(study.directions) > 1:
        raise ValueError(
            f"{what} is about one objective and the study has {len(study.directions)}. Copy the "
            "trials into a study of one of them first, or use optuna.visualization."
        )


def _view(
    study: Study,
    records: Sequence[Record],
    own: dict[str, BaseDistribution],
    with_controls: bool = True,
) -> View:
    """The agent's view of some records; ``own`` is the space where none of them has one."""
    known: dict[str, BaseDistribution] = {}
    for record in records:
        known.update(record.trial.distributions)
    # A parameter that no earlier trial had was asked for by itself, later.
    space = Space(modelled({name: own.get(name, known[name]) for name in known} or own))
    suggester = _agent(study)
    history, geometry, beliefs, goals = suggester.believe(records, space)
    weights = _of_objective(beliefs).weights
    guide, names = suggester.guidance(space, goals)
    heeded = policy.heeded(guide, history) if with_controls else guide
    remembered = memory.condition(memory.context(history), geometry, weights, heeded)
    return View(
        study,
        records,
        space,
        history,
        geometry,
        goals,
        beliefs,
        remembered,
        suggester,
        guide,
        names,
    )


def _of_objective(beliefs: Belief | Beliefs) -> Belief:
    return beliefs.objectives if isinstance(beliefs, Beliefs) else beliefs


def _agent(study: Study) -> Suggester:
    """An agent of its own, so that the sampler's caches stay as they are."""
    sampler = study.sampler
    if isinstance(sampler, RocketSampler):
        return suggest.load(sampler.checkpoint, sampler.n_trials, sampler.experience())
    return suggest.load(weights_file.SHIPPED, None)


def _was_there(other: FrozenTrial, trial: FrozenTrial) -> bool:
    """Whether ``other`` had started when ``trial`` did."""
    if other.number == trial.number or other.state == TrialState.WAITING:
        return False
    waited = {"fixed_params", "retry_history"} & set(trial.system_attrs)
    if other.number > trial.number and not waited:
        return False  # numbers are given out in order, unless a trial waited in the queue
    started, now = other.datetime_start, trial.datetime_start
    return started is None or now is None or started <= now


def _as_of(trial: FrozenTrial, time: datetime | None) -> FrozenTrial:
    """A trial as it was at some time: still running where it ended later."""
    ended = trial.datetime_complete
    if not trial.state.is_finished() or ended is None or time is None or ended <= time:
        return trial
    earlier = copy.copy(trial)
    earlier.state, earlier.values, earlier.intermediate_values = TrialState.RUNNING, None, {}
    return earlier
