"""Which loops over its subsets a trial has had in this process.

A second loop finds the report steps of the first one taken: it would pass for that of a trial that
is run again after a crash, skip its subsets and be pruned by nobody.
"""

from __future__ import annotations

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

    One that was broken off, as by an exception, may begin again: it goes on where it was. With one
    size there is nothing to skip.

    Returns:
        A warning where this loop came to its end in this trial, or another evaluator had one.
    """
    with _lock:
        known = _loops.setdefault(trial, {})
        others = [other for other in known if other != grid]
        has_ended = known.setdefault(grid, False)
    if len(grid) == 1:
        return None
    if has_ended:
        return (
            f"Trial {trial.number} has been evaluated on these subsets already: a second loop has "
            "the last round alone, no pruner is asked, and what it reports is not stored. "
            f"{_ONE_LOOP}"
        )
    if not any(len(other) > 1 for other in others):
        return None
    return (
        f"Trial {trial.number} is evaluated with two SubsetEvaluators, but has one curve: pruners "
        f"take the reports of both for it and may stop the wrong trials. {_ONE_LOOP}"
    )


def end(trial: Trial, grid: Grid) -> None:
    """Take note that a loop has come to its end."""
    with _lock:
        _loops.setdefault(trial, {})[grid] = True
