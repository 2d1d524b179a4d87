"""What stopping trials could save at most: ``python -m benchmarks.expert_bounds``.

The studies of ``benchmarks.expert_level`` with subsets are replayed trial by trial. What was
stopped stays stopped, and of the trials that went on to the full data a rule that knows the end
stops some after the subset. The sampler would have gone on differently, so this is a bound for
the trials that it proposed, not a forecast.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.expert_level import PATH
from benchmarks.expert_summary import BUDGETS
from benchmarks.expert_summary import Study
from benchmarks.expert_summary import cost_of_level
from benchmarks.expert_summary import read_experts
from benchmarks.expert_summary import read_studies
from benchmarks.experts import PATH as EXPERTS
from benchmarks.report import markdown_rows


METHOD = "rocket+rocket"
RIVAL = "tpe+none"

# Whether a trial goes on, by its full-data score, the best one before, and the expert's level.
Rule = Callable[[float, float, float], bool]
RULES: dict[str, Rule] = {
    "as it was": lambda score, best, level: True,
    "only those that become the best go on": lambda score, best, level: score > best,
    "only the one that reaches the level goes on": lambda score, best, level: score >= level,
}


def replayed_cost(study: Study, rule: Rule, level: float) -> float:
    """Cost in full evaluations at which a study reaches a level, if a rule stops some trials.

    The first trial always goes on. Infinite where the level is not reached.
    """
    subset: float = study["sizes"][0] / study["sizes"][-1]
    cost, best = 0.0, -math.inf
    before = 0
    trials = zip(study["states"], study["reports"], study["examples"], strict=True)
    for number, (state, reports, examples) in enumerate(trials):
        spent: float = (examples - before) / study["full_examples"]
        before = examples
        score = reports[-1] if state == "C" and reports[-1] is not None else -math.inf
        goes_on = number == 0 or (state != "P" and rule(score, best, level))
        cost += spent if goes_on else min(spent, subset)
        best = max(best, score) if goes_on else best
        if best >= level:
            return cost
    return math.inf


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: a row per rule, as Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.expert_bounds", description=__doc__
    )
    parser.add_argument("raw", nargs="*", type=Path, default=[PATH])
    parser.add_argument("--experts", type=Path, default=EXPERTS)
    parser.add_argument("--method", default=METHOD)
    args = parser.parse_args(argv)
    experts, studies = read_experts(args.experts), read_studies(*args.raw)
    # One study per task, of those where there is a subset.
    pairs = [
        (own, studies[task, RIVAL][0], experts[task].validation)
        for (task, method), (own, *_) in studies.items()
        if method == args.method and len(own["sizes"]) == 2 and (task, RIVAL) in studies
    ]
    if not pairs:
        files = ", ".join(map(str, args.raw))
        raise SystemExit(f"{files} holds no studies of {args.method} and {RIVAL} to compare.")
    rivals = [min(cost_of_level(rival, level), max(BUDGETS)) for _, rival, level in pairs]
    rows: list[dict[str, Any]] = []
    for name, rule in RULES.items():
        costs = [replayed_cost(own, rule, level) for own, _, level in pairs]
        ratios = [rival / cost for rival, cost in zip(rivals, costs, strict=True)]
        rows.append(
            {
                "trials": name,
                "tasks": len(pairs),
                "reached": sum(map(math.isfinite, costs)),
                "median_cost": round(float(np.median(costs)), 2),
                "x_tpe": round(float(np.median(ratios)), 2),
            }
        )
    print(markdown_rows(rows))


if __name__ == "__main__":
    main()
