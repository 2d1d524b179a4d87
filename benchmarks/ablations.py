"""What each part of the agent adds, on synthetic tasks that training has never seen.

``python -m benchmarks.ablations --help``. All variants play the same tasks with the same noise;
the table gives mean normalised regret and the paired difference to the shipped agent.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.report import markdown_rows
from benchmarks.variants import REPEATS
from benchmarks.variants import Variant
from benchmarks.variants import checkpoints
from benchmarks.variants import compared
from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import fitting
from optuna_rocket.agent import improvement
from optuna_rocket.agent import kernels
from optuna_rocket.agent import memory
from optuna_rocket.agent import policy
from optuna_rocket.agent import weights_file
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.training.league import kind_player
from optuna_rocket.training.league import rule_player
from optuna_rocket.training.rollout import greedy_player
from optuna_rocket.training.settings import TEST_SEED
from optuna_rocket.training.tasks import Tasks
from optuna_rocket.training.tasks import sample_tasks


_CHECKPOINTS = (10, 25, 50)
_TASKS_PER_BATCH = 24
_SMALL_START = ((policy, "START_CANDIDATES", 0),)
_NO_DOUBT = ((improvement, "_BRANCH_DOUBT", 0.0),)


def variants(network: RecurrentScorer, others: Sequence[str]) -> dict[str, Variant]:
    """The shipped agent, the agent without one part at a time, and plain rules.

    Args:
        network: The shipped agent's.
        others: Paths of further checkpoints, played as they are.
    """
    rule = new_network()
    table = {
        "agent": Variant(network, greedy_player),
        "agent, no recurrent state": Variant(network, greedy_player, {"forget": True}),
        "agent, 128 candidates": Variant(network, greedy_player, {"n_candidates": 128}),
        "agent, repeats allowed": Variant(network, greedy_player, patches=REPEATS),
        "agent, horizon known": Variant(network, greedy_player, {"horizon_known": True}),
        "rule (nothing learned)": Variant(rule, rule_player),
        "rule, spread 1": Variant(rule, rule_player, patches=((improvement, "SPREAD", 1.0),)),
        "rule, spread 2": Variant(rule, rule_player, patches=((improvement, "SPREAD", 2.0),)),
        "rule, smooth kernel": Variant(rule, rule_player, patches=_rough(0.0)),
        "rule, rough kernel": Variant(rule, rule_player, patches=_rough(1.0)),
        "rule, small start": Variant(rule, rule_player, patches=_SMALL_START),
        "rule, no branch doubt": Variant(rule, rule_player, patches=_NO_DOUBT),
        "rule, ranks as scores": _rule_on(_rank_normal),
        "rule, z-scores": _rule_on(_standardised),
        "density of good trials": Variant(rule, kind_player("density")),
        "random": Variant(rule, kind_player("random")),
    }
    return table | checkpoints(others)


def _rough(share: float) -> tuple[tuple[Any, str, float], ...]:
    return ((kernels, "_ROUGH_SHARE", share),)


def _rule_on(transform: Callable[..., Tensor]) -> Variant:
    """The rule with another transform of the scores."""
    patches = tuple((x, "transformed", transform) for x in (memory, fitting))
    return Variant(new_network(), rule_player, patches=patches)


def _rank_normal(scores: Tensor, scored: Tensor, *_: object) -> Tensor:
    """Normal scores of the ranks."""
    safe = torch.where(scored, scores, 0.0)
    pair = scored[:, None, :]
    below = ((safe[:, :, None] > safe[:, None, :]) & pair).sum(-1)
    equal = ((safe[:, :, None] == safe[:, None, :]) & pair).sum(-1)
    quantile = (below + 0.5 * equal).double() / scored.sum(-1, keepdim=True).clamp_min(1)
    return _standardised(torch.special.ndtri(quantile.clamp(1e-6, 1 - 1e-6)), scored)


def _standardised(scores: Tensor, scored: Tensor, *_: object) -> Tensor:
    """Scores minus their mean, over their standard deviation."""
    count = scored.sum(-1, keepdim=True).clamp_min(1)
    centred = scores - torch.where(scored, scores, 0.0).sum(-1, keepdim=True) / count
    std = (torch.where(scored, centred, 0.0).square().sum(-1, keepdim=True) / count).sqrt()
    return torch.where(scored & (std > 0), centred / std.clamp_min(1e-300), 0.0)


def measure(variant: Variant, n_batches: int, n_trials: int) -> tuple[Tensor, Tensor]:
    """Regret ``(tasks, n_trials)`` and which tasks are finite and noisy ``(tasks,)``."""
    regrets, noisy = [], []
    for batch in range(n_batches):
        tasks = sample_tasks(_TASKS_PER_BATCH, torch.Generator().manual_seed(TEST_SEED + batch))
        regrets.append(variant.regret(tasks, TEST_SEED + batch, n_trials))
        noisy.append(_finite_and_noisy(tasks))
    return torch.cat(regrets), torch.cat(noisy)


def _finite_and_noisy(tasks: Tasks) -> Tensor:
    geometry = tasks.geometry
    finite = ((geometry.n_cells > 0) | ~geometry.present).all(-1)
    return finite & (tasks.noise > 0.05)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all variants and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description=__doc__)
    parser.add_argument("--batches", type=int, default=12, help="batches of 24 tasks")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--checkpoint", default=str(weights_file.SHIPPED))
    parser.add_argument("--others", nargs="*", default=[], help="further checkpoints")
    parser.add_argument("--out", default="benchmarks/results/ablations.json")
    options = parser.parse_args(arguments)
    if options.trials < _CHECKPOINTS[-1]:
        parser.error(f"--trials={options.trials} is less than {_CHECKPOINTS[-1]}")
    torch.set_num_threads(1)
    network = checkpoint.load(options.checkpoint)
    table = variants(network, options.others)
    results = {
        name: measure(variant, options.batches, options.trials)
        for name, variant in tqdm(table.items())
    }
    rows = [_row(name, *results[name], results["agent"][0]) for name in table]
    Path(options.out).write_text(json.dumps(rows, indent=1) + "\n")
    print(markdown_rows(rows))


def _row(name: str, regret: Tensor, noisy: Tensor, agent: Tensor) -> dict[str, Any]:
    row = {"variant": name, "tasks": len(regret), **compared(regret, agent, _CHECKPOINTS)}
    row |= {"finite_noisy_tasks": int(noisy.sum())}
    row |= {"finite_noisy_regret": round(float(regret[noisy][:, -1].mean()), 4)}
    return row


if __name__ == "__main__":
    main()
