"""Workers that decide at the same time: whether another one has claimed the same configuration.

A suggestion is stored, which is a claim, and the study is read once more. Whoever then finds a
claim on the same configuration that was not there when it decided decides again. Everybody stores
before reading, so that of two workers at least one sees the other. Where both do, both decide
again: by lot among the best candidates, of which there are twice as many every time, or the two
would go on to agree (as stations that share a wire wait for a random time).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
import math

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution

from optuna_rocket.history import Outcome
from optuna_rocket.records import Record
from optuna_rocket.space import Space


# Among how many of the best candidates the lot is drawn: at first there is no lot.
ROUNDS = (1, 4, 8, 16, 32, 64, 128, 256)
# Continuous values this close, as a share of the range, would be the same experiment twice.
_NEAR = 0.01

Claim = Mapping[str, float]


def may_collide(records: Sequence[Record], distributions: Mapping[str, BaseDistribution]) -> bool:
    """Whether one parameter, asked for while others run, may complete a repetition.

    That is so in a finite space, and before any trial has ended: the first ones of all workers
    have the same good places in mind.
    """
    if not any(record.outcome == Outcome.PENDING for record in reversed(records)):
        return False
    is_first = all(record.outcome == Outcome.PENDING for record in records)
    return is_first or Space(distributions).n_configurations != math.inf


def rivals(
    known: Sequence[Record],
    now: Sequence[Record],
    claim: Claim,
    distributions: Mapping[str, BaseDistribution],
) -> list[Record]:
    """Trials that have come to the same configuration since a decision, by number.

    Args:
        known: What the decision was made from.
        now: The same study read again.
        claim: The decided values by name, in Optuna's internal representation.
        distributions: Those of all names in ``claim``.
    """
    n = min(len(known), len(now))
    if known[:n] == now[:n]:  # at the speed of C where they are identical
        first = n
    else:
        first = next(i for i in range(n) if known[i] is not now[i])
    before = {record.number: record.params for record in known[first:]}
    return [
        record
        for record in now[first:]
        if before.get(record.number) != record.params
        and _is_same(record.params, claim, distributions)
    ]


def _is_same(params: Claim, claim: Claim, distributions: Mapping[str, BaseDistribution]) -> bool:
    if not claim or not claim.keys() <= params.keys():
        return False
    space = Space({name: distributions[name] for name in claim})
    for column, (name, distribution) in enumerate(space.distributions.items()):
        if isinstance(distribution, CategoricalDistribution):
            if params[name] != claim[name]:
                return False
        elif abs(space.encode(column, params[name]) - space.encode(column, claim[name])) > _NEAR:
            return False
    return True
