"""What ``SubsetEvaluator`` warns of, each thing once."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence
import math

import optuna
from optuna.pruners import BasePruner
from optuna.trial import BaseTrial
from optuna.trial import FixedTrial
from optuna.trial import FrozenTrial
from optuna.trial import Trial
from optuna.trial import TrialState

from optuna_rocket import costs
from optuna_rocket.fidelity.subset import NestedSubsets
from optuna_rocket.once import Once


# Groups that make the smallest subset this many times as large as it was asked for are told of.
_FAR_FROM_ASKED = 2
# A class with fewer examples than this in the smallest subset is told of.
_FEW = 5
# Users know the evaluator.
_logger = optuna.logging.get_logger(f"optuna.{__name__.rpartition('.')[0]}.evaluator")


class Notices:
    """What one evaluator has warned of."""

    def __init__(self) -> None:
        self._told = Once()

    def warn(self, topic: object, message: str) -> None:
        """Warn, the first time that it is about this topic."""
        if self._told.is_first(topic):
            _logger.warning(message)

    def of_subsets(
        self, nested: NestedSubsets, *, min_fraction: float, min_examples: int, has_groups: bool
    ) -> None:
        """Whole groups that are large, and classes that hardly come in the smallest subset."""
        fraction = nested.sizes[0] / nested.sizes[-1]
        if has_groups and fraction > _FAR_FROM_ASKED * min_fraction:
            self.warn(
                "groups",
                f"Whole groups make the smallest subset {fraction:.0%} of the data instead of "
                f"min_fraction={min_fraction:.3g}: looking at it saves little. "
                "Use smaller groups.",
            )
        least = min(_FEW, min_examples)
        # Of what is rarer still no subset holds enough, nor do all the data.
        counts = [x for x in nested.classes if x.in_all >= least]
        rarest = min(counts, key=lambda x: x.in_smallest, default=None)
        if rarest is not None and rarest.in_smallest < least:
            enough = math.ceil(1e4 * least / rarest.in_all) / 1e4
            self.warn(
                "rare class",
                f"The smallest subset, {nested.sizes[0]} examples, holds {rarest.in_smallest} of "
                f"the {rarest.in_all} examples of class {rarest.name}: what is measured on that "
                f"class there follows luck. A min_fraction of {enough:.4g} holds {least}.",
            )

    def of_a_stand_in(self, trial: BaseTrial) -> None:
        """A trial that cannot report."""
        if isinstance(trial, (Trial, FixedTrial, FrozenTrial)):
            return
        self.warn(
            "stand-in",
            f"A {type(trial).__name__} is no optuna.trial.Trial, whose study the evaluator needs: "
            "it is evaluated on the full data, nothing is reported and no pruner is asked. In "
            "distributed training only rank 0 has the Trial: train on the full data, and to stop "
            "trials early call trial.report and trial.should_prune by epoch.",
        )

    def of_a_pruner_by_effort(self, pruner: BasePruner) -> None:
        """``RocketPruner``, which stops nobody where reports are about one instance each."""
        from optuna_rocket.pruner import RocketPruner

        if isinstance(pruner, RocketPruner):
            self.warn(
                "pruner",
                "RocketPruner takes report steps for amounts of effort and stops nobody with "
                "by='instance', where they are numbers of instances. Use "
                "optuna.pruners.WilcoxonPruner.",
            )

    def of_another_grid(self, trial: Trial, sizes: Sequence[int]) -> None:
        """Earlier trials whose sizes are others than those of this evaluator."""
        if trial.number == 0:
            return
        complete = trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        rounds = costs.read(complete[-1].user_attrs) if complete else costs.Costs()
        if rounds.by_instance:
            return
        steps, own = [int(x) for x in rounds.steps], set(sizes)
        # Those of two evaluators in one trial hold the sizes of both.
        if steps and not set(steps) <= own and not own <= set(steps):
            self.warn(
                "grid",
                f"Earlier trials of this study report at {steps} examples, this evaluator at "
                f"{list(sizes)}: pruners cannot compare them and prune less. Use the earlier "
                "min_fraction, reduction_factor and data, or a new study.",
            )

    def of_unknown_names(self, trial: BaseTrial, scaled: Collection[str]) -> None:
        """Parameters to be scaled that a trial lacks."""
        for name in scaled:
            if name not in trial.params:
                self.warn(
                    ("scale", name),
                    f"scale= names {name!r}, which trial {trial.number} lacks: nothing is scaled "
                    f"in trials without it. This one has {sorted(trial.params)}.",
                )

    def of_a_misleading_size(self, size: int, correlation: float, n_pairs: int) -> None:
        """A size that does not rank trials as the full data does."""
        self.warn(
            size,
            f"Results on {size} examples do not predict those on all (rank correlation "
            f"{correlation:.2f} over {n_pairs} trials): no trial is pruned there as long as "
            "this holds. Use a larger min_fraction.",
        )
