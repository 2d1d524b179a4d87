"""One trial's rounds over its subsets: what each is trained on, and where its result goes."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import BaseTrial

from optuna_rocket.attributes import fits
from optuna_rocket.costs import COSTS
from optuna_rocket.costs import INSTANCE_MARK
from optuna_rocket.costs import Costs
from optuna_rocket.costs import read
from optuna_rocket.costs import summary
from optuna_rocket.fidelity.scaling import check_scaled


class Loop:
    """What one trial's loop over its subsets keeps; it belongs to that trial alone.

    Args:
        trial: The trial.
        reported: Its reports so far, None where there is nobody to report to.
        may_ask: Whether the study's pruner is asked after the report of a subset.
        by_instance: Whether a round is about one instance, and the result is their mean.
        exponents: Of the parameters that change with the share of the data.
    """

    def __init__(
        self,
        trial: BaseTrial,
        reported: dict[int, float] | None,
        may_ask: Callable[[Loop, Subset], bool],
        by_instance: bool,
        exponents: Mapping[str, float],
    ) -> None:
        self.trial, self.reported, self.by_instance = trial, reported, by_instance
        self.exponents = exponents
        self.carry: Any = None
        self.carried_step = 0
        self._may_ask = may_ask
        self.instance_values: list[Any] = []
        known = read(trial.user_attrs) if reported else Costs()
        self._costs: dict[str, Any] = {
            "steps": [int(step) for step in known.steps],
            "seconds": list(known.seconds),
        }
        self._examples = [int(n) for n in known.examples]
        if self._examples != self._costs["steps"]:
            self._costs["examples"] = self._examples
        if known.is_warm:
            self._costs["warm"] = True
        # Rounds of a retried trial, and their seconds, of which the totals alone are known.
        self._before = (0, 0.0)
        self._is_marked = not by_instance or known.by_instance
        if by_instance:
            self._costs |= INSTANCE_MARK
            if not known.steps:
                self._before = known.n_rounds, known.total
        self._begun = 0.0

    def begin(self) -> None:
        """Start the clock of a round."""
        self._begun = time.perf_counter()

    def accept(self, subset: Subset, value: Any) -> None:
        """Store a result with its cost; raise ``TrialPruned`` when the pruner says so."""
        self.instance_values.append(value)
        if self.reported is None:
            return
        self._costs["steps"].append(subset.step)
        self._costs["seconds"].append(round(time.perf_counter() - self._begun, 6))
        self._examples.append(subset.step - subset.saved)
        if subset.saved:
            self._costs["examples"] = self._examples
        if self.carry is not None:
            self._costs["warm"] = True
        if subset.step not in self.reported:
            self.trial.report(value, subset.step)
        if not self._is_marked:  # before anyone reads the report, and whatever ends the trial
            self.trial.set_user_attr(COSTS, INSTANCE_MARK)
            self._is_marked = True
        may_ask = self._may_ask(self, subset)
        # Instances may be many: their costs are written once, at the end.
        is_stopped = may_ask and self.trial.should_prune()
        if is_stopped or subset.is_full or not self.by_instance:
            self._store_costs()
        if is_stopped:
            raise optuna.TrialPruned(f"Pruned at report step {subset.step}.")

    def _store_costs(self) -> None:
        n_before, seconds_before = self._before
        if n_before == 0 and fits(self._costs):
            self.trial.set_user_attr(COSTS, self._costs)
        elif self.by_instance:  # some thousand do not fit
            seconds = self._costs["seconds"]
            totals = summary(n_before + len(seconds), seconds_before + sum(seconds))
            self.trial.set_user_attr(COSTS, totals)


class Subset:
    """One round of the loop: the examples to train on, and where the result goes.

    Attributes:
        indices: Positions of this subset's examples (with pandas use ``.iloc``), rising;
            ``arange(n)`` for the full data. With ``by="instance"``: the one instance to evaluate.
        fraction: Their share of the data, in (0, 1].
        step: Report step: number of examples, or the instance's number.
        is_full: Whether this is the last round, after which there is a ``value``.
        carry: What the previous round left here, None in the first round; what this round leaves
            here (weights, an optimiser) the next one finds. Kept in memory only.
        saved: Examples that ``remaining`` said need not be processed, 0 before it is asked.
        is_reported: Whether ``report`` was called.
        params: The trial's parameters, those that the evaluator's ``scale`` names as they suit
            this share of the data.
    """

    def __init__(
        self, indices: NDArray[np.int64], fraction: float, step: int, is_full: bool, loop: Loop
    ) -> None:
        self.indices, self.fraction, self.step, self.is_full = indices, fraction, step, is_full
        self.carry: Any = loop.carry
        self.saved = 0
        self.is_reported = False
        self._loop = loop
        self._value: Any = None

    @property
    def remaining(self) -> float:
        """Share of a training on this subset that is left after the previous rounds, in (0, 1].

        It is ``1 - previous step / step`` where they have left something in ``carry``, else 1.
        Training for ``remaining`` times the usual epochs, from what they left, makes a trial with
        all its rounds cost what the full data alone would. Who asks is taken to do so: the trial
        counts as many examples less.
        """
        if self._loop.carry is None or self._loop.by_instance:
            return 1.0
        self.saved = self._loop.carried_step
        return 1 - self.saved / self.step

    @property
    def params(self) -> dict[str, Any]:
        """The trial's parameters, the tagged ones times ``fraction ** -exponent``.

        Raises:
            ValueError: If a tagged one is no float of at least 0.
        """
        params = dict(self._loop.trial.params)
        for name, exponent in self._loop.exponents.items():
            if name in params:  # it may be asked for within the loop
                params[name] = tagged_value(self._loop.trial, name) * self.fraction**-exponent
        return params

    def __repr__(self) -> str:
        return f"Subset(step={self.step}, fraction={self.fraction:.4g}, is_full={self.is_full})"

    def report(self, value: float) -> None:
        """Report the result of this subset, once.

        Args:
            value: Objective value after training on ``indices``. NaN and infinity are passed on.
                In a study of several objectives: whatever the objective is to return.

        Raises:
            optuna.TrialPruned: If the study's pruner stops the trial; never on the full data.
            RuntimeError: If this subset was reported before.
            TypeError: If ``value`` is not a number.
        """
        if self.is_reported:
            raise RuntimeError(
                f"The subset of report step {self.step} was reported already. Call "
                "subset.report(value) once in every round of the loop."
            )
        self._value = value if self._loop.reported is None else _number(value)
        self.is_reported = True
        self._loop.accept(self, self._value)

    @property
    def value(self) -> Any:
        """The trial's result, for the objective to return; with ``by="instance"`` the mean.

        Raises:
            RuntimeError: On a smaller subset, or before the report.
        """
        if not self.is_full:
            raise RuntimeError(
                f"The subset of report step {self.step} is not the full data: its value is no "
                "result of the trial. Finish the loop, or raise optuna.TrialPruned to stop early."
            )
        if not self.is_reported:
            raise RuntimeError("No value yet: call subset.report(value) first.")
        if not self._loop.by_instance:
            return self._value
        mean = np.mean(np.asarray(self._loop.instance_values, dtype=np.float64), axis=0)
        return float(mean) if mean.ndim == 0 else tuple(map(float, mean))


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(
            f"value={value!r} is not a number. Report a float, for example value.item()."
        ) from None


def tagged_value(trial: BaseTrial, name: str) -> float:
    """A parameter that is to be scaled, as a float; see ``check_scaled`` for errors."""
    value = trial.params[name]
    if isinstance(trial.distributions.get(name), FloatDistribution):
        value = float(value)  # enqueued values are kept as they were written
    check_scaled(name, value)
    return float(value)
