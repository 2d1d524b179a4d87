"""Checkpoints: a network behind the file format of ``weights_file``, verified before use."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from optuna_rocket.agent import weights_file
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.observation import CANDIDATE_FEATURES
from optuna_rocket.agent.observation import STUDY_FEATURES
from optuna_rocket.agent.weights_file import CheckpointError
from optuna_rocket.features import N_TOKEN_FEATURES


_FEATURES: dict[str, Any] = {
    "candidate_features": list(CANDIDATE_FEATURES),
    "study_features": list(STUDY_FEATURES),
    "n_token_features": N_TOKEN_FEATURES,
}


def new_network() -> RecurrentScorer:
    """A network for today's features whose policy is the improvement rule."""
    return RecurrentScorer(len(CANDIDATE_FEATURES), len(STUDY_FEATURES))


def save(network: RecurrentScorer, path: str | Path, made_by: dict[str, Any]) -> None:
    """Write a checkpoint; ``made_by`` is any JSON about its origin (command, duration)."""
    tensors = {name: value.detach().cpu().float() for name, value in network.state_dict().items()}
    body = b"".join(value.numpy().astype("<f4").tobytes() for value in tensors.values())
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    weights_file.write(path, {**_FEATURES, "tensors": shapes, "made_by": made_by}, body)


def load(path: str | Path) -> RecurrentScorer:
    """Read and verify the network of a checkpoint.

    Raises:
        CheckpointError: If the file is missing, not a checkpoint, truncated, altered, of a newer
            format, or made for other features.
    """
    header, body = weights_file.read(path)
    with torch.device("meta"):  # no draw from the global generator; the types come with the state
        network = new_network()
    expected = {name: list(value.shape) for name, value in network.state_dict().items()}
    if header.get("tensors") != expected or any(header.get(k) != v for k, v in _FEATURES.items()):
        raise CheckpointError(path, "it was made for other features or another network")
    sizes = [math.prod(shape) for shape in expected.values()]
    if len(body) != 4 * sum(sizes):
        raise CheckpointError(path, "its length does not match its header")
    values = torch.from_numpy(np.frombuffer(body, dtype="<f4").astype(np.float32))
    if not bool(torch.isfinite(values).all()):
        raise CheckpointError(path, "some weights are not finite")
    state = {
        name: piece.view(shape).clone()
        for (name, shape), piece in zip(expected.items(), values.split(sizes), strict=True)
    }
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)
