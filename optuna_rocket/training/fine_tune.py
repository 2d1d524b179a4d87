"""Fine-tune the shipped agent on a team's past studies, and say whether it helped.

``python -m optuna_rocket.training.fine_tune --storage sqlite:///studies.db --out team.rocket``.
Some studies are kept apart. Surrogates of the others (``surrogates``), mixed with as many
synthetic tasks, are played and learned from by foresight, as the shipped agent was
(``self_play``), anchored to it. Then both agents play fresh tasks made of the studies that were
kept apart. The exit status is 0 if the new agent is better there beyond chance, 1 if it is not, 2
if it could not be made.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
from dataclasses import dataclass
import math
from pathlib import Path
import random
import sys
from typing import Any

import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import weights_file
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.past_studies import PastStudy
from optuna_rocket.past_studies import read_past_studies
from optuna_rocket.training.foresight import Labels
from optuna_rocket.training.foresight import foresee
from optuna_rocket.training.lessons import learn_labels
from optuna_rocket.training.progress import start
from optuna_rocket.training.settings import TEST_SEED
from optuna_rocket.training.settings import Settings
from optuna_rocket.training.surrogates import surrogate_tasks
from optuna_rocket.training.tasks import Playable
from optuna_rocket.training.tasks import sample_tasks
from optuna_rocket.training.verdict import Verdict
from optuna_rocket.training.verdict import compare


# A verdict over fewer studies would say nothing, and fewer teach nothing that they share.
LEAST_APART = 3
LEAST_TAUGHT = 3
_SHOWN = (5, 10, 25, 50, 100)


@dataclass(frozen=True)
class Options:
    """Options of the command, without the storage and the studies: these stay private."""

    seed: int = 0
    iterations: int = 40
    tasks: int = 12
    trials: int = 30
    apart: float = 0.3
    verdict_tasks: int = 24
    rate: float = 5e-4
    kl: float = 0.1


def fine_tune(past: Sequence[PastStudy], options: Options) -> tuple[RecurrentScorer, Verdict]:
    """A fine-tuned agent, and whether it is better.

    Raises:
        ValueError: If there are too few studies.
    """
    taught, apart = divide(past, options)
    shipped = checkpoint.load(weights_file.SHIPPED)
    tuned = _learned(shipped, [(x.history, x.geometry) for x in taught], options)
    verdict = compare(
        shipped,
        tuned,
        [(x.history, x.geometry) for x in apart],
        seed=TEST_SEED + options.seed,
        n_tasks=options.verdict_tasks,
        n_trials=options.trials,
    )
    return tuned, verdict


def divide(past: Sequence[PastStudy], options: Options) -> tuple[list[PastStudy], list[PastStudy]]:
    """Studies to learn from, and those that are kept apart, by lot.

    Raises:
        ValueError: If there are too few.
    """
    n_apart = max(LEAST_APART, round(options.apart * len(past)))
    if len(past) - n_apart < LEAST_TAUGHT:
        raise ValueError(
            f"{len(past)} studies can be used, and {n_apart} of them would be kept apart for the "
            f"verdict: at least {LEAST_TAUGHT} must remain to learn from. Name more studies, or "
            "use them as source_studies of RocketSampler, which needs one."
        )
    order = list(past)
    random.Random(options.seed).shuffle(order)
    return order[n_apart:], order[:n_apart]


def _learned(shipped: RecurrentScorer, past: Sequence[Any], options: Options) -> RecurrentScorer:
    """An agent after some iterations on tasks half of which are made of studies."""
    settings = Settings(
        foresight=options.iterations, tasks=options.tasks, kl=options.kl, workers=2
    )
    progress = start(deepcopy(shipped).train().requires_grad_(True), settings)
    for group in progress.optimizer.param_groups:
        group["lr"] = options.rate
    rng = random.Random(f"fine-tune {options.seed}")
    for _ in tqdm(range(options.iterations), disable=options.iterations < 5):
        generator = torch.Generator().manual_seed(rng.randrange(2**62))
        batches: list[Playable] = [
            surrogate_tasks(past, options.tasks, generator),
            sample_tasks(options.tasks, generator),
        ]
        labels = [_labelled(tasks, progress.network, rng, options, settings) for tasks in batches]
        learn_labels(progress, settings, labels)
    return progress.average.eval()


def _labelled(
    tasks: Playable,
    network: RecurrentScorer,
    rng: random.Random,
    options: Options,
    settings: Settings,
) -> Labels:
    return foresee(
        tasks,
        network,
        torch.Generator().manual_seed(rng.randrange(2**62)),
        n_trials=max(8, round(options.trials * rng.choice((0.5, 1.0, 1.5)))),
        n_ahead=settings.n_ahead,
        n_contenders=settings.n_contenders,
        every=rng.choice((2, 3)),
        n_candidates=settings.candidates,
        horizon_known=rng.random() < 0.5,
    )


def origin(options: Options, n_studies: int, verdict: Verdict) -> dict[str, Any]:
    """What the checkpoint's header tells of its making: no name, no value, no storage."""
    return {
        "fine_tuned_from": weights_file.read(weights_file.SHIPPED)[0]["digest"],
        "options": asdict(options),
        "n_studies": n_studies,
        "n_apart": len(verdict.gains),
        "gain": round(verdict.mean, 4),
        "interval": [round(x, 4) for x in verdict.interval],
        "recommended": verdict.is_better,
        "torch": torch.__version__,
    }


