"""What earlier studies and a person's guesses say of a study, and how much of it holds here.

Every earlier study gets a memory of its own over today's space, and every guess a curve over its
parameter. Each is a function ``f`` of the configuration, and the scores are taken for

    ``z(x) = c + Σ_k a_k f_k(x) + g(x) + noise``,  ``a_k ≥ 0``,

where ``g`` is what the memory of today's trials models. The coefficients have a prior, so that
they count before the first trial, and the trials shift it: the posterior of a Gaussian-process
regression with explicit basis functions (Rasmussen & Williams 2006, eq. 2.42). Only what has
earned ``trust`` takes part, and counts as far as it has. Sources that have lost it together are
tried *turned round*, with the worst for the best: who is surely and repeatedly wrong, as a study
with the wrong direction is, knows as much as who is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import math
from typing import NamedTuple

import torch
from torch import Tensor

from optuna_rocket.agent import memory
from optuna_rocket.agent import proposals
from optuna_rocket.agent import trust
from optuna_rocket.agent import visited
from optuna_rocket.agent.guesses import Guesses
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.agent.sources import Sources
from optuna_rocket.agent.trust import Trust
from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import Geometry


# At most this many sources are read for a suggestion; which, the trials decide.
MAX_ACTIVE = 8
# Prior of the sum of the sources' coefficients (mean, standard deviation), and of each guess's.
SOURCE_PRIOR = (1.0, 0.7)
GUESS_PRIOR = (0.5, 0.5)
LEAST_TRUST = 0.2
SPREAD_PRIOR = 0.5
SPREAD_WEIGHT = 4.0
# Experience counts in full up to the first number of scores, and from the second on not at all:
# by then the study's own trials know better, and what experience hides could stay hidden.
FADE = (20, 40)
# Log odds that sources and guesses hold before the first trial.
SOURCE_ODDS = 0.6
CONSENSUS_ODDS = 0.6
GUESS_ODDS = 0.6
# Sources that are not believed are tested turned round, with odds against them: less where they
# agree with each other, which those that mean nothing here do not.
TURNED_ODDS = -1.0
AGREEMENT_ODDS = 1.0
# The first trials, but for the control among them, are the best ones of the sources.
_FAVOURITES_UNTIL = 4
_INTERCEPT_STD = 2.0
_N_DRAWS = 16
_NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Mixture:
    """An expectation: sources and guesses with the coefficients that the trials left them.

    Attributes:
        sources: Coefficients ``(S,)`` of all sources.
        guesses: Coefficients ``(p,)``.
        spread: See ``memory.Expectation``.
        is_turned: Whether the sources are read turned round.
    """

    guide: Guide
    sources: Tensor
    guesses: Tensor
    spread: float
    is_turned: bool = False

    @property
    def read(self) -> Sources | None:
        """The sources as they are read."""
        return self.guide.turned if self.is_turned else self.guide.sources

    def __call__(self, units: Tensor, active: Tensor) -> Tensor:
        """Expected transformed scores ``(1, m)`` of configurations ``(1, m, d)``."""
        total = torch.zeros(units.shape[1], dtype=torch.float64)
        used = (self.sources > _NEGLIGIBLE).nonzero()[:, 0]
        if self.read is not None and len(used) and units.shape[1]:
            total = total + self.sources[used] @ self.read.said(units[0], active[0], used)
        if self.guide.guesses is not None:
            total = total + self.guesses @ self.guide.guesses.read(units[0], active[0])
        return total[None]


@dataclass(frozen=True)
class Guide:
    """All experience over one space; a ``memory.Experience`` for a batch of one."""

    sources: Sources | None
    guesses: Guesses | None

    @cached_property
    def turned(self) -> Sources | None:
        """The sources turned round; read when they are first needed."""
        return None if self.sources is None else self.sources.turned()

    @property
    def guess_columns(self) -> list[int]:
        """Columns of the parameters with a guess."""
        return [] if self.guesses is None else [int(j) for j in self.guesses.columns]

    def learned(self, history: History, z: Tensor, factor: Tensor) -> Mixture | None:
        """See ``memory.Experience``."""
        rows = history.scored[0].nonzero()[:, 0]
        units, active = history.units[0, rows], history.active[0, rows]
        target, force = z[0, rows], (FADE[1] - len(rows)) / (FADE[1] - FADE[0])
        if force <= 0:
            return None
        by_sources = self._believed_sources(units, active, target)
        by_guesses = self._believed_guesses(units, active, target)
        said = torch.cat([by_sources.said, by_guesses.said])
        n_sources = len(by_sources.said)
        mean, std = _prior(n_sources, len(by_guesses.said))
        root = factor[0][rows][:, rows]  # rows without a score are an identity of their own
        found = _posterior(said, target, root, mean, std)
        weights = torch.cat(
            [
                by_sources.belief * _trusted(found[:n_sources], LEAST_TRUST),
                by_guesses.belief * found[n_sources:].clamp_min(0),
            ]
        )
        weights = weights * min(force, 1.0)
        if float(weights.sum()) < _NEGLIGIBLE:
            return None
        residual = target - weights @ said
        residual = residual - residual.mean() if len(residual) else residual
        spread = 1 - min(force, 1.0) * (1 - _spread(residual, root))
        return Mixture(
            self,
            _spread_out(weights[:n_sources], by_sources.which, len(self.sources or ())),
            _spread_out(weights[n_sources:], by_guesses.which, len(self.guess_columns)),
            spread,
            by_sources.is_turned,
        )

    def _believed_sources(self, units: Tensor, active: Tensor, z: Tensor) -> _Believed:
        if self.sources is None:
            return _nothing(len(z))
        said = self.sources.table(units, active)
        known = trust.earned(said, z, SOURCE_ODDS + CONSENSUS_ODDS * self.sources.consensus)
        if known.joint > 0 or self.turned is None:
            return _believed(said, known)
        said = self.turned.table(units, active)
        odds = TURNED_ODDS + AGREEMENT_ODDS * self.turned.agreement
        known = trust.earned(said, z, odds, are_doubted=True)
        return _believed(said, known)._replace(is_turned=True)

    def _believed_guesses(self, units: Tensor, active: Tensor, z: Tensor) -> _Believed:
        if self.guesses is None:
            return _nothing(len(z))
        said = self.guesses.read(units, active)
        odds = torch.full((len(said),), GUESS_ODDS, dtype=torch.float64)
        return _believed(said, trust.earned(said, z, odds))

    def elites(self, mixture: Mixture, geometry: Geometry, generator: torch.Generator) -> Tensor:
        """Units ``(k, d)`` that experience recommends, what it does not know drawn at random."""
        found = []
        if mixture.read is not None:
            used = (mixture.sources > _NEGLIGIBLE).nonzero()[:, 0]
            found.append(mixture.read.elites[used].flatten(0, 1))
        d = geometry.present.shape[-1]
        if self.guesses is not None:
            drawn = torch.full((_N_DRAWS, d), torch.nan, dtype=torch.float64)
            drawn[:, self.guesses.columns] = self.guesses.draw(_N_DRAWS, generator)
            found.append(drawn)
        return _filled(torch.cat(found), geometry, generator)


def propose(
    remembered: Conditioned,
    n_candidates: int,
    generator: torch.Generator,
    fixed: Tensor | None = None,
) -> Pool:
    """Proposals around the trials and around what experience recommends, and the latter itself.

    In the first trials the best ones of the sources alone, as long as there are some to repeat.
    """
    history, geometry = remembered.history, remembered.geometry
    mixture = remembered.expected
    assert isinstance(mixture, Mixture)
    if mixture.read is not None and history.n_trials < _FAVOURITES_UNTIL:
        favourites = _favourites(mixture.read, history, geometry, generator, fixed)
        if favourites.units.shape[1]:
            return favourites
    elites = mixture.guide.elites(mixture, geometry, generator)[None]
    kind = torch.full(elites.shape[:2], PROPOSAL_KINDS.index("density"))
    own = proposals.finish(elites, kind, geometry)
    expected, tried = (
        memory.means(remembered, x.units, x.active) + mixture(x.units, x.active)
        for x in (own, history)
    )
    parents = History.of(
        torch.cat([history.units, own.units], 1),
        torch.cat([history.active, own.active], 1),
        torch.cat([history.outcomes, torch.full(kind.shape, int(Outcome.COMPLETE))], 1),
        torch.cat([tried.masked_fill(~history.scored, torch.nan), expected], 1),
    )
    around = proposals.propose(parents, geometry, n_candidates, generator, fixed)
    return around.joined(proposals.finish(elites, kind, geometry, fixed))


def _favourites(
    sources: Sources,
    history: History,
    geometry: Geometry,
    generator: torch.Generator,
    fixed: Tensor | None,
) -> Pool:
    """The best trial of each source that no trial here has repeated.

    What all sources say together is vague. One of them may have been about a task like this.
    """
    best = sources.elites[:, 0]
    kind = torch.full((1, len(best)), PROPOSAL_KINDS.index("density"))
    pool = proposals.finish(_filled(best, geometry, generator)[None], kind, geometry, fixed)
    # What the source's trial lacked is drawn at random: the rest tells whether it was repeated.
    known = ~best.isnan()
    mine = geometry.keys(pool.units[0] * known)[:, None]
    theirs = geometry.keys(history.units * known[:, None])
    return pool.take((~visited.is_in(mine, theirs)[:, 0]).nonzero()[:, 0][None])


def _filled(units: Tensor, geometry: Geometry, generator: torch.Generator) -> Tensor:
    """Units ``(k, d)`` with random values for what is NaN."""
    fresh = torch.rand(units.shape, generator=generator, dtype=torch.float64)
    return torch.where(units.isnan(), geometry.drawn(fresh[None])[0], units)


class _Believed(NamedTuple):
    """Forecasters that are believed: what they say ``(k, n)``, which they are, and how much."""

    said: Tensor
    which: Tensor
    belief: float
    is_turned: bool = False


def _nothing(n_trials: int) -> _Believed:
    blank = torch.zeros(0, n_trials, dtype=torch.float64)
    return _Believed(blank, torch.zeros(0, dtype=torch.long), 0.0)


def _believed(said: Tensor, known: Trust) -> _Believed:
    """Those with the best odds, at most ``MAX_ACTIVE``, in order."""
    order = known.each.argsort(descending=True, stable=True)[:MAX_ACTIVE]
    picked = order[known.each[order] > 0].sort().values
    return _Believed(said[picked], picked, known.joint)


def _spread_out(weights: Tensor, index: Tensor, count: int) -> Tensor:
    """Weights of some at their places among all, 0 for the others."""
    return torch.zeros(count, dtype=torch.float64).index_put((index,), weights)


def _prior(n_sources: int, n_guesses: int) -> tuple[Tensor, Tensor]:
    """Prior mean and standard deviation of all coefficients."""
    mean, std = SOURCE_PRIOR
    count = max(n_sources, 1)
    means = [mean / count] * n_sources + [
        GUESS_PRIOR[0] / math.sqrt(max(n_guesses, 1))
    ] * n_guesses
    stds = [std / math.sqrt(count)] * n_sources + [GUESS_PRIOR[1]] * n_guesses
    return torch.tensor(means, dtype=torch.float64), torch.tensor(stds, dtype=torch.float64)


def _posterior(said: Tensor, z: Tensor, root: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Posterior mean of the coefficients ``(f,)`` of what is ``said`` ``(f, n)``, of any sign."""
    if len(z) < 2:
        return mean
    basis = torch.cat([torch.ones(1, len(z), dtype=torch.float64), said])
    centre = torch.cat([torch.zeros(1, dtype=torch.float64), mean])
    precision = 1 / torch.cat([torch.tensor([_INTERCEPT_STD], dtype=torch.float64), std]).square()
    white = torch.linalg.solve_triangular(root, torch.cat([basis, z[None]]).T, upper=False)
    gram = white[:, :-1].T @ white[:, :-1] + precision.diag()
    right = white[:, :-1].T @ white[:, -1] + precision * centre
    return torch.as_tensor(torch.linalg.solve(gram, right)[1:])


def _spread(residual: Tensor, root: Tensor) -> float:
    """How far what is left lies from 0, in standard deviations of the memory."""
    white = torch.linalg.solve_triangular(root, residual[:, None], upper=False)
    variance = (float(white.square().sum()) + SPREAD_WEIGHT * SPREAD_PRIOR) / (
        len(residual) + SPREAD_WEIGHT
    )
    return min(math.sqrt(variance), 1.0)


def _trusted(found: Tensor, least: float) -> Tensor:
    """Coefficients as far as their sum is: no negative ones, none at all below ``least``."""
    total, kept = float(found.sum()), found.clamp_min(0)
    if total <= least:
        return torch.zeros_like(found)
    return kept * (total / kept.sum())
