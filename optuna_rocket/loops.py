"""Which loops over its subsets a trial has had in this process.

A second loop finds the report steps of the first one taken: it would pass for that of a trial that
is run again after a crash, skip its subsets and be pruned by nobody.
"""

from __future__ import annotations

from collections.abc import Collection
import threading
from weakref import WeakKeyDictionary

from optuna.trial import Trial


# Report steps of a loop, of which a range stands for instances, to whether it came to its end. Of
# the module: evaluators are pickled and may be many. Forgotten with the trial.
Grid = tuple[int, ...] | range
_loops: WeakKeyDictionary[Trial, dict[Grid, bool]] = WeakKeyDictionary()
_lock = threading.Lock()
_ONE_LOOP = (
    "Run one loop a trial: train all folds or models in each of its rounds and report their mean."
)


def begin(trial: Trial, grid: Grid) -> str | None:
    """Take note that a loop begins.

    One that was broken off, as by an exception, may begin again: it goes on where it was.

    Returns:
        A warning where another evaluator had a loop in this trial, at other report steps.

    Raises:
        RuntimeError: If this loop came to its end in this trial, or another had its report steps.
    """
    with _lock:
        known = _loops.setdefault(trial, {})
        others = [other for other in known if other != grid]
        has_ended = known.setdefault(grid, False)
    if has_ended:
        raise RuntimeError(
            f"Trial {trial.number} has been evaluated on these subsets already: in a second loop "
            f"they would be skipped, and no pruner asked. {_ONE_LOOP}"
        )
    if not others:
        return None
    shared = sorted(_union(others).intersection(grid))
    if shared:
        raise RuntimeError(
            f"Trial {trial.number} has had a loop of another evaluator, which reports at steps "
            f"{shared[:5]} too: they cannot be told apart. {_ONE_LOOP}"
        )
    return (
        f"Trial {trial.number} is evaluated with two SubsetEvaluators, but has one curve: pruners "
        f"take the reports of both for it and may stop the wrong trials. {_ONE_LOOP}"
    )


def end(trial: Trial, grid: Grid) -> None:
    """Take note that a loop has come to its end."""
    with _lock:
        _loops.setdefault(trial, {})[grid] = True


def _union(grids: Collection[Grid]) -> set[int]:
    return {step for grid in grids for step in grid}