def report(verdict: Verdict, out: Path) -> str:
    """The verdict in words."""
    lines = [
        f"On fresh tasks made of {len(verdict.gains)} studies that were kept apart:",
        "mean regret after   " + "  ".join(f"{t:>5}" for t in _at(verdict)),
    ]
    for name, regret in zip(("shipped", "fine-tuned"), verdict.regret.tolist(), strict=True):
        shown = "  ".join(f"{regret[t - 1]:5.3f}" for t in _at(verdict))
        lines.append(f"  {name:<17} {shown}")
    low, high = verdict.interval
    lines.append(f"Gain in utility {verdict.mean:+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}].")
    if verdict.is_better:
        lines.append(f"Recommended: RocketSampler(checkpoint={str(out)!r}).")
    else:
        lines.append(
            "Not recommended: it is not better than the shipped agent beyond chance. Keep "
            "checkpoint=None, and give the studies to RocketSampler as source_studies."
        )
    return "\n".join(lines)


def _at(verdict: Verdict) -> list[int]:
    return [t for t in _SHOWN if t <= verdict.regret.shape[1]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see the module for the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m optuna_rocket.training.fine_tune",
        description="Fine-tune the shipped agent on past studies of one objective.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--storage", required=True, help="URL of the database, which is only read")
    parser.add_argument("--studies", nargs="*", default=[], help="names; all of them if left out")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    helps = {
        "seed": "of everything",
        "iterations": "batches to learn from",
        "tasks": "tasks of each half of a batch",
        "trials": "length of the studies that the agent shall be good at",
        "apart": "share of the studies that is kept apart for the verdict",
        "verdict_tasks": "tasks of each study of the verdict",
        "rate": "Adam's rate",
        "kl": "weight of staying like the shipped agent",
    }
    for name, default in asdict(Options()).items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help=helps[name])
    given = vars(parser.parse_args(arguments))
    storage, names, out = given.pop("storage"), given.pop("studies"), given.pop("out")
    options = Options(**given)
    torch.set_num_threads(1)
    try:
        _check(options, out)
        past, left_out = read_past_studies(storage, names)
        for name, why in left_out.items():
            print(f"Study {name!r} is left out: {why}.", file=sys.stderr)
        tuned, verdict = fine_tune(past, options)
        checkpoint.save(tuned, out, origin(options, len(past), verdict))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(verdict, out))
    return 0 if verdict.is_better else 1


def _check(options: Options, out: Path) -> None:
    for name in ("iterations", "tasks", "trials", "verdict_tasks"):
        value = getattr(options, name)
        if value < 1:
            raise ValueError(f"{name}={value} is less than 1. Use 1 or more.")
    if options.trials < 8:
        raise ValueError(
            f"trials={options.trials} is too short to decide anything; use 8 or more."
        )
    if not 0 < options.apart < 1:
        raise ValueError(f"apart={options.apart} is no share: choose one between 0 and 1.")
    if not 0 < options.rate < math.inf:
        raise ValueError(f"rate={options.rate} is no learning rate: choose one above 0.")
    if not 0 <= options.kl < math.inf:
        raise ValueError(f"kl={options.kl} is no weight: choose 0 or more.")
    if out.is_dir():
        raise ValueError(f"out={str(out)!r} is a folder. Name the file that is to be written.")
    if not out.parent.is_dir():
        raise ValueError(f"out={str(out)!r}: there is no folder {str(out.parent)!r}. Make it.")


if __name__ == "__main__":
    sys.exit(main())
