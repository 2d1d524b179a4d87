"""What the forecast says of a study's trials, recomputed from their stored reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
import math
from statistics import NormalDist

from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_rocket.curves import Curve
from optuna_rocket.curves import horizon
from optuna_rocket.curves import learn
from optuna_rocket.curves import level_to_beat
from optuna_rocket.fidelity.expectation import Trust
from optuna_rocket.fidelity.expectation import informed
from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import rung_of
from optuna_rocket.moments import may_precede
from optuna_rocket.trials import CurveReader
from optuna_rocket.trials import score_sign


@dataclass(frozen=True)
class RungForecast:
    """A forecast of a trial's final value at one of its report steps.

    Of a trial of ``RocketSampler`` it holds what was expected of the configuration too.

    Attributes:
        number: The trial's number.
        step: The report step.
        effort: ``step`` as a share of the longest report step of the complete trials before it.
        reported: The value reported there.
        expected: Expected final value, on the objective's own scale.
        interval: Bounds that hold the final value with probability 0.8, the lower one first.
        beats_best: Probability that the final value is better than the best feasible one before.
        truth: The final value, NaN where the trial did not end with one.
        rank: Probability that the forecast gave to a final score below the true one, NaN without
            a truth; uniform on [0, 1] over many trials if the forecast is calibrated.
    """

    number: int
    step: int
    effort: float
    reported: float
    expected: float
    interval: tuple[float, float]
    beats_best: float
    truth: float
    rank: float


def forecast_at_stop(study: Study, trial: FrozenTrial) -> RungForecast | None:
    """The forecast of a pruned trial at its latest report step, from what had ended by then.

    ``RocketPruner`` sees the same, but for up to a fiftieth of the trials, the latest ones: it
    learns from them a little later.

    Returns:
        None where nothing was reported or too few trials went on from there.
    """
    curves = CurveReader().read(study)
    own = [curve for curve in curves if curve.trial.number == trial.number and curve.steps]
    before = [c for c in curves if c not in own and _had_ended(c, trial.datetime_complete)]
    found = _forecasts(own[0], before, own[0].steps[-1:], score_sign(study)) if own else []
    return found[0] if found else None


def past_forecasts(study: Study, recent: slice) -> list[RungForecast]:
    """Forecasts of some complete trials at their rungs, the last one apart.

    Each comes from the trials alone that had ended when the trial started. Trials that were pruned
    have no truth to compare with: what is left are those that looked good enough to go on.
    """
    curves = CurveReader().read(study)
    complete = [c for c in curves if c.trial.state == TrialState.COMPLETE and len(c.steps) > 1]
    found: list[RungForecast] = []
    for curve in complete[recent]:
        before = [c for c in curves if _had_ended(c, curve.trial.datetime_start)]
        before = [c for c in before if c is not curve]
        found += _forecasts(curve, before, _rungs(curve.steps), score_sign(study))
    return found


def _forecasts(
    curve: Curve, before: Sequence[Curve], steps: Sequence[int], sign: float
) -> list[RungForecast]:
    """Forecasts of a trial at some of its report steps; none where they tell nothing."""
    telling = [c for c in before if c.steps]
    best = level_to_beat(before)
    if not telling or best is None:
        return []
    evidence, trusted = learn(telling)
    last = horizon(telling)
    found = (_at(curve, step, evidence, trusted, best, last, sign) for step in steps)
    return [forecast for forecast in found if forecast is not None]


def _at(
    curve: Curve,
    step: int,
    evidence: Evidence,
    trusted: Trust,
    best: float,
    last: int,
    sign: float,
) -> RungForecast | None:
    score = curve.scores[curve.steps.index(step)]
    forecast = evidence.forecast(step, score)
    if forecast is None:
        return None
    forecast = informed(forecast, trusted.expected_final(evidence, curve.said), evidence)
    _, centre, unit = evidence.scaled
    normal = NormalDist(forecast.mean, forecast.std)
    low, high = sorted(sign * (centre + unit * bound) for bound in forecast.interval(0.8))
    rank = math.nan
    if not math.isnan(curve.final):
        rank = normal.cdf(evidence.rescale(curve.final))
    return RungForecast(
        number=curve.trial.number,
        step=step,
        effort=min(step / last, 1.0) if last else 1.0,
        reported=sign * score,
        expected=sign * (centre + unit * forecast.mean),
        interval=(low, high),
        beats_best=1 - normal.cdf(evidence.rescale(best)),
        truth=sign * curve.final,
        rank=rank,
    )


def _rungs(steps: Sequence[int]) -> list[int]:
    """The first report step of every rung but the end: where ``RocketPruner`` would judge."""
    first: dict[int, int] = {}
    for step in steps[:-1]:
        first.setdefault(rung_of(step), step)
    return list(first.values())


def _had_ended(curve: Curve, time: datetime | None) -> bool:
    return may_precede(curve.trial.datetime_complete, time)
