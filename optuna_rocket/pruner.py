"""RocketPruner: stop a trial when its forecast says that it will not matter."""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_not
from typing import TYPE_CHECKING
from typing import Any
import zlib

import optuna
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_rocket.arguments import check_integer
from optuna_rocket.arguments import is_number
from optuna_rocket.once import Once


if TYPE_CHECKING:
    from optuna_rocket.curves import Curve
    from optuna_rocket.curves import Standings
    from optuna_rocket.fidelity.expectation import Trust
    from optuna_rocket.fidelity.forecast import Evidence
    from optuna_rocket.trials import CurveReader


# Share of the judgements that let a trial pass whatever its forecast is: they keep on showing what
# becomes of trials that look bad.
_EXPLORATION = 0.05
# The evidence is arranged anew whenever this share of it is new; the incumbent is always known.
_GROWTH = 1 / 50
# How much more than one unseen trial the screened ones of a sampler gain for their cost.
_SCREENED_GAIN = 3.0
# The part of the longest report step, one in so many, at which trials are compared before there is
# a forecast, and how many may be stopped there for each that was not.
_SCREENING = 9
_MOST_STOPPED = 2
# Where so many of the latest trials were judged is remembered; more hardly run at a time.
_MOST_JUDGED = 1000
_logger = optuna.logging.get_logger(f"optuna.{__name__}")


