"""One suggestion: from a study's records to parameters. The adapter's side of the agent."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import partial
import math
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
import torch
from torch import Tensor

from optuna_rocket import beliefs
from optuna_rocket import gaps
from optuna_rocket import rows as encoding
from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import many_goals
from optuna_rocket.agent import memory
from optuna_rocket.agent import policy
from optuna_rocket.agent import proposals
from optuna_rocket.agent import visited
from optuna_rocket.agent.experience import Guide
from optuna_rocket.agent.many_goals import Beliefs
from optuna_rocket.agent.many_goals import Choice
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Belief
from optuna_rocket.agent.policy import Decision
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.beliefs import AnyBelief
from optuna_rocket.beliefs import Evidence
from optuna_rocket.beliefs import Kept
from optuna_rocket.experience import Experience
from optuna_rocket.fidelity.approximation import Reports
from optuna_rocket.fidelity.approximation import approximate
from optuna_rocket.goals import Goals
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.quiet import quietly
from optuna_rocket.records import Record
from optuna_rocket.scores import expected_score
from optuna_rocket.space import Geometry
from optuna_rocket.space import Space
from optuna_rocket.suggestions import Suggestion


# A finite space up to this size is put before the policy whole.
_WHOLE_SPACE = 512
# Up to this size its untried rest is, once half of it has been tried.
_ENUMERABLE = 20_000
_N_CACHED = 8
# A guess about a parameter that none of so many trials has may be misspelled.
_N_BEFORE_UNKNOWN = 5


@dataclass
class Suggester:
    """The loaded agent with caches that only save time.

    Attributes:
        network: The learned part.
        n_trials: Horizon hint.
        experience: What earlier studies and people say.
    """

    network: RecurrentScorer
    n_trials: int | None = None
    experience: Experience | None = None
    _cache: OrderedDict[tuple[str, ...], Kept] = field(default_factory=OrderedDict)

    def suggest(
        self,
        records: Sequence[Record],
        distributions: Mapping[str, BaseDistribution],
        imposed: Mapping[str, float],
        wanted: Collection[str],
        seed: int,
        among: int = 1,
    ) -> tuple[dict[str, Any], Suggestion]:
        """Parameters for ``wanted``, jointly chosen with the rest of ``distributions``.

        Args:
            records: The study's other trials.
            distributions: All parameters that are modelled together.
            imposed: Values that are decided already, in internal representation.
            wanted: Names to return. Those of several that would not exist under the others'
                values (conditional parameters) are left out; a single one is always given.
            seed: Of this suggestion alone.
            among: By lot among so many of the candidates that the agent likes most.

        Raises:
            ArithmeticError: If the agent's numbers are not finite.
        """
        space = self._space(distributions)
        try:
            with quietly():
                decision, chosen, active, expected = self._decide(
                    records, space, imposed, wanted, seed, among
                )
        except Exception:
            self._cache.clear()  # what failed once must not fail all later suggestions
            raise
        decoded = space.decode(decision.pool.units[0, chosen].tolist())
        decoded = {name: decoded[name] for name, on in zip(space.names, active, strict=True) if on}
        internal = {
            name: float(distributions[name].to_internal_repr(value))
            for name, value in decoded.items()
        }
        return {name: decoded[name] for name in wanted if name in decoded}, Suggestion(
            internal | dict(imposed),
            int(decision.pool.kind[0, chosen]),
            float(decision.reading.mean[0, chosen]),
            float(decision.reading.std[0, chosen]),
            *expected,
        )

    def _decide(
        self,
        records: Sequence[Record],
        space: Space,
        imposed: Mapping[str, float],
        wanted: Collection[str],
        seed: int,
        among: int,
    ) -> tuple[Decision | Choice, int, list[bool], tuple[float, float]]:
        generator = torch.Generator(device="cpu").manual_seed(seed)
        # A single parameter that is asked for exists, whatever earlier trials made believe.
        asked = wanted if len(wanted) == 1 else ()
        past, geometry, belief, goals = self.believe(records, space, asked)
        fixed = fixed_units(space, imposed)
        guide = self.guidance(records, space, goals)[0]
        if asked and not records:
            guide = None  # of this parameter of a first trial ``first_value`` knew nothing
        decision = decider(goals, guide)(
            past,
            geometry,
            belief,
            self.network,
            generator,
            horizon=self.n_trials,
            fixed=fixed,
            pool=whole_pool(space, geometry, fixed, past, generator),
        )
        if self.experience is not None and isinstance(decision, Decision):
            self.experience.tell_turned(space, records, decision.expected)
            if len(records) >= _N_BEFORE_UNKNOWN:
                self.experience.tell_unknown({*space.names, *records[0].trial.distributions})
        chosen = int(policy.act(decision.logits)[0])
        if among > 1:
            chosen = _by_lot(decision.logits[0], among, generator)
        if not bool(torch.isfinite(decision.logits[0, chosen])):
            raise ArithmeticError("the agent's logits are not finite")
        expected = (math.nan, math.nan)
        if isinstance(decision, Decision):
            mean, std = decision.reading.mean[0, chosen], decision.reading.std[0, chosen]
            expected = expected_score(decision.scale, float(mean), float(std))
        active = decision.pool.active[0, chosen] & geometry.free[0]
        return decision, chosen, active.tolist(), expected

    def _space(self, distributions: Mapping[str, BaseDistribution]) -> Space:
        """The space of some parameters, the one of the last suggestion where it is the same."""
        kept = self._cache.get(tuple(sorted(distributions)))
        if kept is not None:
            known = kept.evidence.rows.space
            if all(_is_same(known.distributions[name], x) for name, x in distributions.items()):
                return known
        return Space(distributions)

    def guidance(
        self, records: Sequence[Record], space: Space, goals: Goals | None
    ) -> tuple[Guide | None, Sequence[str]]:
        """What experience says of a space, and the names of the earlier studies behind it.

        Several objectives and constraints leave no room to it.
        """
        if self.experience is None:
            return None, ()
        if goals is not None:
            self.experience.tell(
                "source_studies and priors are left out: they are for studies of one objective "
                "without constraints."
            )
            return None, ()
        guide, index = self.experience.over(space, records)
        return guide, [self.experience.names[i] for i in index]

    def believe(
        self, records: Sequence[Record], space: Space, asked: Collection[str] = ()
    ) -> tuple[History, Geometry, Belief | Beliefs, Goals | None]:
        """What the trials say; continues a cached belief whose trials are a prefix.

        ``asked`` names parameters that exist whatever earlier trials made believe.
        """
        kept = self._cache.get(space.names)
        rows = encoding.encode_rows(records, space, kept.evidence.rows if kept else None)
        past, geometry, goals = gaps.explained(rows, asked)
        done = (past.outcomes[0] != Outcome.PENDING).nonzero()[:, 0]
        finished, reached = past, goals
        if len(done) < past.n_trials:
            finished, reached = past.take(done), None if goals is None else goals.take(done)
        told: Sequence[Reports] = ()
        if goals is None and bool((past.outcomes == Outcome.PRUNED).any()):
            reports = encoding.reports(records)  # which matter, and take a while
            past, told = approximate(past, reports), [reports[i] for i in done]
        evidence = Evidence(rows, geometry, finished, reached, told)
        n_settled = int((done == torch.arange(len(done))).sum())
        advance = partial(_advanced, self.network, evidence)
        initial = partial(_initial, evidence)
        kept = beliefs.updated(kept, evidence, n_settled, initial, advance)
        self._cache[space.names] = kept
        self._cache.move_to_end(space.names)
        while len(self._cache) > _N_CACHED:
            self._cache.popitem(last=False)
        return past, geometry, kept.belief, goals


def _is_same(one: BaseDistribution, other: BaseDistribution) -> bool:
    """Whether distributions have the same values: to Optuna choices of 1 and True are equal."""
    if one is other:
        return True
    choices, others = (getattr(x, "choices", ()) for x in (one, other))
    return one == other and [*map(type, choices)] == [*map(type, others)]


def _initial(evidence: Evidence) -> AnyBelief:
    """What is believed before any trial."""
    if evidence.goals is None:
        return policy.initial_belief(evidence.geometry)
    return many_goals.initial_beliefs(evidence.goals, evidence.geometry)


def _advanced(
    network: RecurrentScorer, evidence: Evidence, n: int, belief: AnyBelief
) -> AnyBelief:
    """A belief brought up to date with the first ``n`` finished trials."""
    geometry, finished, goals = evidence.geometry, evidence.finished.first(n), evidence.goals
    if isinstance(belief, Beliefs):
        assert goals is not None
        reached = goals if n == goals.n_trials else goals.take(torch.arange(n))
        return many_goals.believe(reached, finished, geometry, belief, network)
    select = partial(_context, evidence.reports)
    return policy.believe(finished, geometry, belief, network, select)


def _context(reports: Sequence[Reports], history: History, geometry: Geometry) -> History:
    """What the memory holds of the first of some finished trials, as these alone tell it."""
    if reports:
        history = approximate(history, reports[: history.n_trials])
    return memory.context(history, geometry)


def _by_lot(logits: Tensor, among: int, generator: torch.Generator) -> int:
    """One of the best candidates that are not forbidden."""
    n_allowed = max(int(torch.isfinite(logits).sum()), 1)
    best = logits.topk(min(among, n_allowed)).indices
    return int(best[torch.randint(len(best), (1,), generator=generator)])


def decider(goals: Goals | None, guide: Guide | None = None) -> Callable[..., Decision | Choice]:
    """The policy's ``decide`` for a study that wants ``goals``; those leave no room to a guide."""
    if goals is None:
        return partial(policy.decide, guide=guide)
    return partial(many_goals.decide, goals)


