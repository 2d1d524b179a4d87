"""When a report is no ground to stop a trial: what the complete trials say of such reports.

A forecast is calibrated on the trials that went on, and these are the ones that looked good: of
what it has never seen it knows nothing. Three ways to be misled are caught here, at the price of a
few full evaluations: reports that order trials the wrong way round, reports from before anyone
learns (a warm-up, a plateau), and trials that have not begun to learn.
"""

from __future__ import annotations

import math

import numpy as np

from optuna_rocket.fidelity.forecast import Evidence


# Reports from which on a trial can be seen not to have begun to learn. Subsets are fewer.
A_CURVE = 3
# Trials have begun to learn where a quarter of them have risen by this share of what they rise in
# all. Before, reports differ by chance.
_BEGUN_SHARE, _BEGUN_QUANTILE = 0.1, 0.75
_BEYOND_CHANCE = 3.0  # standard deviations of Kendall's statistic
# A trial that has risen by less than this share of what others have risen is asleep. So many such
# trials must have gone to the end before one is stopped, and none of them among the best third.
_ASLEEP_SHARE = 0.25
_ENOUGH_SLEEPERS = 2
_BEST_SHARE = 1 / 3
# More pairs of complete trials than the latest ones cost time.
_MOST_PAIRS = 100


def contradicts(evidence: Evidence, step: int) -> bool:
    """Whether the complete trials end in another order than that of their reports at a step.

    They do where no more pairs of them agree than disagree (Kendall's tau of at most 0). Fewer
    than two trials contradict nothing.
    """
    n_pairs, agreement = _order(evidence, step)
    return n_pairs >= 2 and agreement <= 0


def _order(evidence: Evidence, step: int) -> tuple[int, int]:
    """Number of complete trials that reported at a step, and the pairs that agree less the others.

    Two trials agree if the one with the better report ended better (Kendall 1938).
    """
    x, y = evidence.at(step), evidence.finals
    paired = (~np.isnan(x) & ~np.isnan(y)).nonzero()[0][-_MOST_PAIRS:]
    # Signs of comparisons, as infinite scores have no differences.
    orders = [(z[:, None] > z).astype(np.int64) - (z[:, None] < z) for z in (x[paired], y[paired])]
    return len(paired), int((orders[0] * orders[1]).sum()) // 2


def had_begun(evidence: Evidence, step: int) -> bool:
    """Whether complete trials had begun to learn at a step, so that reports there say something.

    Before the third report a rise cannot be told, and what they had risen there counts. Where
    fewer than two trials reported so often, or where they do not rise at all, nothing speaks
    against the reports; nor where they already order the trials better than chance would (curves
    that get worse before they get better).
    """
    is_curve = ~np.isnan(evidence.finals) & (evidence.counts >= A_CURVE)
    if is_curve.sum() < 2:
        return True
    later = evidence.steps[int(np.median(evidence.places_of(A_CURVE - 1)[is_curve]))]
    early, total = evidence.rises(max(step, later))[is_curve], evidence.total_rises[is_curve]
    early, total = early[np.isfinite(early)], total[np.isfinite(total)]
    if len(early) < 2 or len(total) < 2:
        return True
    begun = _BEGUN_SHARE * float(np.median(total))
    if begun <= 0 or float(np.quantile(early, _BEGUN_QUANTILE)) >= begun:
        return True
    n, agreement = _order(evidence, step)
    return agreement > _BEYOND_CHANCE * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)


def may_rise_late(evidence: Evidence, step: int, rise: float) -> bool:
    """Whether a trial is asleep at a step, and such trials are not known to end badly.

    Args:
        evidence: The trials before it.
        step: Its latest report step.
        rise: By how much its score has risen since its first report.
    """
    rises, finals = evidence.rises(step), evidence.finals
    known = rises[np.isfinite(rises)]
    usual = float(np.median(known)) if len(known) else math.nan
    asleep = _ASLEEP_SHARE * usual
    # Where others do not rise there is nothing to wait for, and a fall as deep is no sleep.
    if not (asleep > 0 and -usual < rise < asleep):
        return False
    is_complete = ~np.isnan(finals)
    ends = finals[is_complete & np.isfinite(rises) & (rises < asleep)]
    if len(ends) < _ENOUGH_SLEEPERS:
        return True
    n_better = int((finals[is_complete] > ends.max()).sum())
    return n_better < _BEST_SHARE * int(is_complete.sum())
