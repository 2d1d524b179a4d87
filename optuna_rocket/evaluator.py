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
| loop broken off by an exception, begun again in the trial | goes on in the same way |
| loop begun again after its end (one a fold) | a warning: last round alone, not stored |
| loop of a second evaluator in the trial | a warning: the reports of both make one curve |
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import math
from operator import is_not
import reprlib
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study
from optuna.trial import BaseTrial
from optuna.trial import Trial

from optuna_rocket import loops
from optuna_rocket.arguments import is_number
from optuna_rocket.fidelity.correlation import misleads
from optuna_rocket.fidelity.scaling import checked_guesses
from optuna_rocket.fidelity.subset import Stratify
from optuna_rocket.fidelity.subset import nested_subsets
from optuna_rocket.loops import Grid
from optuna_rocket.notices import Notices
from optuna_rocket.rounds import Loop
from optuna_rocket.rounds import Subset
from optuna_rocket.rounds import tagged_value


if TYPE_CHECKING:
    from optuna_rocket.curves import Curve
    from optuna_rocket.fidelity.scaling import Exponent
    from optuna_rocket.trials import CurveReader

# What says how to make subsets means nothing for instances: it may have its default, or be what
# instances have anyway.
_MEANT_FOR_INSTANCES: dict[str, tuple[object, ...]] = {
    "reduction_factor": (3,),
    "stratify": (None, False),
    "groups": (None,),
    "min_examples": (10, 1),
    "scale": (None,),
}