def load(
    path: str | Path, n_trials: int | None, experience: Experience | None = None
) -> Suggester:
    """The agent of a checkpoint; see ``checkpoint.load`` for errors."""
    return Suggester(checkpoint.load(path), n_trials, experience)


def fixed_units(space: Space, imposed: Mapping[str, float]) -> Tensor | None:
    """Imposed values as units ``(1, d)``, NaN where free; None if all are free."""
    fixed = torch.full((1, len(space)), torch.nan, dtype=torch.float64)
    for column, name in enumerate(space.names):
        if name in imposed:
            fixed[0, column] = space.encode(column, imposed[name])
    return fixed if bool(torch.isfinite(fixed).any()) else None


def whole_pool(
    space: Space,
    geometry: Geometry,
    fixed: Tensor | None,
    past: History,
    generator: torch.Generator,
) -> Pool | None:
    """All configurations, or all untried ones, of a space that is small enough."""
    free = Space(
        {
            name: distribution
            for column, (name, distribution) in enumerate(space.distributions.items())
            if fixed is None or not bool(torch.isfinite(fixed[0, column]))
            if bool(geometry.free[0, column])
        }
    )
    size = free.n_configurations
    much_tried = size <= _ENUMERABLE and past.n_trials > size / 2
    if len(free) == 0 or (size > _WHOLE_SPACE and not much_tried):
        return None
    units = torch.zeros(1, int(size), len(space), dtype=torch.float64)
    columns = [space.names.index(name) for name in free.names]
    units[0][:, columns] = torch.from_numpy(free.enumerate_units())
    kind = torch.full(units.shape[:2], proposals.KIND["random"])
    pool = proposals.finish(units, kind, geometry, fixed)
    candidates = visited.by(past, geometry).untried(pool.units)
    order = torch.randperm(len(candidates), generator=generator)[:_WHOLE_SPACE]
    return pool.take(candidates[order][None])
