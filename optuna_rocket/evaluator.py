"""SubsetEvaluator: evaluate a configuration on nested subsets of the data, smallest first.

What becomes of a trial that uses it:

| in the loop | outcome |
|---|---|
| every subset reported, ``subset.value`` of the last one returned | COMPLETE, full-data value |
| ``report`` raises ``TrialPruned`` | PRUNED, with the latest report |
| the same subset reported twice, or not at all | ``RuntimeError``; FAIL unless it is caught |
| ``subset.value`` of a smaller subset asked for | ``RuntimeError``: it is no final result |
| loop left early, another value returned | what the objective returns is its own affair |
| NaN at a smaller subset | reported: pruners may act on it; without a pruner it goes on |
| NaN at the full data | returned; Optuna makes it FAIL |
| process killed, trial retried with its reports | goes on at the first subset not reported |
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import math
import threading
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

import numpy as np
from numpy.typing import NDArray
import optuna
from optuna.study import Study
from optuna.trial import BaseTrial
from optuna.trial import Trial
from optuna.trial import TrialState

from optuna_rocket.attributes import fits
from optuna_rocket.costs import COSTS
from optuna_rocket.costs import is_warm
from optuna_rocket.costs import rounds_of
from optuna_rocket.fidelity.correlation import misleads
from optuna_rocket.fidelity.correlation import rank_correlation
from optuna_rocket.fidelity.subset import Stratify
from optuna_rocket.fidelity.subset import nested_subsets


if TYPE_CHECKING:
    from optuna_rocket.curves import Curve
    from optuna_rocket.trials import CurveReader

_logger = optuna.logging.get_logger(f"optuna.{__name__}")


class SubsetEvaluator:
    """Evaluates configurations on growing parts of the data, so that pruners can stop early.

    The same seeded, nested, stratified subsets serve all trials, and what a trial reports is
    comparable with what others report at the same size. Works with every sampler and pruner of
    Optuna. One evaluator serves any number of trials, threads and studies at once: what belongs to
    a trial lives in the loop over ``subsets``.

    In a study of several objectives, and for a ``FixedTrial`` or ``FrozenTrial``, there is nobody
    to report to: the loop has one round, with the full data, and ``report`` only keeps the value.

    Example:
        ```python
        subsets = SubsetEvaluator(y_train, min_fraction=1 / 9, reduction_factor=9)

        def objective(trial):
            lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
            for subset in subsets.subsets(trial):
                rows = subset.indices
                model = train(x_train[rows], y_train[rows], lr, start=subset.carry)
                subset.carry = model.weights  # optional: warm start of the next subset
                subset.report(accuracy(model, x_val, y_val))
            return subset.value
        ```

    Args:
        data: Labels or targets of the training examples, shape ``(n,)``, or their number. Never
            subset the validation data: its noise would hide the differences.
        min_fraction: Share of the data in the smallest subset, in (0, 1]. With
            ``by="instance"``: share of the instances before which no pruner is asked.
        reduction_factor: Ratio of neighbouring sizes, above 1. Unused with ``by="instance"``.
        stratify: How subsets are made to resemble the whole: ``"classes"``, ``"quantiles"``,
            ``"blocks"`` (series, text), False, or None for a choice by the kind of ``data``; see
            ``fidelity.subset.nested_subsets``. Unused with ``by="instance"``.
        groups: Group of every example, shape ``(n,)``: whole groups enter a subset.
        by: ``"resource"``: every report estimates the final value from more data; the report step
            is the number of examples. ``"instance"``: every report is the score of one fold or
            instance, the report step is its number, and the final value is the mean; for
            ``WilcoxonPruner``. Each trial meets the instances in an order of its own.
        min_examples: Examples per class (or tenth) below which a smallest subset is refused.
        seed: Seed of the order of the examples.

    Raises:
        ValueError: If an argument makes no sense or the smallest subset would be meaningless.
    """

    def __init__(
        self,
        data: Sequence[Any] | NDArray[Any] | int,
        *,
        min_fraction: float,
        reduction_factor: float = 3,
        stratify: Stratify = None,
        groups: Sequence[Any] | NDArray[Any] | None = None,
        by: Literal["resource", "instance"] = "resource",
        min_examples: int = 10,
        seed: int = 0,
    ) -> None:
        if by not in ("resource", "instance"):
            raise ValueError(f"by={by!r} is neither 'resource' nor 'instance'.")
        if by == "instance":
            if groups is not None:
                raise ValueError("groups= means nothing with by='instance': leave it out.")
            stratify, min_examples = False, 1
        self._nested = nested_subsets(
            data,
            min_fraction=min_fraction,
            reduction_factor=reduction_factor,
            stratify=stratify,
            groups=groups,
            min_examples=min_examples,
            seed=seed,
        )
        self._by_instance = by == "instance"
        self._n_before_pruning = math.ceil(len(self._nested.order) * min_fraction - 1e-9)
        self._seed = seed
        self._told: set[object] = set()
        self._lock = threading.Lock()
        self._reader: CurveReader | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the lock and what can be rebuilt."""
        return {**self.__dict__, "_lock": None, "_reader": None}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        """Restore a pickled or copied evaluator."""
        self.__dict__.update(attributes)
        self._lock = threading.Lock()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The report steps: numbers of examples, or of the instances."""
        if self._by_instance:
            return tuple(range(len(self._nested.order)))
        return self._nested.sizes

    def subsets(self, trial: BaseTrial) -> Iterator[Subset]:
        """The subsets that a trial has to be evaluated on, in order; the last is the full data.

        A trial that comes with reports (retried after a crash) skips the subsets that it has
        reported; the last one is never skipped. ``subset.carry`` is None then.

        Args:
            trial: The trial.

        Raises:
            RuntimeError: If the loop goes on although the last subset was not reported.
        """
        from optuna_rocket.trials import reported_values

        reported = reported_values(trial)
        loop = _Loop(self, trial, reported)
        if self._by_instance:
            rounds = self._instances(loop)
        else:
            self._warn_of_another_grid(trial, reported)
            rounds = self._rungs(loop)
        for subset in rounds:
            loop.begin()
            yield subset
            if not subset.is_reported:
                raise RuntimeError(
                    f"The subset of report step {subset.step} was not reported. Call "
                    "subset.report(value) once in every round of the loop."
                )
            loop.carry = subset.carry

    def rank_correlations(self, study: Study) -> dict[int, tuple[float, int]]:
        """How well each smaller subset ranks configurations, from the trials that went on.

        Args:
            study: A study that uses this evaluator.

        Returns:
            Number of examples to the rank correlation with the full data (NaN below 3 pairs,
            corrected for the pruned trials that never got there) and the number of pairs.
        """
        curves = self._curves(study)
        return {size: _correlation(curves, size) for size in self.sizes[:-1]}

    def _curves(self, study: Study) -> list[Curve]:
        from optuna_rocket.trials import CurveReader

        if self._reader is None:
            self._reader = CurveReader()
        return self._reader.read(study)

    def _rungs(self, loop: _Loop) -> Iterator[Subset]:
        nested = self._nested
        n, last = nested.sizes[-1], len(nested.sizes) - 1
        for rung, size in enumerate(nested.sizes):
            is_full = rung == last
            if not is_full and (loop.reported is None or size in loop.reported):
                continue
            yield Subset(nested.indices(rung), size / n, size, is_full, loop)

    def _instances(self, loop: _Loop) -> Iterator[Subset]:
        n = len(self._nested.order)
        rng = np.random.default_rng([self._seed, loop.trial.number])
        order = [int(i) for i in rng.permutation(n)]
        reported = loop.reported or {}
        rest = [i for i in order if i not in reported] or order[-1:]
        loop.instance_values = [reported[i] for i in order if i not in rest]
        for i in rest:
            yield Subset(np.array([i], dtype=np.int64), 1 / n, i, i == rest[-1], loop)

    def _may_ask(self, loop: _Loop, subset: Subset) -> bool:
        """Whether the study's pruner is asked after a report."""
        if subset.is_full:
            return False  # what is paid for in full is kept
        if self._by_instance:
            return len(loop.instance_values) >= self._n_before_pruning
        assert isinstance(loop.trial, Trial)
        correlation, n_pairs = _correlation(self._curves(loop.trial.study), subset.step)
        if not misleads(correlation, n_pairs):
            return True
        if self._tell_once(subset.step):
            _logger.warning(
                f"Results on {subset.step} examples do not predict those on all (rank correlation "
                f"{correlation:.2f} over {n_pairs} trials): no trial is pruned there as long as "
                "this holds. Use a larger min_fraction."
            )
        return False

    def _warn_of_another_grid(self, trial: BaseTrial, reported: dict[int, float] | None) -> None:
        if reported is None or trial.number == 0:
            return
        assert isinstance(trial, Trial)
        complete = trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        steps = [int(x) for x in rounds_of(complete[-1].user_attrs)[0]] if complete else []
        if steps and not set(steps) <= set(self.sizes) and self._tell_once("grid"):
            _logger.warning(
                f"Earlier trials of this study report at {steps} examples, this evaluator at "
                f"{list(self.sizes)}: pruners cannot compare them and prune less. Use the earlier "
                "min_fraction, reduction_factor and data, or a new study."
            )

    def _tell_once(self, topic: object) -> bool:
        with self._lock:
            is_new = topic not in self._told
            self._told.add(topic)
        return is_new