class RocketPruner(BasePruner):
    """Pruner that stops a trial when its chance to matter is not worth the rest of its cost.

    From the reports of the latest thousand trials, pruned ones too, it forecasts the final value
    of the running trial with a standard error (``fidelity.forecast``); where hardly any of those
    is complete, also from older complete ones. The trial is stopped when

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
    trial always does. Later, a trial is judged when it is asked about at report steps that are a
    factor of 1.5 apart, and never at or after the longest report step of any complete trial. A
    late bloomer has a forecast as wide as earlier surprises at its rank were; nobody is stopped
    before the step where complete trials had begun to learn, and a trial that has hardly risen
    since its first report not before two like it have gone to the end, nor once one of those was
    among the best third (``fidelity.guards``); and one judgement in twenty lets the trial pass:
    with few report steps surprises go on being seen. A judgement depends on the stored trials,
    the trial, the step where it was judged before and the seed alone.

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
        self._n_startup_trials = check_integer(
            "n_startup_trials", n_startup_trials, least=3, fix="Use 4, or more to stop fewer."
        )
        self._seed = check_integer("seed", seed, least=0, fix="Use 0, or leave it out.")
        self._told = Once()
        # Where a trial was judged before, and where last.
        self._judged: dict[tuple[object, ...], tuple[int | None, int | None]] = {}
        self._forget()

    def _forget(self) -> None:
        # Both can be rebuilt, and each is replaced as a whole: threads see the old or the new.
        self._reader: CurveReader | None = None
        self._evidence: tuple[Sequence[Curve], Evidence, Trust] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what can be rebuilt."""
        return {**self.__dict__, "_reader": None, "_evidence": None, "_judged": {}}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial; a failure of the forecast costs a warning, not the trial."""
        try:
            return self._judge(study, trial)
        except Exception as error:
            if self._told.is_first(type(error)):
                _logger.warning(
                    f"The forecast failed on trial {trial.number} ({type(error).__name__}: "
                    f"{error}); the trial goes on. Please report this.",
                    exc_info=True,
                )
            return False

    def _judge(self, study: Study, trial: FrozenTrial) -> bool:
        from optuna_rocket.curves import curve_of
        from optuna_rocket.fidelity.guards import A_CURVE
        from optuna_rocket.fidelity.guards import had_begun
        from optuna_rocket.fidelity.guards import may_rise_late
        from optuna_rocket.trials import CurveReader
        from optuna_rocket.trials import score_sign

        step, before = self._next_judgement(study, trial)
        if step is None or self._lets_pass(trial.number, step):
            return False
        if self._reader is None:
            self._reader = CurveReader()
        standings = self._reader.standings(study)
        best, longest = standings.best, standings.longest
        own = curve_of(trial, score_sign(study))
        if best is None or longest is None or step >= longest.steps[-1] or not own.steps:
            return False

        evidence, trusted = self._arrange(standings)
        n_complete = standings.n_complete
        if n_complete < self._n_startup_trials:
            # A lucky first trial must not stop all that follow before there is a second one.
            may_stop = len(standings.curves) - n_complete < _MOST_STOPPED * n_complete
            stops = may_stop and _is_screened_out(own, evidence, longest.steps[-1], before)
        else:
            stops = self._is_not_worth_it(own, standings, evidence, trusted)
        # Asked last: few trials get here.
        if not stops or not had_begun(evidence, step):
            return False
        rise = own.scores[-1] - own.scores[0]
        return len(own.steps) < A_CURVE or not may_rise_late(evidence, step, rise)

    def _next_judgement(self, study: Study, trial: FrozenTrial) -> tuple[int | None, int | None]:
        """The step to judge the trial at, None if its rung was judged; where it was judged before.

        Trials report more often than they ask, so what they asked is remembered here. Asked at the
        same step again, a trial gets the same answer.
        """
        from optuna_rocket.fidelity.forecast import rung_of

        # Studies in several storages may have the same name.
        key, step = (study.study_name, trial.number, trial.datetime_start), trial.last_step
        before, last = self._judged.get(key, (None, None))
        if step is None or step == last:
            return step, before
        if last is not None and rung_of(step) == rung_of(last):
            return None, last
        if len(self._judged) >= _MOST_JUDGED:
            self._judged = dict(list(self._judged.items())[-_MOST_JUDGED // 2 :])
        self._judged[key] = last, step
        return step, last

    def _is_not_worth_it(
        self, own: Curve, standings: Standings, evidence: Evidence, trusted: Trust
    ) -> bool:
        """Whether the forecast of a trial is not worth the rest of its cost."""
        from optuna_rocket.curves import spending
        from optuna_rocket.fidelity.expectation import informed
        from optuna_rocket.fidelity.forecast import N_RECENT

        assert standings.best is not None and standings.longest is not None
        step = own.steps[-1]
        forecast = evidence.forecast(step, own.scores[-1])
        if forecast is None:
            return False
        level, spent = evidence.rescale(standings.best), spending(standings.longest)
        first = min(curve.steps[0] for curve in standings.curves[-N_RECENT:])
        rate = evidence.rate_of_gain(level, first, spent(first))
        expected = trusted.expected_final(evidence, own.said)
        if expected is not None:
            forecast = informed(forecast, expected, evidence)
            rate = min(rate, _SCREENED_GAIN * expected.expected_gain(level))
        return forecast.expected_gain(level) < self._risk * rate * (1 - spent(step))

    def _arrange(self, standings: Standings) -> tuple[Evidence, Trust]:
        """Evidence from all but the latest few trials, kept as long as these trials are the same.

        How many are left out depends on their number alone, not on what is kept.
        """
        from optuna_rocket.curves import learn
        from optuna_rocket.fidelity.forecast import MAX_TRIALS

        n = len(standings.curves)
        used = standings.curves[: n - n % max(1, int(min(n, MAX_TRIALS) * _GROWTH))]
        kept = self._evidence
        if kept is None or len(kept[0]) != len(used) or any(map(is_not, kept[0], used)):
            kept = self._evidence = (used, *learn(used))
            self._warn_of_late_steps(standings)
        return kept[1:]

    def _warn_of_late_steps(self, standings: Standings) -> None:
        from optuna_rocket.curves import begins_late

        late = begins_late(standings.longest)
        if late is not None and self._told.is_first("late steps"):
            _logger.warning(
                f"Trials report at steps {late[0]} to {late[1]}. Steps are taken for amounts of "
                "effort from 0 on, so that most of the effort seems spent at the first report and "
                "hardly any trial is pruned. If training began there, report steps counted from "
                "its beginning."
            )

    def _lets_pass(self, number: int, step: int) -> bool:
        from optuna_rocket.fidelity.forecast import rung_of

        code = zlib.crc32(f"{self._seed}:{number}:{rung_of(step)}".encode())
        return code < _EXPLORATION * 2**32


def _is_screened_out(own: Curve, evidence: Evidence, last: int, before: int | None) -> bool:
    """Whether a trial is behind at the step where trials are compared before a forecast.

    That is the first one judged at or beyond a ninth of the last; ``before`` is the one before it.
    """
    from optuna_rocket.fidelity.guards import contradicts

    step = own.steps[-1]
    early = last // _SCREENING  # sizes of subsets are rounded; integers of any size have a ninth
    if step < early or (before is not None and before >= early):
        return False
    return not (evidence.is_leading(step, own.scores[-1]) or contradicts(evidence, step))
