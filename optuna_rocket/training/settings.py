"""Options of a training run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
import math
from typing import Any


# Training seeds stay below, validation seeds start here, test seeds further up.
VALIDATION_SEED = 10**7
TEST_SEED = 2 * 10**7
PHASES = ("clone", "exact", "foresight", "group")


def _option(default: Any, text: str, least: float = 0) -> Any:
    return field(default=default, metadata={"help": text, "least": least})


@dataclass(frozen=True)
class Settings:
    """Options of a training run; the defaults, stopped after 80 iterations, made what ships."""

    out: str = _option("runs/default", "folder of checkpoints and log; a run in it is resumed")
    seed: int = _option(0, "seed of tasks, rollouts and initial weights")
    clone: int = _option(0, "iterations of cloning")
    exact: int = _option(0, "iterations of the exact all-action gradient")
    foresight: int = _option(280, "iterations of what candidates lead to within the pool")
    group: int = _option(0, "iterations of recurrent group policy optimisation")
    tasks: int = _option(24, "tasks per iteration and worker", least=1)
    members: int = _option(6, "members of a group that the policy plays", least=2)
    candidates: int = _option(160, "size of the first pool in training", least=1)
    n_ahead: int = _option(6, "foresight: trials that a label looks ahead", least=1)
    n_contenders: int = _option(
        48, "foresight: candidates of a decision that are labelled", least=2
    )
    discount: float = _option(0.9, "group: discount per trial of future improvements")
    learning_rate: float = _option(2e-3, "Adam's rate for clone and exact")
    group_rate: float = _option(1e-3, "Adam's rate for foresight and group")
    averaging: float = _option(0.0, "per update, of the weights that are validated and kept")
    clip: float = _option(0.2, "clip range of the importance ratio")
    update_epochs: int = _option(3, "group: passes over the rollouts of an iteration", least=1)
    updates: int = _option(
        8, "clone and exact: updates per iteration, on recent rollouts", least=1
    )
    recent: int = _option(16, "clone and exact: iterations whose rollouts are kept", least=1)
    kl: float = _option(0.02, "weight of the KL divergence to the reference policy")
    exact_weight: float = _option(0.0, "weight of the (short-sighted) exact gradient in group")
    replay: float = _option(0.25, "share of iterations on tasks where the policy lost")
    evaluate_every: int = _option(20, "iterations between evaluations", least=1)
    validation: int = _option(10, "batches of 24 validation tasks", least=1)
    workers: int = _option(2, "processes that play, of one thread each", least=1)
    threads: int = _option(1, "torch threads of the updates", least=1)
    device: str = _option("cpu", "cpu, or cuda for the updates (rollouts run on the CPU)")
    forget: int = _option(0, "1 empties the recurrent state (ablation of the recurrence)")


def parse_settings(arguments: Sequence[str] | None) -> Settings:
    """Read a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m optuna_rocket.training.self_play",
        description="Meta-train the agent by self-play on synthetic tasks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for option in fields(Settings):
        parser.add_argument(
            f"--{option.name.replace('_', '-')}",
            type=type(option.default),
            default=option.default,
            help=option.metadata["help"],
        )
    given = vars(parser.parse_args(arguments))
    for option in fields(Settings):
        value, least = given[option.name], option.metadata["least"]
        if not isinstance(value, str) and not least <= value < math.inf:
            parser.error(f"--{option.name.replace('_', '-')}={value} is not {least} or more.")
    return Settings(**given)
