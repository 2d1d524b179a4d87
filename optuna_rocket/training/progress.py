"""The state of a training run: started, stored, resumed."""

from __future__ import annotations

from collections import deque
import copy
from dataclasses import asdict
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from optuna_rocket.agent import checkpoint
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.training.foresight import Labels
from optuna_rocket.training.games import VALIDATION_BATCH
from optuna_rocket.training.games import State
from optuna_rocket.training.league import ExperiencePool
from optuna_rocket.training.league import League
from optuna_rocket.training.rollout import Trajectory
from optuna_rocket.training.settings import Settings


# Labelled decisions are dear and age slowly: the policy changes little in as many iterations.
_RECENT_LABELS = 4


@dataclass
class Progress:
    """Everything that a resumed run needs.

    ``average`` is the moving average of the network's weights: updates are noisy, and it is their
    mean that is validated, kept as reference and shipped.
    """

    network: RecurrentScorer
    average: RecurrentScorer
    reference: RecurrentScorer
    best: RecurrentScorer
    optimizer: torch.optim.Optimizer
    league: League
    pool: ExperiencePool
    reference_utility: Tensor
    recent: deque[Trajectory]
    labels: deque[Labels]
    iteration: int = 0
    best_score: float = -float("inf")
    seconds: float = 0.0


def start(network: RecurrentScorer, settings: Settings) -> Progress:
    """The progress of a run that begins with a network, which it will change."""
    reference = copy.deepcopy(network).requires_grad_(False)
    average = copy.deepcopy(network).requires_grad_(False)
    unknown = torch.full((VALIDATION_BATCH * settings.validation,), -1.0, dtype=torch.float64)
    return Progress(
        network,
        average,
        reference,
        copy.deepcopy(average),
        torch.optim.Adam(network.parameters(), lr=settings.learning_rate),
        League(),
        ExperiencePool(),
        unknown,
        deque(maxlen=settings.recent * settings.workers),
        deque(maxlen=settings.workers * _RECENT_LABELS),
    )


def frozen(network: RecurrentScorer) -> State:
    """Frozen copies of the weights, where rollouts run."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def resume(settings: Settings, out: Path) -> Progress:
    """The progress of a run in a folder: where it stopped, or a new one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = new_network()
    progress = start(network.to(settings.device), settings)
    path = out / "progress.pt"
    if path.exists():
        try:
            _restore(progress, torch.load(path, weights_only=True))
        except Exception as error:  # whatever a damaged or an older file makes of the reader
            raise ValueError(
                f"{path} cannot be read: {type(error).__name__}. Damaged, or by another version. "
                "Remove it to begin anew, or name another folder."
            ) from error
    _truncate(out / "log.jsonl", progress.iteration)
    return progress


def _restore(progress: Progress, stored: dict[str, Any]) -> None:
    if not isinstance(stored["iteration"], int):
        raise TypeError("its iteration is no integer")
    for name in ("network", "average", "reference", "best", "optimizer"):
        getattr(progress, name).load_state_dict(stored[name])
    progress.league.selves = stored["selves"]
    progress.pool.losses = stored["losses"]
    if len(stored["reference_utility"]) == len(progress.reference_utility):
        progress.reference_utility = stored["reference_utility"]
    progress.iteration = stored["iteration"]
    progress.best_score, progress.seconds = stored["best_score"], stored["seconds"]


def store(progress: Progress, settings: Settings, out: Path) -> None:
    """Write the state of a run, and what it would ship."""
    state = {
        name: getattr(progress, name).state_dict()
        for name in ("network", "average", "reference", "best", "optimizer")
    }
    state |= {"selves": progress.league.selves, "losses": progress.pool.losses}
    state |= {"iteration": progress.iteration, "best_score": progress.best_score}
    state |= {"reference_utility": progress.reference_utility, "seconds": progress.seconds}
    torch.save(state, out / "progress.tmp")
    (out / "progress.tmp").replace(out / "progress.pt")
    made_by = {
        "settings": {k: v for k, v in asdict(settings).items() if k != "out"},
        "iterations": progress.iteration,
        "hours": round(progress.seconds / 3600, 2),
        "torch": torch.__version__,
    }
    checkpoint.save(progress.best, out / "best.rocket", made_by)
    checkpoint.save(progress.average, out / "latest.rocket", made_by)


def _truncate(path: Path, progress_iteration: int) -> None:
    """Drop the lines of iterations that will be played again, and half a line at the end."""
    if not path.exists():
        return
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    kept = [line for line in whole if json.loads(line)["iteration"] < progress_iteration]
    path.write_text("".join(kept))


def append_log(path: Path, record: dict[str, Any]) -> None:
    """Add a line to a run's log."""
    with path.open("a") as file:
        file.write(json.dumps({k: _short(v) for k, v in record.items()}) + "\n")


def _short(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value
