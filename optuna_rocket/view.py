"""What the agent makes of a study's trials: the record behind explanations and plots.

``m`` is the number of the study's objectives, ``n`` that of the trials in view. Nothing here
writes to the storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
import math

from optuna.study import Study
import torch
from torch import Tensor

from optuna_rocket import departures
from optuna_rocket import fronts
from optuna_rocket import rows as encoding
from optuna_rocket import trials
from optuna_rocket.agent import many_goals
from optuna_rocket.agent import memory
from optuna_rocket.agent import policy
from optuna_rocket.agent.experience import Guide
from optuna_rocket.agent.experience import Mixture
from optuna_rocket.agent.many_goals import Beliefs
from optuna_rocket.agent.many_goals import Known
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.policy import Belief
from optuna_rocket.agent.policy import Turn
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.features import row_distance
from optuna_rocket.features import tokens
from optuna_rocket.goals import Goals
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.records import Record
from optuna_rocket.scores import furthest_scores
from optuna_rocket.scores import invert_transform
from optuna_rocket.space import Geometry
from optuna_rocket.space import Space
from optuna_rocket.suggester import Suggester


_N_OUTCOMES = 512


@dataclass(frozen=True)
class View:
    """What the agent makes of a study's trials; tensors are batches of one.

    Its methods run under ``quiet.quietly``.

    Attributes:
        study: The study.
        records: The trials in view, by number, ``n`` of them.
        space: The parameters that the agent models.
        history: The same trials over that space.
        geometry: The space with the conditions found in it.
        goals: What is wanted beside the score of one objective, None for nothing.
        beliefs: After the finished trials.
        remembered: The memory of the objectives, conditioned on the trials, a batch of ``m``.
        several: That one and those of the constraints, None where nothing but a score is wanted.
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
    several: Known | None
    suggester: Suggester
    guide: Guide | None
    sources: Sequence[str]

    @property
    def belief(self) -> Belief:
        """The belief of the objectives."""
        return self.beliefs.objectives if isinstance(self.beliefs, Beliefs) else self.beliefs

    @property
    def n_objectives(self) -> int:
        """``m``."""
        return len(self.study.directions)

    @cached_property
    def scores(self) -> Tensor:
        """``(m, n)``, NaN where a trial has none."""
        if self.goals is not None:
            return self.goals.scores
        return self.history.scores.expand(self.n_objectives, -1)

    @cached_property
    def counted(self) -> Tensor:
        """``(n,)`` bool: trials with all scores that violate no constraint, pruned ones too."""
        return self.history.scored[0] if self.goals is None else self.goals.feasible

    @cached_property
    def front(self) -> list[int]:
        """Rows of the best trials: those that no other dominates, or the ``incumbent``."""
        if self.n_objectives > 1:
            return fronts.final_front(self.scores, self.counted)
        best = self.incumbent
        return [] if best is None else [best]

    @property
    def incumbent(self) -> int | None:
        """Row of the best trial, pruned ones included, None if there is none.

        Of one objective the one of best score; where none is feasible, the one that violates
        least. Of several objectives the best compromise on the front.
        """
        if self.n_objectives > 1:
            return fronts.compromise(self.scores, self.front) if self.front else None
        if not bool(self.history.scored.any()):
            return None
        scores = self.history.scores if self.goals is None else self.goals.standing
        return int(scores.masked_fill(~self.history.scored, -torch.inf).argmax())

    @property
    def turn(self) -> Turn | None:
        """What the next trial's turn is, None where more is wanted than a score."""
        if self.goals is not None:
            return None
        return policy.turn(self.history, self.remembered, self.guide is not None)

    def least_violating(self, n: int) -> int | None:
        """Row of the trial among the first ``n`` that violates least, None without a score."""
        if self.goals is None or not bool(self.goals.scored[:n].any()):
            return None
        return int(self.goals.take(torch.arange(n)).standing.argmax())

    def encode(self, record: Record) -> tuple[Tensor, Tensor]:
        """Units and activity ``(1, 1, d)`` of any record's configuration."""
        row = encoding.history(encoding.encode_rows([record], self.space))
        row = departures.filled(row, self.geometry.held)
        return row.units, row.active

    def read(self, units: Tensor, active: Tensor) -> tuple[Reading, Tensor]:
        """What the memories say of ``c`` configurations ``(1, c, d)``.

        Returns:
            The reading of the objectives ``(m, c)``, and the chance ``(c,)`` to be feasible.
        """
        if self.several is not None:
            pool = Pool(units, active, torch.full(units.shape[:2], -1))
            reading, log_chance = many_goals.read(self.several, pool)
            return reading, log_chance.exp()
        wide = (self.n_objectives, -1, -1)
        reading = memory.read(self.remembered, units.expand(wide), active.expand(wide))
        return reading, torch.ones(units.shape[1], dtype=torch.float64)

    def values(self, transformed: Tensor, objective: int = 0) -> list[float]:
        """Transformed scores ``(c,)`` as values of an objective; NaN until two scores differ.

        Values are cut where the memory takes all for equally bad.
        """
        sign = trials.score_signs(self.study)[objective]
        return [sign * score for score in self._scores_at(transformed, objective).tolist()]

    def interval(self, bounds: Tensor, objective: int = 0) -> tuple[float, float]:
        """Bounds ``(2,)`` of a transformed score as those of a value, the lower one first.

        A bound beyond which the memory tells no scores apart, good or bad, is infinite. Both are
        NaN until two scores differ.
        """
        (found,) = self.intervals(bounds[None], objective)
        return found

    def intervals(self, bounds: Tensor, objective: int = 0) -> list[tuple[float, float]]:
        """``interval`` of each row of ``bounds`` ``(c, 2)``."""
        worst, best = self._furthest(objective)
        found = self._scores_at(bounds.flatten(), objective).view_as(bounds)
        found = found.masked_fill(found <= worst, -torch.inf).masked_fill(found >= best, torch.inf)
        sign = trials.score_signs(self.study)[objective]
        ascending = (sign * found).sort(-1).values.tolist()
        return [(low, high) for low, high in ascending]

    def told_apart(self, objective: int = 0) -> tuple[float, float]:
        """The lowest and the highest value that the memory tells from those beyond.

        All values beyond count as equally bad, or as equally better than the best one. Both are
        NaN until two scores differ.
        """
        sign = trials.score_signs(self.study)[objective]
        low, high = sorted(sign * score for score in self._furthest(objective))
        return low, high

    def _furthest(self, objective: int) -> tuple[float, float]:
        """The worst and the best score that are told from those beyond."""
        if not self._differ(objective):
            return math.nan, math.nan
        scores, scored, least = self._seen(objective)
        worst, best = furthest_scores(scores, scored, least)[0].tolist()
        return worst, best

    def _scores_at(self, transformed: Tensor, objective: int) -> Tensor:
        """Transformed scores ``(c,)`` as scores."""
        if not self._differ(objective):
            return torch.full_like(transformed, math.nan)
        scores, scored, least = self._seen(objective)
        return invert_transform(scores, scored, transformed[None], least)[0]

    def _differ(self, objective: int) -> bool:
        """Whether two scores of an objective differ."""
        scores, scored, _ = self._seen(objective)
        return len(scores[scored].unique()) > 1

    def _seen(self, objective: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the transform of an objective's scores depends on, batches of one."""
        row = [min(objective, len(self.remembered.incumbent) - 1)]
        seen = self.remembered.history
        least = None if seen.least_unit is None else seen.least_unit[row]
        return seen.scores[row], seen.comparable[row], least

    def hypervolume_gain(self, reading: Reading) -> float:
        """Expected growth of the front's hypervolume by a configuration, as a share of it.

        Beliefs are normal and independent; NaN for one objective, without a front, and until two
        scores of every objective differ. ``fronts`` says where the reference point lies.

        Args:
            reading: Of the configuration, ``(m, 1)``.
        """
        if self.n_objectives == 1 or not self.front:
            return math.nan
        generator = torch.Generator(device="cpu").manual_seed(0)
        shape = (self.n_objectives, _N_OUTCOMES)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        outcomes = reading.mean + reading.std * noise
        samples = torch.stack([self._scores_at(row, k) for k, row in enumerate(outcomes)])
        if not bool(torch.isfinite(samples).all()):
            return math.nan
        return fronts.expected_gain(self.scores, self.counted, self.front, samples)

    def distances(self, row: int) -> list[float]:
        """Distance of every trial in view from the one in ``row``: 0 the same, 1 opposite.

        More where a value lies beyond its latest range.
        """
        units = self.history.units
        return [float(x) for x in row_distance(units, units[:, row : row + 1], self.geometry)[0]]

    def nearest(self, units: Tensor, rows: Sequence[int]) -> tuple[int | None, float]:
        """The trial nearest to a configuration ``(1, 1, d)`` among some rows, and its distance."""
        if not rows:
            return None, math.nan
        distance = row_distance(self.history.units[:, list(rows)], units, self.geometry)[0]
        least = int(distance.argmin())
        return rows[least], float(distance[least])

    def relevance(self, objective: int = 0) -> dict[str, float]:
        """How much each parameter moves two random configurations apart, as shares of 1.

        Names are sorted, greatest first. The squared distance of the kernel of an objective's
        memory is a sum over the parameters, ``Σ_j w_j D_j²`` with learned relevances ``w_j``; this
        is each one's part of its expectation. Empty before the first fit, with fewer than 3
        finished trials, and until two scores differ.
        """
        if self.belief.n_links == 0 or not self._differ(objective):
            return {}
        geometry = self.geometry
        n_values = geometry.n_cells[0].double()  # 0 where continuous
        # E D²: two different choices are 1 apart; units are 1/6 apart in the square, the centres
        # of a grid a little less.
        numeric = torch.where(n_values > 0, 1 - n_values.clamp_min(1) ** -2, 1) / 6
        apart = torch.where(geometry.is_categorical[0], 1 - 1 / n_values, numeric)
        parts = self.belief.weights.relevance[objective].exp() * apart
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
        sign = -1 if mixture.is_turned else 1
        shares = [sign * x if x else 0.0 for x in mixture.sources.tolist()]
        pairs = zip(self.sources, shares, strict=True)
        sources = dict(sorted(pairs, key=lambda pair: -abs(pair[1])))
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
