"""RocketPruner: stop a trial when its forecast says that it will not matter."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import TYPE_CHECKING
from typing import Any
import zlib

import optuna
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_rocket.arguments import check_integer
from optuna_rocket.arguments import is_number


if TYPE_CHECKING:
    from optuna_rocket.curves import Curve
    from optuna_rocket.fidelity.expectation import Trust
    from optuna_rocket.fidelity.forecast import Evidence
    from optuna_rocket.trials import CurveReader


# Share of the judgements that let a trial pass whatever its forecast is: they keep on showing what
# becomes of trials that look bad.
_EXPLORATION = 0.05
# The evidence is arranged anew whenever it has grown by this share; the incumbent is always known.
_GROWTH = 1 / 50
# How much more than one unseen trial the screened ones of a sampler gain for their cost.
_SCREENED_GAIN = 3.0
# The part of the longest report step, one in so many, at which trials are compared before there is
# a forecast, and how many may be stopped there for each that was not.
_SCREENING = 9
_MOST_STOPPED = 2
# Reports from which on a trial can be seen not to have begun to learn. Subsets are fewer.
_A_CURVE = 3
_logger = optuna.logging.get_logger(f"optuna.{__name__}")


class RocketPruner(BasePruner):
    """Pruner that stops a trial when its chance to matter is not worth the rest of its cost.

    From the reports of earlier trials, pruned ones too, it forecasts the final value of the
    running trial with a standard error (``fidelity.forecast``). The trial is stopped when

        expected gain of going on / cost ahead  <  risk × greatest gain per cost of new trials

    where a gain is what exceeds the best feasible trial so far, and new trials are like the latest
    ones: all are looked at on the first rung, and only the most promising go on. Where
    ``RocketSampler`` has said what it expects of the configuration, that joins the forecast, as
    far as it proved right in this study (``fidelity.expectation``), and new trials are expected to
    gain no more than a few times what this one was: an improvement on paper is not stopped
    because others like it reported little. It works with every sampler, with ``SubsetEvaluator``
    and with plain ``trial.report`` by epoch; report steps should be amounts of effort (epochs,
    examples) and need not be the same in all trials. NaN counts as the worst. Scores of single
    folds or instances are no estimates that converge: use ``WilcoxonPruner``.

    Before there are enough complete trials to forecast from, a trial goes on if it is in the best
    third of all at a ninth of the longest report step, or if two of three have been stopped
    already, or if the complete trials did not end in the order of their reports there; the first
    trial always does. Later, a trial is judged at report steps that are a
    factor of 1.5 apart, and never at or after the longest report step of any complete trial. A
    late bloomer has a forecast as wide as earlier surprises at its rank were; a trial that has
    hardly risen since its first report is not stopped before two like it have gone to the end, nor
    once one of those was among the best third (``fidelity.guards``); and one judgement in twenty
    lets the trial pass, so that surprises go on being seen. A judgement depends on the
    stored trials, the trial and the seed alone.

    Example:
        ```python
        study = optuna.create_study(pruner=RocketPruner())
        ```

    Args:
        risk: Above 0. Greater values stop more trials, and more of those that would have become
            the best; 1 would be right if the forecasts were and if a full result taught nothing.
            The default was chosen on the development problems of ``benchmarks/pruning.py`` and
            on seeds of ``benchmarks/live.py`` that are not reported.
        n_startup_trials: Complete trials, at least 3, before the forecast decides.
        seed: Seed of the judgements that let a trial pass, an integer of at least 0.

    Raises:
        ValueError: If an argument makes no sense.
    """

    def __init__(self, *, risk: float = 0.1, n_startup_trials: int = 4, seed: int = 0) -> None:
        if not is_number(risk) or not risk > 0:
            raise ValueError(f"risk={risk!r} is not a number above 0, for example 0.1.")
        self._risk = risk
        self._n_startup_trials = check_integer("n_startup_trials", n_startup_trials, least=3)
        self._seed = check_integer("seed", seed, least=0)
        self._failures: set[type[Exception]] = set()
        self._forget()

    def _forget(self) -> None:
        # Both can be rebuilt, and each is replaced as a whole: threads see the old or the new.
        self._reader: CurveReader | None = None
        self._evidence: tuple[list[Curve], Evidence, Trust] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what can be rebuilt."""
        return {**self.__dict__, "_reader": None, "_evidence": None}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial; a failure of the forecast costs a warning, not the trial."""
        try:
            return self._judge(study, trial)
        except Exception as error:
            if type(error) not in self._failures:
                self._failures.add(type(error))
                _logger.warning(
                    f"The forecast failed on trial {trial.number} ({type(error).__name__}: "
                    f"{error}); the trial goes on. Please report this.",
                    exc_info=True,
                )
            return False

    def _judge(self, study: Study, trial: FrozenTrial) -> bool:
        from optuna_rocket.curves import curve_of
        from optuna_rocket.curves import horizon
        from optuna_rocket.curves import level_to_beat
        from optuna_rocket.fidelity.guards import may_rise_late
        from optuna_rocket.trials import CurveReader
        from optuna_rocket.trials import score_sign

        rung = _rung_just_reached(trial)
        if rung is None or self._lets_pass(trial.number, rung):
            return False
        if self._reader is None:
            self._reader = CurveReader()
        curves = [curve for curve in self._reader.read(study) if curve.steps]
        best, last = level_to_beat(curves), horizon(curves)
        own = curve_of(trial, score_sign(study))
        if best is None or own.steps[-1] >= last:
            return False

        evidence, trusted = self._arrange(curves)
        n_complete = sum(not math.isnan(curve.final) for curve in curves)
        if n_complete < self._n_startup_trials:
            # A lucky first trial must not stop all that follow before there is a second one.
            may_stop = len(curves) - n_complete < _MOST_STOPPED * n_complete
            stops = may_stop and _is_screened_out(own, evidence, last)
        else:
            stops = self._is_not_worth_it(own, curves, evidence, trusted, best)
        # Asked last: few trials get here.
        is_curve = len(own.steps) >= _A_CURVE
        rise = own.scores[-1] - own.scores[0]
        return stops and not (is_curve and may_rise_late(evidence, own.steps[-1], rise))

    def _is_not_worth_it(
        self, own: Curve, curves: list[Curve], evidence: Evidence, trusted: Trust, best: float
    ) -> bool:
        """Whether the forecast of a trial is not worth the rest of its cost."""
        from optuna_rocket.curves import spending
        from optuna_rocket.fidelity.expectation import informed
        from optuna_rocket.fidelity.forecast import N_RECENT

        step = own.steps[-1]
        forecast = evidence.forecast(step, own.scores[-1])
        if forecast is None:
            return False
        level, spent = evidence.rescale(best), spending(curves)
        first = min(curve.steps[0] for curve in curves[-N_RECENT:])
        rate = evidence.rate_of_gain(level, first, spent(first))
        expected = trusted.expected_final(evidence, own.suggestion)
        if expected is not None:
            forecast = informed(forecast, expected, evidence)
            rate = min(rate, _SCREENED_GAIN * expected.expected_gain(level))
        return forecast.expected_gain(level) < self._risk * rate * (1 - spent(step))

    def _arrange(self, curves: list[Curve]) -> tuple[Evidence, Trust]:
        """Evidence from all but the latest few trials, kept as long as these trials are the same.

        How many are left out depends on their number alone, not on what is kept.
        """
        from optuna_rocket.curves import learn

        n = len(curves)
        used = curves[: n - n % max(1, int(n * _GROWTH))]
        kept = self._evidence
        if kept is not None and len(kept[0]) == len(used):
            if all(old is new for old, new in zip(kept[0], used, strict=True)):
                return kept[1:]
        self._evidence = (used, *learn(used))
        return self._evidence[1:]

    def _lets_pass(self, number: int, rung: int) -> bool:
        code = zlib.crc32(f"{self._seed}:{number}:{rung}".encode())
        return code < _EXPLORATION * 2**32


def _is_screened_out(own: Curve, evidence: Evidence, last: int) -> bool:
    """Whether a trial is behind at the step where trials are compared before a forecast."""
    from optuna_rocket.fidelity.guards import contradicts

    step = own.steps[-1]
    is_behind = _is_screening_step(own.steps, last) and not evidence.is_leading(
        step, own.scores[-1]
    )
    return is_behind and not contradicts(evidence, step)


def _is_screening_step(steps: Sequence[int], last: int) -> bool:
    """Whether the latest report step is the first one at or beyond a ninth of the last."""
    early = last // _SCREENING  # sizes of subsets are rounded; integers of any size have a ninth
    return steps[-1] >= early and all(step < early for step in steps[:-1])


def _rung_just_reached(trial: FrozenTrial) -> int | None:
    """The rung of the latest report step, None where an earlier report was on it already."""
    from optuna_rocket.fidelity.forecast import rung_of

    steps = sorted(trial.intermediate_values)[-2:]
    if not steps:
        return None
    rungs = [rung_of(step) for step in steps]
    return None if len(rungs) == 2 and rungs[0] == rungs[1] else rungs[-1]
