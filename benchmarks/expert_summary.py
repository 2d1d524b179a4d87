"""How tuned models compare with experts' recipes: ``python -m benchmarks.expert_summary``.

Several raw files are read as one. Where a task was run with a larger budget too, the cost of the
level is that of the longer study, and everything else that of the shorter one.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence
import csv
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.expert_level import PATH
from benchmarks.experts import PATH as EXPERTS
from benchmarks.pruning_summary import write_table
from benchmarks.records import read_lines
from benchmarks.report import markdown_rows


RIVALS = ("random+none", "tpe+none", "gp+none")
BUDGETS = (25, 50)
# A final answer counts as no worse on the test part above this many standard errors below.
_NOISE = 2.0

Study = dict[str, Any]  # a line of the raw file
Row = dict[str, Any]


@dataclass(frozen=True)
class Expert:
    """What a recipe reaches.

    Attributes:
        validation: Mean score over seeds.
        test: The same on the test part.
        test_sd: Standard deviation of that over seeds.
        n_seeds: Number of seeds.
    """

    validation: float
    test: float
    test_sd: float
    n_seeds: int


def read_experts(path: Path) -> dict[str, Expert]:
    """The experts by task, as ``benchmarks.experts`` measured them."""
    with path.open(newline="") as file:
        return {
            row["task"]: Expert(
                float(row["validation"]),
                float(row["test"]),
                float(row["test_sd"]),
                int(row["seeds"]),
            )
            for row in csv.DictReader(file)
        }


def best_scores(study: Study) -> tuple[list[float], list[float]]:
    """Cost in full evaluations at the end of every trial, and the best full-data score then."""
    best, bests = -math.inf, []
    for state, reports in zip(study["states"], study["reports"], strict=True):
        if state == "C" and reports[-1] is not None:
            best = max(best, reports[-1])
        bests.append(best)
    return [spent / study["full_examples"] for spent in study["examples"]], bests


def best_within(study: Study, budget: float) -> float:
    """Best full-data score at a cost of at most ``budget`` full evaluations, or minus infinity."""
    costs, bests = best_scores(study)
    return max(
        (best for cost, best in zip(costs, bests, strict=True) if cost <= budget + 1e-9),
        default=-math.inf,
    )


def cost_of_level(study: Study, level: float) -> float:
    """Cost in full evaluations at which the study reaches a score; infinite if it does not."""
    return _first_reached(study, level, best_scores(study)[0])


def seconds_of_level(study: Study, level: float) -> float:
    """The same in seconds of processor time: of trainings, and of the sampler and the pruner.

    The latter are known for the whole study and are shared out equally among its trials.
    """
    own = study["overhead"] / len(study["seconds"])
    spent = [seconds + own * number for number, seconds in enumerate(study["seconds"], 1)]
    return _first_reached(study, level, spent)


def _first_reached(study: Study, level: float, spent: Sequence[float]) -> float:
    bests = best_scores(study)[1]
    return next((x for x, best in zip(spent, bests, strict=True) if best >= level), math.inf)


def failed_share(study: Study) -> float:
    """Share of the trials whose training broke down: a loss or a prediction that is not finite."""
    return float(np.mean([None in reports for reports in study["reports"]]))


def task_row(method: str, every: Sequence[Study], expert: Expert) -> Row:
    """What a method reached on a task, over its studies; of each seed the longest tells costs."""
    by_budget = sorted(every, key=lambda study: study["budget"])
    studies = [x for x in by_budget if x["budget"] <= max(BUDGETS)] or by_budget
    longest = {study["seed"]: study for study in by_budget}.values()
    tests = [score for study in studies for score in study["answer_tests"]]
    known = [math.nan if score is None else score for score in tests]
    test = float(np.mean(known)) if known else math.nan
    slack = _NOISE * expert.test_sd * math.sqrt(1 / expert.n_seeds + 1 / max(1, len(known)))
    row: Row = {"task": studies[0]["task"], "method": method, "seeds": len(studies)}
    for budget in BUDGETS:
        best = [best_within(study, budget) for study in studies]
        row[f"validation@{budget}"] = round(float(np.mean(best)), 4)
        row[f"at_level@{budget}"] = float(np.mean([x >= expert.validation for x in best]))
    costs = [cost_of_level(study, expert.validation) for study in longest]
    row["cost"] = round(float(np.median(costs)), 2)
    row["cost_in_all"] = float(np.median([study["budget"] for study in longest]))
    seconds = [seconds_of_level(study, expert.validation) for study in longest]
    row["seconds"] = round(float(np.median(seconds)), 1)
    row["seconds_in_all"] = round(
        float(np.median([study["seconds"][-1] + study["overhead"] for study in longest])), 1
    )
    row["failed"] = round(float(np.mean([failed_share(study) for study in studies])), 3)
    row["test"] = round(test, 4)
    row["test_holds"] = float(test >= expert.test - slack)  # NaN holds nothing
    return row


def task_rows(
    studies: Mapping[tuple[str, str], Sequence[Study]], experts: Mapping[str, Expert]
) -> list[Row]:
    """One row per task and method, of the tasks whose expert was measured."""
    return [
        task_row(method, own, experts[task])
        for (task, method), own in studies.items()
        if task in experts
    ]


def method_rows(rows: Sequence[Row]) -> list[Row]:
    """One row per method: shares of its tasks, and how much cheaper it is than the rivals.

    ``x_RIVAL`` is the rival's cost to the expert's level over the method's, median over the tasks
    that both ran. A rival that does not get there counts with the whole budget of its longest
    study, which is too little; a method that does not get there counts as infinitely dear.
    ``s_RIVAL`` is the same in seconds.
    """
    by_method: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_method.setdefault(row["method"], {})[row["task"]] = row
    return [
        {
            "method": method,
            "tasks": len(own),
            **{f"at_level@{b}": _mean(own, f"at_level@{b}") for b in BUDGETS},
            "test_holds": _mean(own, "test_holds"),
            "median_cost": round(float(np.median([row["cost"] for row in own.values()])), 2),
            "median_seconds": round(float(np.median([row["seconds"] for row in own.values()])), 1),
            "failed": _mean(own, "failed"),
        }
        | {
            f"{letter}_{rival.split('+')[0]}": _times_cheaper(
                own, by_method.get(rival, {}), column
            )
            for rival in RIVALS
            for letter, column in (("x", "cost"), ("s", "seconds"))
        }
        for method, own in by_method.items()
    ]


def _mean(rows: Mapping[str, Row], column: str) -> float:
    return round(float(np.mean([row[column] for row in rows.values()])), 3)


def _times_cheaper(own: Mapping[str, Row], rival: Mapping[str, Row], column: str) -> float:
    ratios = [
        min(rival[task][column], rival[task][f"{column}_in_all"]) / own[task][column]
        for task in own
        if task in rival
    ]
    return round(float(np.median(ratios)), 2) if ratios else math.nan


def wide_rows(
    studies: Mapping[tuple[str, str], Sequence[Study]],
    rows: Sequence[Row],
    experts: Mapping[str, Expert],
) -> list[Row]:
    """One row per task: the expert's scores, then of every method validation, test and cost.

    Tasks of a family stand together.
    """
    methods = list(dict.fromkeys(method for _, method in studies))
    found = {(row["task"], row["method"]): row for row in rows}
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    families = list(dict.fromkeys(task.split("/")[0] for task in tasks))
    wide = []
    for task in sorted(tasks, key=lambda task: families.index(task.split("/")[0])):
        cells = {method: _cell(found.get((task, method))) for method in methods}
        expert = f"{experts[task].validation:.3f} / {experts[task].test:.3f}"
        wide.append({"task": task, "expert": expert} | cells)
    return wide


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    cost = f"{row['cost']:.1f}" if math.isfinite(row["cost"]) else "-"
    return f"{row[f'validation@{max(BUDGETS)}']:.3f} / {row['test']:.3f} / {cost}"


def read_studies(*paths: Path) -> dict[tuple[str, str], list[Study]]:
    """The studies of raw files by task and method, in the order in which methods came."""
    studies: dict[tuple[str, str], list[Study]] = {}
    for line in (line for path in paths for line in read_lines(path)):
        studies.setdefault((line["task"], line["method"]), []).append(line)
    return studies


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: table, figure, and Markdown to stdout."""
    from benchmarks.expert_figure import save_expert_figure

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.expert_summary", description=__doc__
    )
    parser.add_argument("raw", nargs="*", type=Path, default=[PATH])
    parser.add_argument("--experts", type=Path, default=EXPERTS)
    parser.add_argument("--out", type=Path, help="table; the figure beside it; else by the first")
    args = parser.parse_args(argv)
    studies, out = read_studies(*args.raw), args.out or args.raw[0]
    if not studies:
        raise SystemExit(f"{out} holds no studies. Run python -m benchmarks.expert_level.")
    experts = read_experts(args.experts)
    rows = task_rows(studies, experts)
    if not rows:
        raise SystemExit(
            f"{args.experts} holds none of the tasks. Run python -m benchmarks.experts."
        )
    write_table(out.with_suffix(".csv"), rows)
    save_expert_figure(out.with_suffix(".svg"), rows)
    print(markdown_rows(method_rows(rows)), "\n")
    print(markdown_rows(wide_rows(studies, rows, experts)))


if __name__ == "__main__":
    main()
