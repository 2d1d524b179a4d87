"""What subsets and pruning have saved, and what they have cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
import math
from statistics import median
from typing import TYPE_CHECKING
from typing import Literal
from typing import NamedTuple

from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_rocket import hindsight
from optuna_rocket.costs import Costs
from optuna_rocket.costs import read
from optuna_rocket.costs import without
from optuna_rocket.retries import retried_numbers
from optuna_rocket.visualization import drawing


if TYPE_CHECKING:
    from plotly import graph_objects as go


_TITLE = "Cost of the Trials"
_N_DRAWN = 300  # points of the lines; latest trials with a bar
_COLORS = {"COMPLETE": drawing.BLUE, "PRUNED": drawing.ORANGE}
_ENDED = set(_COLORS)  # the others would have cost what they have, subsets or not
_COLORS |= {"FAIL": drawing.RED, "RUNNING": drawing.GRAY}


@dataclass(frozen=True)
class CostInfo:
    """Costs of ``n`` trials by number, in full evaluations.

    Attributes:
        numbers: Trial numbers.
        trial_states: Names of their ``TrialState``.
        costs: What each trial has cost.
        full: What a full evaluation costs, in the unit.
        unit: ``"examples"``, ``"instances"``, ``"report steps"`` or ``"seconds"``.
        is_warm: Whether ``full`` is what a complete trial costs, for want of a full evaluation
            that began from nothing.
    """

    numbers: tuple[int, ...]
    trial_states: tuple[str, ...]
    costs: tuple[float, ...]
    full: float
    unit: str
    is_warm: bool = False

    @property
    def saved(self) -> float:
        """Share of what full evaluations would have cost that was saved; negative for a loss."""
        if not self.costs:
            return math.nan
        return 1 - sum(self.costs) / sum(self.in_full) if sum(self.in_full) > 0 else 0.0

    @property
    def in_full(self) -> tuple[float, ...]:
        """What each trial would have cost in full: one that failed or still runs, what it has."""
        pairs = zip(self.trial_states, self.costs, strict=True)
        return tuple(1.0 if state in _ENDED else cost for state, cost in pairs)


def plot_cost(
    study: Study, by: Literal["steps", "seconds"] = "steps", *, full: float | None = None
) -> go.Figure:
    """Plot what the trials have cost beside what full evaluations of all of them would have.

    A trial with ``SubsetEvaluator`` has cost the examples of all of its rounds: a complete trial
    costs more than one full evaluation; with ``by="instance"`` it has cost the number of its
    instances. A pruned trial that only reports has cost its latest report step (one more where
    steps count from 0), a complete one is a full evaluation, whatever its length, unless ``full``
    is given. Else a full evaluation costs the full data, or the longest report step of a complete
    trial. Trials without any report are left out. What failed or still runs has saved nothing: it
    counts with what it has cost on both sides, and a run of it again with its own rounds alone.

    Where rounds hand on weights (``Subset.carry``), a round has cost its examples, less those of
    the previous one if it asked for ``Subset.remaining``; where later rounds train less in another
    way, take ``by="seconds"``. No trial tells then what a full evaluation from nothing takes: give
    it as ``full``, or a complete trial with all its rounds counts as one.

    Args:
        study: A study of one objective whose trials report intermediate values.
        by: ``"steps"`` counts examples or report steps; ``"seconds"`` takes the times that
            ``SubsetEvaluator`` has stored, and the median one of a round on the full data.
        full: Cost of one full evaluation in examples, report steps or seconds, above 0, where you
            know it better.

    Raises:
        ImportError: If plotly is not installed.
        ValueError: If an argument makes no sense or the study has several objectives.
    """
    drawing.graph_objects()
    return _draw(cost_info(study, by, full))


def cost_info(
    study: Study, by: Literal["steps", "seconds"] = "steps", full: float | None = None
) -> CostInfo:
    """The numbers behind ``plot_cost``; no trials as long as no full evaluation is known."""
    hindsight.require_single_objective(study, "plot_cost", drawing.NO_REPORTS)
    if by not in ("steps", "seconds"):
        raise ValueError(f"by={by!r} is no measure of cost. Use 'steps' or 'seconds'.")
    if full is not None and not 0 < full < math.inf:
        raise ValueError(f"full={full!r} is not a number above 0. Leave it out if unknown.")
    stored = _read(study)
    by_instance = any(x.rounds.by_instance for x in stored)
    told = [
        x for x in stored if x.rounds.n_rounds or (x.trial.intermediate_values and by == "steps")
    ]
    from_zero = _counts_from_zero(told)
    costs = [_cost(x, by, by_instance, from_zero) for x in told]
    warm = full is None and by == "seconds" and any(x.rounds.is_warm for x in told)
    if full is None:
        complete = [x for x in told if x.trial.state == TrialState.COMPLETE]
        measures = [x for x in complete if x.rounds.n_rounds] or complete
        full = _full_cost(measures, by, by_instance, from_zero, in_all=by_instance or warm)
        # Trainings of different lengths: none of those that came to their end has saved anything.
        ends = [x.trial.state == TrialState.COMPLETE and not x.rounds.n_rounds for x in told]
        costs = [full if end else cost for end, cost in zip(ends, costs, strict=True)]
    unit = "seconds" if by == "seconds" else "report steps"
    if by == "steps" and any(x.rounds.n_rounds for x in told):
        unit = "instances" if by_instance else "examples"
    if not full > 0:
        told, costs, full = [], [], math.nan
    return CostInfo(
        tuple(x.trial.number for x in told),
        tuple(x.trial.state.name for x in told),
        tuple(cost / full for cost in costs),
        full,
        unit,
        warm,
    )


class _Told(NamedTuple):
    """A trial and what its rounds took: all that are stored with it, and its own.

    Others came with it where it is another run of a trial whose worker died.
    """

    trial: FrozenTrial
    rounds: Costs
    own: Costs


def _read(study: Study) -> list[_Told]:
    told: list[_Told] = []
    rounds: dict[int, Costs] = {}
    for trial in study.get_trials(deepcopy=False):
        rounds[trial.number] = known = read(trial.user_attrs)
        before = max(retried_numbers(trial.system_attrs) & rounds.keys(), default=trial.number)
        own = known if before == trial.number else without(known, rounds[before])
        told.append(_Told(trial, known, own))
    return told


def _counts_from_zero(told: Sequence[_Told]) -> bool:
    """Whether a trial without rounds reported at step 0: what took it there has cost one too."""
    return any(not x.rounds.n_rounds and 0 in x.trial.intermediate_values for x in told)


def _cost(told: _Told, by: str, by_instance: bool, from_zero: bool) -> float:
    reports = told.trial.intermediate_values
    if by == "seconds":
        return told.own.total
    if by_instance:
        return float(told.own.n_rounds if told.rounds.n_rounds else len(reports))
    return float(sum(told.own.examples) if told.rounds.examples else max(reports) + from_zero)


def _full_cost(
    complete: Sequence[_Told], by: str, by_instance: bool, from_zero: bool, in_all: bool
) -> float:
    """Cost of one full evaluation, 0 as long as none is known.

    ``in_all`` says that it is that of all rounds of a complete trial, not that of the last.
    """
    if by == "seconds":
        times = [x.rounds.total if in_all else x.rounds.seconds[-1] for x in complete]
        return median(times) if times else 0.0
    if by_instance:
        n_instances = (len(x.trial.intermediate_values) or x.rounds.n_rounds for x in complete)
        return float(max(n_instances, default=0))
    steps = [max(x.rounds.steps or x.trial.intermediate_values) for x in complete]
    return float(max(steps) + from_zero) if steps else 0.0


def _draw(info: CostInfo) -> go.Figure:
    if not info.numbers:
        reason = "No complete trial with intermediate values yet: nothing to compare with."
        return drawing.empty(_TITLE, reason)
    figure = drawing.subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.65, 0.35]
    )
    for trace in _totals(info):
        figure.add_trace(trace, 1, 1)
    for trace in _bars(info):
        figure.add_trace(trace, 2, 1)
    figure.update_layout(drawing.layout(_TITLE, _summary(info), barmode="stack", bargap=0.1))
    figure.update_yaxes(
        title_text="Complete Trials" if info.is_warm else "Full Evaluations", row=1, col=1
    )
    figure.update_yaxes(title_text="Per Trial", row=2, col=1)
    figure.update_xaxes(title_text="Trial", row=2, col=1)
    return figure


def _totals(info: CostInfo) -> list[go.Scatter]:
    """Two lines with what is between them: green for savings, red for losses."""
    go = drawing.graph_objects()
    n = len(info.numbers)
    every = n // _N_DRAWN + 1
    thin = slice((n - 1) % every, None, every)  # the last trial is always there
    common = {
        "x": info.numbers[thin],
        "mode": "lines",
        "hovertemplate": "%{y:.2f} full evaluations<extra></extra>",
    }
    return [
        go.Scatter(
            y=drawing.rounded(list(accumulate(info.costs))[thin]),
            name="spent",
            line={"color": drawing.BLUE, "width": 2},
            **common,
        ),
        go.Scatter(
            y=drawing.rounded(list(accumulate(info.in_full))[thin]),
            name="all in full",
            line={"color": drawing.GRAY, "dash": "dash"},
            fill="tonexty",
            fillcolor=drawing.SAVED if info.saved >= 0 else drawing.LOST,
            **common,
        ),
    ]


def _bars(info: CostInfo) -> list[go.Bar]:
    go = drawing.graph_objects()
    bars = []
    for state, color in _COLORS.items():
        rows = [i for i, other in enumerate(info.trial_states) if other == state]
        rows = [i for i in rows if i >= len(info.numbers) - _N_DRAWN]
        bars.append(
            go.Bar(
                x=[info.numbers[i] for i in rows],
                y=drawing.rounded(info.costs[i] for i in rows),
                marker={"color": color, "line": {"width": 0}},
                name=state.lower(),
                showlegend=bool(rows),
                hovertemplate="trial %{x}: %{y:.2f}<extra></extra>",
            )
        )
    return bars


def _summary(info: CostInfo) -> str:
    percent = f"{abs(100 * info.saved):.0f} %"
    verdict = f"{percent} less" if info.saved >= 0 else f"{percent} more"
    total, in_full = sum(info.costs), f"{sum(info.in_full):.1f}".removesuffix(".0")
    of_what = "complete trials" if info.is_warm else "full evaluations"
    return f"{total:.1f} instead of {in_full} {of_what}, {verdict} ({info.unit})"