class SubsetEvaluator:
    """Evaluates configurations on growing parts of the data, so that pruners can stop early.

    The same seeded, nested, stratified subsets serve all trials, and what a trial reports is
    comparable with what others report at the same size. Works with every sampler and pruner of
    Optuna. One evaluator serves any number of trials, threads and studies at once: what belongs to
    a trial lives in the loop over ``subsets``.

    In a study of several objectives, and for a ``FixedTrial`` or ``FrozenTrial``, there is nobody
    to report to: the loop has one round, with the full data, and ``report`` only keeps the value.
    Nor is there for a trial of another class, such as ``TorchDistributedTrial``, which stands for
    one that rank 0 alone has; a warning says so once.

    Example:
        ```python
        subsets = SubsetEvaluator(y_train, min_fraction=1 / 9, reduction_factor=9)

        def objective(trial):
            lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
            for subset in subsets.subsets(trial):
                rows = subset.indices
                n_epochs = round(10 * subset.remaining)
                model = train(x_train[rows], y_train[rows], lr, n_epochs, start=subset.carry)
                subset.carry = model.weights  # the next subset goes on from here
                subset.report(accuracy(model, x_val, y_val))
            return subset.value
        ```

    Args:
        data: Labels or targets of the training examples, shape ``(n,)``, or their number. Never
            subset the validation data: its noise would hide the differences.
        min_fraction: Share of the data in the smallest subset, in (0, 1]. With
            ``by="instance"``: share of the instances before which no pruner is asked.
        reduction_factor: Ratio of neighbouring sizes, above 1.
        stratify: How subsets are made to resemble the whole: ``"classes"``, ``"quantiles"``,
            ``"blocks"`` (series, text), False, or None for a choice by the kind of ``data``; see
            ``fidelity.subset.nested_subsets``.
        groups: Group of every example, shape ``(n,)``: whole groups enter a subset.
        by: ``"resource"``: every report estimates the final value from more data; the report step
            is the number of examples. ``"instance"``: every report is the score of one fold or
            instance, the report step is its number, and the final value is the mean; for
            ``WilcoxonPruner``. Each trial meets the instances in an order of its own; they make
            no subsets, and what says how to make these is refused.
        min_examples: Examples per class (or tenth) below which a smallest subset is refused.
        scale: Names of float parameters that should change with the amount of data, such as a
            learning rate, with a first guess of their exponents in [-0.5, 1.5]; 0 for none. On a
            share of the data ``subset.params`` holds their value times ``fraction ** -exponent``.
            The exponents are fitted in the study (``fidelity.scaling``), from eight trials on the
            full data on. In a study of several objectives nothing is scaled.
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
        scale: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        if by not in ("resource", "instance"):
            raise ValueError(
                f"by={by!r} is no kind of report. Use 'resource' for growing parts of the data, "
                "or 'instance' for single folds or instances."
            )
        if by == "instance":
            _refuse_with_instances(
                reduction_factor=reduction_factor,
                stratify=stratify,
                groups=groups,
                min_examples=min_examples,
                scale=scale,
            )
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
        self._notices = Notices()
        self._notices.of_subsets(
            self._nested,
            min_fraction=min_fraction,
            min_examples=min_examples,
            has_groups=groups is not None,
        )
        self._by_instance = by == "instance"
        self._n_before_pruning = math.ceil(len(self._nested.order) * min_fraction - 1e-9)
        self._seed = seed
        self._guesses = checked_guesses({} if scale is None else scale)
        self._reader: CurveReader | None = None
        self._fit: tuple[list[Curve], dict[str, Exponent]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what can be rebuilt."""
        return {**self.__dict__, "_reader": None, "_fit": None}

    @property
    def sizes(self) -> tuple[int, ...]:
        """The report steps: numbers of examples, or of the instances."""
        return tuple(self._grid)

    @property
    def _grid(self) -> Grid:
        return range(len(self._nested.order)) if self._by_instance else self._nested.sizes

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
        self._notices.of_a_stand_in(trial)
        if reported is not None:
            assert isinstance(trial, Trial)
            self._begin(trial)
        exponents = self._exponents_for(trial, reported)
        loop = Loop(trial, reported, self._may_ask, self._by_instance, exponents)
        if self._by_instance:
            rounds = self._instances(loop)
        else:
            rounds = self._rungs(loop)
        for subset in rounds:
            loop.begin()
            yield subset
            if not subset.is_reported:
                raise RuntimeError(
                    f"The subset of report step {subset.step} was not reported. Call "
                    "subset.report(value) once in every round of the loop."
                )
            loop.carry, loop.carried_step = subset.carry, subset.step

    def _begin(self, trial: Trial) -> None:
        """What can be said of a trial that reports before its first round."""
        warning = loops.begin(trial, self._grid)
        if warning is not None:
            self._notices.warn("loops", warning)
        if self._by_instance:
            self._notices.of_a_pruner_by_effort(trial.study.pruner)
        else:
            self._notices.of_another_grid(trial, self.sizes)

    def rank_correlations(self, study: Study) -> dict[int, tuple[float, int]]:
        """How well each smaller subset ranks configurations, from the latest that went on.

        Args:
            study: A study that uses this evaluator.

        Returns:
            Number of examples to the rank correlation with the full data (NaN below 3 pairs,
            corrected for the pruned trials that never got there) and the number of pairs; empty
            with ``by="instance"``, where a step is no size.
        """
        if self._by_instance:
            return {}
        from optuna_rocket.curves import agreement

        curves = self._curves(study)
        return {size: agreement(curves, size) for size in self.sizes[:-1]}

    def exponents(self, study: Study) -> dict[str, Exponent]:
        """The exponents of the parameters in ``scale``, as the next trial would have them.

        Args:
            study: A study of one objective that uses this evaluator.

        Returns:
            Name to the applied ``value``, and the ``mean`` and ``std`` of what the trials tell;
            empty before there are eight trials on the full data.
        """
        from optuna_rocket.scaling import fit_exponents
        from optuna_rocket.scaling import fitting_trials

        curves = fitting_trials([x for x in self._curves(study) if x.steps], self.sizes[-1])
        kept = self._fit
        # They never change, but one of an earlier number may have ended since.
        if kept is None or len(kept[0]) != len(curves) or any(map(is_not, kept[0], curves)):
            n = self.sizes[-1]
            kept = (
                curves,
                fit_exponents(curves, self._guesses, {x: x / n for x in self.sizes[:-1]}),
            )
            self._fit = kept
        return kept[1]

    def _exponents_for(
        self, trial: BaseTrial, reported: dict[int, float] | None
    ) -> dict[str, float]:
        """What is applied in a trial: what was stored with it, else what its study tells now."""
        if not self._guesses or reported is None:
            return {}
        from optuna_rocket.scaling import EXPONENTS
        from optuna_rocket.scaling import used_exponents

        assert isinstance(trial, Trial)
        if EXPONENTS in trial.user_attrs:
            used = used_exponents(trial.user_attrs)
            return {name: x for name, x in used.items() if name in self._guesses}
        for name in self._guesses:
            if name in trial.params:
                tagged_value(trial, name)
        fitted = self.exponents(trial.study)
        values = {
            name: round(fitted[name].value if name in fitted else guess, 6)
            for name, guess in self._guesses.items()
        }
        trial.set_user_attr(EXPONENTS, values)
        return values

    def _curves(self, study: Study) -> list[Curve]:
        from optuna_rocket.trials import CurveReader

        if self._reader is None:
            self._reader = CurveReader()
        return self._reader.read(study)

    def _rungs(self, loop: Loop) -> Iterator[Subset]:
        nested = self._nested
        n, last = nested.sizes[-1], len(nested.sizes) - 1
        for rung, size in enumerate(nested.sizes):
            is_full = rung == last
            if not is_full and (loop.reported is None or size in loop.reported):
                continue
            yield Subset(nested.indices(rung), size / n, size, is_full, loop)

    def _instances(self, loop: Loop) -> Iterator[Subset]:
        n = len(self._nested.order)
        number = max(loop.trial.number, 0)  # made by hand a trial may have none
        order = [int(i) for i in np.random.default_rng([self._seed, number]).permutation(n)]
        reported = loop.reported or {}
        rest = [i for i in order if i not in reported] or order[-1:]
        # The last one is never skipped, though it may have been reported.
        loop.instance_values = [reported[i] for i in order if i in reported and i != rest[-1]]
        for i in rest:
            yield Subset(np.array([i], dtype=np.int64), 1 / n, i, i == rest[-1], loop)

    def _may_ask(self, loop: Loop, subset: Subset) -> bool:
        """Whether the study's pruner is asked after a report."""
        assert isinstance(loop.trial, Trial)
        if subset.is_full:
            loops.end(loop.trial, self._grid)
            self._notices.of_unknown_names(loop.trial, self._guesses)
            return False  # what is paid for in full is kept
        if self._by_instance:
            return len(loop.instance_values) >= self._n_before_pruning
        from optuna_rocket.curves import agreement

        correlation, n_pairs = agreement(self._curves(loop.trial.study), subset.step)
        if not misleads(correlation, n_pairs):
            return True
        self._notices.of_a_misleading_size(subset.step, correlation, n_pairs)
        return False


def _refuse_with_instances(**given: object) -> None:
    """Raise a ValueError for an argument that says how to make subsets."""
    for name, value in given.items():
        allowed = _MEANT_FOR_INSTANCES[name]
        if any(value is x or (is_number(value, x) and value == x) for x in allowed):
            continue
        raise ValueError(  # of groups the first few are enough
            f"{name}={reprlib.repr(value)} means nothing with by='instance'. Leave it out, or use "
            "by='resource'."
        )
