"""From live studies to tables and a figure: ``python -m benchmarks.live_summary``.

Notation:
    s: studies of one method on one task, one per seed
    e: ends of trials
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import math
from pathlib import Path
from typing import Any
from typing import Literal

import numpy as np

from benchmarks.aggregate import Array
from benchmarks.live import METHODS
from benchmarks.live import PATH
from benchmarks.live import LiveReplication
from benchmarks.live import read_live_replications
from benchmarks.pruning_summary import write_table
from benchmarks.report import markdown_rows
from optuna_rocket.fidelity.correlation import rank_correlation


RIVALS = ("tpe+none", "gp+none")
RANKING_METHOD = "random+all:4"
COLUMNS = (
    "task",
    "method",
    "seeds",
    "validation",
    "test",
    "examples_x_tpe",
    "examples_x_gp",
    "seconds_x_tpe",
    "seconds_x_gp",
    "trials",
    "pruned",
    "wrong_stops",
    "lost_answers",
)
_TOP_SHARE = 0.05
_BEST_SHARE = 0.25
_PROMOTED_SHARE = 0.1

Clock = Literal["examples", "seconds"]
CLOCKS: tuple[Clock, ...] = ("examples", "seconds")
# Studies by task and method.
Studies = dict[str, dict[str, list[LiveReplication]]]


def arrange(replications: Sequence[LiveReplication]) -> Studies:
    """Sort studies by task and method, and by seed within these."""
    studies: Studies = {}
    for x in sorted(replications, key=lambda x: x.seed):
        studies.setdefault(x.task, {}).setdefault(x.method, []).append(x)
    return {task: dict(sorted(methods.items(), key=_order)) for task, methods in studies.items()}


def mean_curve(studies: Sequence[LiveReplication], clock: Clock) -> tuple[Array, Array]:
    """Mean over studies of the best full-data score so far.

    Args:
        studies: ``s`` studies.
        clock: ``examples`` in full evaluations, or ``seconds``.

    Returns:
        The clock ``(e,)`` at every end of a trial of any study, and the mean score ``(e,)`` then;
        a study counts as 0 before its first complete trial and keeps its best after its end.
    """
    times = [np.array(getattr(x, clock), dtype=np.float64) / _unit(x, clock) for x in studies]
    at = np.unique(np.concatenate(times))
    bests = []
    for x, ends in zip(studies, times, strict=True):
        best = np.maximum.accumulate([0.0, *full_scores(x)])
        bests.append(best[np.searchsorted(ends, at, side="right")])
    return at, np.mean(bests, 0)


def full_scores(study: LiveReplication) -> list[float]:
    """Full-data score of every trial, 0 where it has none."""
    finals = zip(study.states, study.reports, strict=True)
    return [reports[-1] or 0.0 if state == "C" else 0.0 for state, reports in finals]


def clock_at(studies: Sequence[LiveReplication], bar: float, clock: Clock) -> float:
    """Clock at which the mean curve reaches a bar, infinite if it does not."""
    at, best = mean_curve(studies, clock)
    reached = best >= bar - 1e-9
    return float(at[np.argmax(reached)]) if reached.any() else math.inf


def task_rows(studies: Studies) -> list[dict[str, Any]]:
    """One row per task and method: what it reached, and at which cost relative to the rivals.

    ``x_tpe`` is the clock at which the method's mean best score is what ``tpe+none`` has at its
    end, divided by the clock at which ``tpe+none`` first has it.
    """
    return [
        _task_row(task, method, methods)
        for task, methods in studies.items()
        for method in methods
        if method != RANKING_METHOD
    ]


def _task_row(task: str, method: str, methods: dict[str, list[LiveReplication]]) -> dict[str, Any]:
    own = methods[method]
    row: dict[str, Any] = {
        "task": task,
        "method": method,
        "seeds": len(own),
        "validation": round(float(np.mean([max(full_scores(x)) for x in own])), 4),
        "test": round(float(np.mean([x.test or 0.0 for x in own])), 4),
    }
    for rival in RIVALS:
        row |= _relative_costs(own, methods.get(rival, []), rival.split("+")[0])
    n_trials = sum(len(x.states) for x in own)
    return row | {
        "trials": round(n_trials / len(own), 1),
        "pruned": round(sum(x.states.count("P") for x in own) / n_trials, 3),
        "failed": round(sum(x.states.count("F") for x in own) / n_trials, 3),
        "wrong_stops": _rounded(wrong_stops(own)),
        "lost_answers": _rounded(lost_answers(own)),
        "ms_per_trial": round(1000 * sum(x.overhead for x in own) / n_trials, 1),
    }


def _relative_costs(
    own: Sequence[LiveReplication], rival: Sequence[LiveReplication], name: str
) -> dict[str, float]:
    """What it costs to reach the rival's score, over the seeds that both ran."""
    seeds = {x.seed for x in own} & {x.seed for x in rival}
    if not seeds:
        return {}
    own = [x for x in own if x.seed in seeds]
    rival = [x for x in rival if x.seed in seeds]
    bar = float(np.mean([max(full_scores(x)) for x in rival]))
    costs = {f"bar_{name}": round(bar, 4)}
    for clock in CLOCKS:
        spent = clock_at(own, bar, clock)
        costs[f"{clock}_to_{name}"] = round(spent, 2)
        reference = clock_at(rival, bar, clock)  # 0 where tasks are too fast for the clock
        costs[f"{clock}_x_{name}"] = round(spent / reference, 3) if reference else math.nan
    return costs


