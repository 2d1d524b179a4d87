"""Spaces and histories for the tests of the numeric modules."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import fields

from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import torch
from torch import Tensor

from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.goals import repeated
from optuna_rocket.history import ALWAYS_THERE
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.scores import scale_of
from optuna_rocket.scores import transformed
from optuna_rocket.space import Geometry
from optuna_rocket.space import Space
from optuna_rocket.training.tasks import random_units


MIXED: dict[str, BaseDistribution] = {
    "batch": IntDistribution(16, 256, log=True),
    "depth": IntDistribution(1, 4),
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "momentum": FloatDistribution(0.0, 0.9, step=0.1),
    "rate": FloatDistribution(1e-5, 1e-1, log=True),
    "width": FloatDistribution(-1.0, 1.0),
}
# ``momentum`` exists for kinds a and b, ``width`` from a depth of two on, ``rate`` for kind c.
MIXED_CONDITIONS: dict[int, tuple[int, Sequence[bool]]] = {
    3: (2, (True, True, False)),
    4: (2, (False, False, True)),
    5: (1, (False, True, True, True)),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixed_geometry() -> Geometry:
    return Space(MIXED).geometry(MIXED_CONDITIONS, has_gaps=True)


def flat_geometry() -> Geometry:
    """The mixed space without conditions."""
    return Space(MIXED).geometry({}, has_gaps=False)


def unit_geometry(d: int, batch: int = 1) -> Geometry:
    """``batch`` spaces of ``d`` continuous parameters."""
    distributions: Mapping[str, BaseDistribution] = {
        f"x{j:02}": FloatDistribution(0.0, 1.0) for j in range(d)
    }
    return repeated(Space(distributions).geometry({}, has_gaps=False), batch)


def history_of(
    units: Tensor, scores: Tensor, geometry: Geometry, outcomes: Tensor | None = None
) -> History:
    """A history of the given trials, complete where nothing else is said."""
    if outcomes is None:
        outcomes = torch.full(scores.shape, int(Outcome.COMPLETE))
    without = (outcomes == Outcome.FAILED) | (outcomes == Outcome.PENDING)
    return History.of(
        units=units,
        active=geometry.activity(units),
        outcomes=outcomes,
        scores=scores.masked_fill(without, torch.nan),
        fidelity=torch.where(outcomes == Outcome.PRUNED, 0.4, 1.0).double(),
    )


def random_history(geometry: Geometry, n: int, seed: int = 0, *, plain: bool = False) -> History:
    """Random trials in all finished states; all complete where ``plain``."""
    rng = generator(seed)
    units = random_units(geometry, n, rng)
    shape = units.shape[:2]
    scores = torch.randn(shape, generator=rng, dtype=torch.float64) + units.sum(-1)
    draw = torch.rand(shape, generator=rng)
    outcomes = torch.full(shape, int(Outcome.COMPLETE))
    if not plain:
        outcomes[draw < 0.3] = int(Outcome.PRUNED)
        outcomes[draw < 0.15] = int(Outcome.FAILED)
    history = history_of(units, scores, geometry, outcomes)
    predicted = torch.randn((*shape, 2), generator=rng, dtype=torch.float64)
    predicted[..., 1] = predicted[..., 1].abs() + 0.1
    predicted[draw > 0.8] = torch.nan
    kind = torch.randint(-1, 5, shape, generator=rng)
    return rebuilt(history, predicted=predicted, kind=kind)


def rebuilt(history: History, **changes: Tensor) -> History:
    """A copy with some fields exchanged."""
    values = {option.name: getattr(history, option.name) for option in fields(History)}
    return History(**{**values, **changes})


def appended(first: History, second: History) -> History:
    """The trials of both, one behind the other."""
    pairs = {
        name: torch.cat([getattr(first, name), getattr(second, name)], 1) for name in ALWAYS_THERE
    }
    return History(**pairs)


def stacked(*histories: History) -> History:
    """Studies of equal length as one batch."""
    parts = {
        name: torch.cat([getattr(history, name) for history in histories]) for name in ALWAYS_THERE
    }
    return History(**parts)


def restless_network(seed: int = 0) -> RecurrentScorer:
    """A network whose residual and sharpness are not at their start: every input matters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = new_network()
        with torch.no_grad():
            for layer in (network.residual, network.sharpness):
                layer.weight.normal_(std=0.3)
    return network.requires_grad_(False)


def transform_scores(
    scores: Tensor,
    scored: Tensor,
    least_unit: Tensor | None = None,
    comparable: Tensor | None = None,
) -> Tensor:
    """Scores on the scale that they, or the comparable ones of them, set."""
    by = scored if comparable is None else comparable
    return transformed(scores, scored, scale_of(scores, by, least_unit))