class _Loop:
    """What one trial's loop over its subsets keeps; it belongs to that trial alone."""

    def __init__(
        self, evaluator: SubsetEvaluator, trial: BaseTrial, reported: dict[int, float] | None
    ) -> None:
        self.evaluator, self.trial, self.reported = evaluator, trial, reported
        self.carry: Any = None
        self.instance_values: list[Any] = []
        steps, seconds = rounds_of(trial.user_attrs) if reported else ([], [])
        self._costs: dict[str, Any] = {
            "steps": [int(step) for step in steps],
            "seconds": seconds,
        }
        if reported and is_warm(trial.user_attrs):
            self._costs["warm"] = True
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
        if self.carry is not None:
            self._costs["warm"] = True
        if subset.step not in self.reported:
            self.trial.report(value, subset.step)
        may_ask = self.evaluator._may_ask(self, subset)
        # Instances may be many: their costs are written once, at the end.
        is_stopped = may_ask and self.trial.should_prune()
        if is_stopped or subset.is_full or not self.evaluator._by_instance:
            if fits(self._costs):  # those of some thousand instances do not
                self.trial.set_user_attr(COSTS, self._costs)
        if is_stopped:
            raise optuna.TrialPruned(f"Pruned at report step {subset.step}.")


class Subset:
    """One round of the loop: the examples to train on, and where the result goes.

    Attributes:
        indices: Examples of this subset, rising; ``arange(n)`` for the full data. With
            ``by="instance"``: the one instance to evaluate.
        fraction: Their share of the data, in (0, 1].
        step: Report step: number of examples, or the instance's number.
        is_full: Whether this is the last round, after which there is a ``value``.
        carry: What the previous round left here, None in the first round; what this round leaves
            here (weights, an optimiser) the next one finds. Kept in memory only.
        is_reported: Whether ``report`` was called.
    """

    def __init__(
        self, indices: NDArray[np.int64], fraction: float, step: int, is_full: bool, loop: _Loop
    ) -> None:
        self.indices, self.fraction, self.step, self.is_full = indices, fraction, step, is_full
        self.carry: Any = loop.carry
        self.is_reported = False
        self._loop = loop
        self._value: Any = None

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
        if not self._loop.evaluator._by_instance:
            return self._value
        mean = np.mean(np.asarray(self._loop.instance_values, dtype=np.float64), axis=0)
        return float(mean) if mean.ndim == 0 else tuple(map(float, mean))


def _correlation(curves: Sequence[Curve], step: int) -> tuple[float, int]:
    held = [curve for curve in curves if step in curve.steps]
    x = np.array([curve.scores[curve.steps.index(step)] for curve in held], dtype=np.float64)
    y = np.array([curve.final for curve in held], dtype=np.float64)
    return rank_correlation(x, y)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(
            f"value={value!r} is not a number. Report a float, for example value.item()."
        ) from None