def wrong_stops(studies: Sequence[LiveReplication]) -> float:
    """Share of pruned trials whose full-data score is in the best 5 % of their study's trials.

    Estimated from the audited ones, each of which stands for its share of the pruned trials.
    """
    return _audited_share(studies, _top_score)


def lost_answers(studies: Sequence[LiveReplication]) -> float:
    """Share of pruned trials that would have beaten the study's final answer."""
    return _audited_share(studies, lambda x: math.nextafter(max(full_scores(x)), math.inf))


def _audited_share(
    studies: Sequence[LiveReplication], bar: Callable[[LiveReplication], float]
) -> float:
    n_pruned = n_above = 0.0
    for x in studies:
        if x.audit:
            above = np.mean([(score or 0.0) >= bar(x) for score in x.audit.values()])
            n_pruned += x.states.count("P")
            n_above += x.states.count("P") * float(above)
    return n_above / n_pruned if n_pruned else math.nan


def _top_score(study: LiveReplication) -> float:
    finals = zip(full_scores(study), study.states, strict=True)
    complete = [score for score, state in finals if state != "P"]
    audited = [score or 0.0 for score in study.audit.values()]
    weights = np.array(
        [1.0] * len(complete) + [study.states.count("P") / len(audited)] * len(audited)
    )
    scores = np.array(complete + audited)
    order = np.argsort(-scores)
    above = np.cumsum(weights[order]) / weights.sum()
    return float(scores[order][np.argmax(above >= _TOP_SHARE - 1e-9)])


def method_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per method: relative costs, median and worst over tasks and rivals."""
    result = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        names = [rival.split("+")[0] for rival in RIVALS if rival != method]
        line: dict[str, Any] = {"method": method, "studies": sum(row["seeds"] for row in own)}
        for clock in CLOCKS:
            columns = [f"{clock}_x_{name}" for name in names]
            costs = [row[column] for row in own for column in columns if column in row]
            line[f"{clock}_median"] = _rounded(float(np.median(costs)) if costs else math.nan)
            line[f"{clock}_worst"] = _rounded(max(costs, default=math.nan))
        for share in ("wrong_stops", "lost_answers"):
            known = [row[share] for row in own if not math.isnan(row[share])]
            line[share] = _rounded(float(np.mean(known)) if known else math.nan)
        result.append(line)
    return result


def ranking_rows(studies: Studies) -> list[dict[str, Any]]:
    """How subsets rank random configurations: rank correlation with the full data, per fraction.

    ``all`` is over all configurations, ``best`` over the quarter that is best on the full data.
    ``promoted`` is the best full-data score among the tenth that the subset ranks highest,
    ``best_score`` that of all; looking at all on the subset and at that tenth on the full data
    costs ``cost`` full evaluations instead of ``n``.
    """
    rows = []
    for task, methods in studies.items():
        for study in methods.get(RANKING_METHOD, ()):
            table = np.array([[s or 0.0 for s in reports] for reports in study.reports])
            final = table[:, -1]
            best = final >= np.quantile(final, 1 - _BEST_SHARE)
            n_promoted = math.ceil(len(final) * _PROMOTED_SHARE)
            for size, scores in zip(study.sizes[:-1], table.T[:-1], strict=True):
                promoted = np.argsort(-scores, kind="stable")[:n_promoted]
                rows.append(
                    {
                        "task": task,
                        "seed": study.seed,
                        "fraction": round(size / study.sizes[-1], 3),
                        "all": _rounded(rank_correlation(scores, final)[0]),
                        "best": _rounded(rank_correlation(scores[best], final[best])[0]),
                        "promoted": round(float(final[promoted].max()), 4),
                        "best_score": round(float(final.max()), 4),
                        "cost": round(len(final) * size / study.sizes[-1] + n_promoted, 1),
                        "n": len(final),
                    }
                )
    return rows


def _order(item: tuple[str, Any]) -> tuple[int, str]:
    method = item[0]
    return (METHODS.index(method) if method in METHODS else len(METHODS), method)


def _even(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows with all columns, as a table wants them."""
    names = max((list(row) for row in rows), key=len)
    return [{name: row.get(name, math.nan) for name in names} for row in rows]


def _unit(study: LiveReplication, clock: Clock) -> float:
    return float(study.full_examples) if clock == "examples" else 1.0


def _rounded(number: float) -> float:
    return round(number, 3)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: table, figure, and Markdown to stdout."""
    from benchmarks.live_figure import save_live_figure

    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_summary", description=__doc__)
    parser.add_argument("raw", nargs="*", type=Path, default=[PATH])
    parser.add_argument("--methods", nargs="+", help="these alone, of which all files hold some")
    parser.add_argument("--out", type=Path, help="table; beside the first file by default")
    args = parser.parse_args(argv)
    path = args.out or args.raw[0]
    replications = [
        x
        for raw in args.raw
        for x in read_live_replications(raw)
        if args.methods is None or x.method in args.methods
    ]
    if not replications:
        files = ", ".join(map(str, args.raw))
        raise SystemExit(f"{files} holds no such studies. Run python -m benchmarks.live first.")
    studies = arrange(replications)
    rows = task_rows(studies)
    write_table(path.with_suffix(".csv"), _even(rows))
    save_live_figure(path.with_suffix(".svg"), studies)
    print(markdown_rows(method_rows(rows)), "\n")
    print(markdown_rows(_even(rows), COLUMNS), "\n")
    ranking = ranking_rows(studies)
    if ranking:
        print(markdown_rows(ranking))


if __name__ == "__main__":
    main()
