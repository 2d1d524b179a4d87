"""How often what the agent expects holds: ``python -m benchmarks.coverage``.

Studies of the shipped agent on synthetic tasks and on the development suite are stopped after some
trials. *Chosen*: the score of the trial that the agent suggests next. *Slice*: true values of the
best configuration with one parameter changed. *Random*: scores of random configurations. Each has
bounds that are to hold 80 %: ± 1.28 deviations of the memory (``memory``), and those that
``optuna_rocket.bands`` makes of them, which users see (``shown``).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.development_tables import PATH
from benchmarks.development_tables import TableTasks
from benchmarks.development_tables import read_tables
from benchmarks.report import markdown_rows
from optuna_rocket import bands
from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import memory
from optuna_rocket.agent import policy
from optuna_rocket.agent import weights_file
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.history import History
from optuna_rocket.scores import continue_transform
from optuna_rocket.space import Geometry
from optuna_rocket.training.playing import begin
from optuna_rocket.training.tasks import Playable
from optuna_rocket.training.tasks import random_units
from optuna_rocket.training.tasks import sample_tasks


_AT = (6, 10, 20, 35, 50)
_N_RANDOM = 40
_PER_PARAMETER = 4
_N_SYNTHETIC, _N_COPIES = 96, 12
_SEED = 778_000
_N_QUANTILES = 9
_EARLY = 20  # trials


def studies(
    tasks: Playable, network: RecurrentScorer, seed: int, n_trials: int
) -> Iterator[tuple[History, policy.Belief, History]]:
    """The history before every trial, what the agent then believes, and the history after it."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(tasks), n_trials, 2, generator=generator, dtype=torch.float64)
    playing = begin(tasks)
    for t in range(n_trials):
        before, decision = playing.look(network, generator)
        playing = before.observed(decision, policy.act(decision.logits), noise[:, t])
        yield before.history, before.belief, playing.history


def errors_elsewhere(
    tasks: Playable, before: History, belief: policy.Belief, seed: int
) -> dict[str, Tensor]:
    """Standardised errors of slices and of random configurations."""
    geometry = tasks.geometry
    remembered = memory.condition(before, geometry, belief.weights)
    generator = torch.Generator().manual_seed(seed)
    units, changed = _slices(before, geometry, generator)
    slices = torch.where(changed, _errors(tasks, remembered, units), torch.nan)
    units = random_units(geometry, _N_RANDOM, generator)
    noise = torch.randn(units.shape[:2], generator=generator, dtype=torch.float64)
    random = _errors(tasks, remembered, units, noise * tasks.noise[:, None])
    return {"slice": slices, "random": random}


def _errors(
    tasks: Playable, remembered: Conditioned, units: Tensor, noise: Tensor | float = 0.0
) -> Tensor:
    seen = remembered.history
    reading = memory.read(remembered, units, tasks.geometry.activity(units))
    score = continue_transform(seen.scores, seen.scored, tasks.evaluate(units) + noise)
    known = (seen.scored.sum(-1, keepdim=True) > 1) & ~tasks.fails(units)
    return torch.where(known, (score - reading.mean) / reading.std, torch.nan)


def _slices(
    before: History, geometry: Geometry, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The best configuration with one parameter drawn anew, and which of them differ from it."""
    best = before.scores.masked_fill(~before.scored, -torch.inf).argmax(-1)[:, None, None]
    d = before.units.shape[-1]
    centre = before.units.gather(1, best.expand(-1, 1, d))
    fresh = random_units(geometry, _PER_PARAMETER * d, generator)
    varied = functional.one_hot(torch.arange(fresh.shape[1]) % d, d).bool()
    held = before.active.gather(1, best.expand(-1, 1, d))
    units = torch.where(varied & held, fresh, centre)
    units = geometry.fill_inactive(units, geometry.activity(units))
    return units, ((units - centre).abs() > 0).any(-1)


def coverage(
    named: Mapping[str, Sequence[Playable]], network: RecurrentScorer, n_trials: int
) -> tuple[list[dict[str, Any]], list[float]]:
    """One row per kind of tasks, of expectation, and number of trials before it.

    Also mid-quantiles of the errors of what was chosen early in the first kind of tasks, when a
    study has no errors of its own yet.
    """
    held: dict[tuple[str, str, int], list[Tensor]] = {}
    pooled: list[Tensor] = []
    for name, batches in named.items():
        for k, tasks in enumerate(batches):
            errors = torch.zeros(len(tasks), 0, dtype=torch.float64)
            seed = _SEED + k
            for before, belief, after in studies(tasks, network, seed, n_trials):
                n = before.n_trials
                if n < _AT[0]:
                    continue
                chosen = bands.latest_error(after, tasks.geometry)
                if n in _AT:
                    _count(held, (name, "chosen", n), chosen, bands.outcome(errors))
                    for kind, found in errors_elsewhere(tasks, before, belief, seed).items():
                        _count(held, (name, kind, n), found, bands.function(n, len(tasks)))
                errors = torch.cat([errors, chosen[:, None]], 1)
            if name == next(iter(named)):
                early = errors[:, : _EARLY - _AT[0]]
                pooled.append(early[torch.isfinite(early)])
    grid = (torch.arange(_N_QUANTILES, dtype=torch.float64) + 0.5) / _N_QUANTILES
    typical = torch.cat(pooled).quantile(grid)
    rows = []
    for (name, kind, n), inside in held.items():
        by_memory, by_shown = torch.cat(inside, -1).mean(-1).tolist()
        shares = {"memory": round(by_memory, 3), "shown": round(by_shown, 3)}
        rows.append({"tasks": name, "expectation": kind, "trials": n} | shares)
    return rows, [round(x, 2) for x in typical.tolist()]


def _count(
    held: dict[tuple[str, str, int], list[Tensor]],
    key: tuple[str, str, int],
    errors: Tensor,
    shown: Tensor,
) -> None:
    """Note which errors ``(B,)`` or ``(B, c)`` lie within the memory's and the shown bounds."""
    errors = errors.view(len(errors), -1)
    known = torch.isfinite(errors)
    by_memory = errors.abs() <= bands.HALF_WIDTH
    by_shown = (errors >= shown[:, :1]) & (errors <= shown[:, 1:])
    held.setdefault(key, []).append(torch.stack([by_memory[known], by_shown[known]]).double())


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--streams", type=int, default=3, help="batches of tasks of each kind")
    parser.add_argument("--checkpoint", default=str(weights_file.SHIPPED))
    parser.add_argument("--tables", type=Path, default=PATH)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/coverage.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tables = read_tables(options.tables)
    streams = range(options.streams)
    named: dict[str, list[Playable]] = {
        "synthetic": [
            sample_tasks(_N_SYNTHETIC, torch.Generator().manual_seed(_SEED + k)) for k in streams
        ],
        "small networks": [TableTasks(tables, _N_COPIES) for _ in streams if tables],
    }
    network = checkpoint.load(options.checkpoint)
    with torch.no_grad():
        rows, typical = coverage(named, network, _AT[-1] + 1)
    options.out.write_text(json.dumps({"coverage": rows, "typical": typical}, indent=1) + "\n")
    print(markdown_rows(rows), f"mid-quantiles of chosen trials: {typical}", sep="\n\n")


if __name__ == "__main__":
    main()
