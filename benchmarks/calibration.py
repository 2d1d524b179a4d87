"""How often forecasts hold what they promise: ``python -m benchmarks.calibration``.

Studies are those of ``benchmarks.pruning``, whose trials have a final value even where they were
stopped. Every trial is forecast at its first report from the trials before it, once by the reports
alone and once as ``RocketPruner`` judges it, which knows what ``RocketSampler`` expected too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration_figure import save_calibration_figure
from benchmarks.cells import Cell
from benchmarks.cells import select_problems
from benchmarks.partial_problems import DEV_PREFIX
from benchmarks.partial_problems import PARTIAL_PROBLEM_NAMES
from benchmarks.partial_problems import load_partial_problem
from benchmarks.pruning import MAX_TRIALS
from benchmarks.pruning import prepare
from benchmarks.pruning_summary import write_table
from benchmarks.report import markdown_rows
from benchmarks.workers import in_workers
from optuna_rocket.curves import Curve
from optuna_rocket.curves import learn
from optuna_rocket.fidelity.expectation import informed
from optuna_rocket.fidelity.forecast import Forecast
from optuna_rocket.trials import CurveReader


PATH = Path("benchmarks/results/calibration.csv")
METHODS = ("tpe+rocket", "rocket+rocket")
SHARE = 0.8
# Intervals of the figure.
SHARES = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95)
_N_STARTUP = 8  # complete trials before a forecast counts


def coverage(cell: Cell) -> dict[str, Any]:
    """Share of the trials whose final value was in the interval, and the interval's width."""
    problem = load_partial_problem(cell.problem)
    study, simulation = prepare(problem, cell.method, cell.seed)
    while simulation.clock < cell.n_trials and len(simulation.clocks) < MAX_TRIALS:
        study.optimize(simulation, n_trials=1)
    curves = CurveReader().read(study)
    found = [
        _forecasts(curve, curves[:i], -simulation.finals[i]) for i, curve in enumerate(curves)
    ]
    told = [each for each in found if each is not None]
    row: dict[str, Any] = {"problem": cell.problem, "method": cell.method, "seed": cell.seed}
    row["forecasts"] = len(told)
    truths = np.array([truth for _, _, truth in told])
    for name, forecasts in (
        ("reports", [by_reports for by_reports, _, _ in told]),
        ("judged", [judged for _, judged, _ in told]),
    ):
        row[name], row[f"{name}_width"] = _held(forecasts, truths, SHARE)
        for share in SHARES:
            row[column(name, share)], _ = _held(forecasts, truths, share)
    return row


def column(name: str, share: float) -> str:
    """Column of the table for one width of the intervals."""
    return f"{name}_{100 * share:.0f}"


def _held(
    forecasts: Sequence[Forecast], truths: NDArray[np.float64], share: float
) -> tuple[float, float]:
    """Share of the truths in intervals that should hold ``share``, and their mean width."""
    bounds = np.array([forecast.interval(share) for forecast in forecasts]).reshape(-1, 2)
    inside = (bounds[:, 0] <= truths) & (truths <= bounds[:, 1])
    return float(np.mean(inside)), float(np.mean(bounds[:, 1] - bounds[:, 0]))


def _forecasts(
    curve: Curve, before: Sequence[Curve], final: float
) -> tuple[Forecast, Forecast, float] | None:
    """By the reports alone, as judged, and the final score, all scaled; None if too early."""
    telling = [other for other in before if other.steps]
    if sum(not math.isnan(other.final) for other in telling) < _N_STARTUP or not curve.steps:
        return None
    evidence, trusted = learn(telling)
    forecast = evidence.forecast(curve.steps[0], curve.scores[0])
    if forecast is None:
        return None
    expected = trusted.expected_final(evidence, curve.said)
    return forecast, informed(forecast, expected, evidence), evidence.rescale(final)


def summary_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the seeds of each method and problem, and of each method, in which all count."""
    kinds = ("reports", "judged")
    names = [name for kind in kinds for name in (kind, f"{kind}_width")]
    names += [column(kind, share) for kind in kinds for share in SHARES]
    result = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        for problem in [*dict.fromkeys(row["problem"] for row in own), "all"]:
            inside = [row for row in own if problem in (row["problem"], "all")]
            weights = [row["forecasts"] for row in inside]
            line: dict[str, Any] = {"method": method, "problem": problem}
            line |= {"studies": len(inside), "forecasts": sum(weights)}
            means = {
                name: np.average([row[name] for row in inside], weights=weights) for name in names
            }
            result.append(line | {name: round(float(mean), 3) for name, mean in means.items()})
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line: the table is written anew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description=__doc__)
    parser.add_argument("--problems", nargs="+", default=["all"], help="all, families or problems")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="SAMPLER+PRUNER")
    parser.add_argument("--seeds", type=int, default=3, help="number of replications")
    parser.add_argument("--budget", type=int, default=40, help="full evaluations per study")
    parser.add_argument("--development", action="store_true", help="the twins instead")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--out", type=Path, default=PATH)
    args = parser.parse_args(argv)
    prefix = DEV_PREFIX if args.development else ""
    cells = [
        Cell(prefix + problem, method, seed, args.budget)
        for method in args.methods
        for problem in select_problems(args.problems, PARTIAL_PROBLEM_NAMES)
        for seed in range(args.seeds)
    ]
    found = {
        (row["method"], row["problem"], row["seed"]): row
        for row in in_workers(coverage, cells, args.jobs)
        if row["forecasts"] > 0
    }
    keys = [(x.method, x.problem, x.seed) for x in cells]
    rows = summary_rows([found[key] for key in keys if key in found])
    write_table(args.out, rows)
    curves = {
        f"{row['method']}, {kind}": {share: row[column(kind, share)] for share in SHARES}
        for row in rows
        if row["problem"] == "all"
        for kind in ("reports", "judged")
    }
    save_calibration_figure(args.out.with_suffix(".svg"), curves)
    columns = ("reports", "reports_width", "judged", "judged_width")
    print(markdown_rows(rows, ("method", "problem", "studies", "forecasts", *columns)))


if __name__ == "__main__":
    main()
