"""Also makes ``assets/golden.rocket``: ``python -m tests.test_checkpoint``, on purpose only."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
import random
import time
from typing import Any

import pytest
import torch
from torch import Tensor

from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import policy
from optuna_rocket.agent import weights_file
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import HIDDEN
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.proposals import finish
from optuna_rocket.agent.weights_file import SHIPPED
from optuna_rocket.agent.weights_file import CheckpointError
from optuna_rocket.features import N_TOKEN_FEATURES
from tests.builders import history_of
from tests.builders import mixed_geometry
from tests.builders import restless_network


GOLDEN = Path(__file__).parent / "assets" / "golden.rocket"
GOLDEN_ACTION = 8
GOLDEN_LOGITS = [-0.27324, -2.01546, -3.53457, -5.68567]
# Other weights are another agent: they come with a new line in the changelog.
SHIPPED_DIGEST = "ae4de298609ec7b5589006ec78c2b45400b857960d633ce32ef61197cd81b44a"
MAGIC = b"optuna-rocket checkpoint\n"


def waves(*shape: int, pace: float = 0.7) -> Tensor:
    """Fixed numbers between -1 and 1 that no version of a random generator changes."""
    count = torch.Size(shape).numel()
    return torch.sin(pace * torch.arange(1, count + 1, dtype=torch.float64)).view(shape)


def golden_network() -> RecurrentScorer:
    network = new_network()
    with torch.no_grad():
        for k, weight in enumerate(network.parameters()):
            weight.copy_(0.4 * waves(*weight.shape, pace=0.7 + 0.1 * k))
    return network.requires_grad_(False)


def golden_action(network: RecurrentScorer) -> int:
    """The first action on a fixed history, over a fixed pool."""
    geometry = mixed_geometry()

    def configurations(count: int, pace: float) -> Tensor:
        raw = (waves(1, count, 6, pace=pace) + 1) / 2
        raw = torch.where(geometry.is_categorical, (raw * 3).floor(), raw)
        return finish(raw, torch.zeros(1, count, dtype=torch.long), geometry).units

    units = configurations(12, 1.3)
    history = history_of(units, 3 * waves(1, 12, pace=2.1), geometry)
    belief = policy.believe(history, geometry, policy.initial_belief(geometry), network)
    kind = torch.arange(24)[None] % 5
    pool = finish(configurations(24, 0.9), kind, geometry)
    decision = policy.decide(history, geometry, belief, network, torch.Generator(), pool=pool)
    return int(policy.act(decision.logits))


def golden_logits(network: RecurrentScorer) -> list[float]:
    """Logits on fixed inputs: the arithmetic of the network alone."""
    state = network.encode(waves(1, 5, N_TOKEN_FEATURES).float(), torch.zeros(1, HIDDEN))
    candidates = waves(1, 4, network.from_candidate.in_features, pace=0.3).float()
    study = waves(1, network.context.in_features - HIDDEN, pace=0.5).float()
    rule = torch.tensor([[0.0, -1.0, -2.0, -3.0]])
    return [round(x, 5) for x in network(rule, candidates, study, state)[0].tolist()]


def weights_of(network: RecurrentScorer) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in network.state_dict().items()}


def same_weights(one: RecurrentScorer, two: RecurrentScorer) -> bool:
    first, second = weights_of(one), weights_of(two)
    return list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "some.rocket"
    checkpoint.save(restless_network(), path, {"command": "made for a test", "hours": 0.5})
    return path


def header_size(content: bytes) -> int:
    return int.from_bytes(content[len(MAGIC) : len(MAGIC) + 8], "little")


def test_round_trip_keeps_every_weight(stored: Path) -> None:
    loaded, (header, _) = checkpoint.load(stored), weights_file.read(stored)
    assert same_weights(loaded, restless_network())
    assert not same_weights(loaded, new_network())
    assert header["made_by"] == {"command": "made for a test", "hours": 0.5}
    assert header["format_version"] == weights_file.FORMAT_VERSION
    assert not any(weight.requires_grad for weight in loaded.parameters())
    assert not loaded.training


def test_saving_again_gives_the_same_bytes(stored: Path, tmp_path: Path) -> None:
    made_by = weights_file.read(stored)[0]["made_by"]
    checkpoint.save(checkpoint.load(stored), tmp_path / "again", made_by)
    assert (tmp_path / "again").read_bytes() == stored.read_bytes()


def test_the_file_is_json_and_numbers(stored: Path) -> None:
    content = stored.read_bytes()
    assert content.startswith(MAGIC)
    size = header_size(content)
    header = json.loads(content[len(MAGIC) + 8 :][:size])
    body = content[len(MAGIC) + 8 + size :]
    numbers = torch.frombuffer(bytearray(body), dtype=torch.float32)
    flat = torch.cat([weight.flatten() for weight in weights_of(restless_network()).values()])
    assert torch.equal(numbers, flat)
    assert set(header["tensors"]) == set(weights_of(restless_network()))


def offsets(content: bytes, count: int = 60) -> list[int]:
    """Some in every part of the file, its ends and seams among them."""
    start = len(MAGIC) + 8
    body = start + header_size(content)
    rng = random.Random(0)
    parts = [(0, start), (start, body), (body, len(content))]
    drawn = [rng.randrange(*part) for part in parts for _ in range(count // 3)]
    seams = [0, 1, len(MAGIC), start - 1, start, body - 1, body, len(content) - 1]
    return sorted({*drawn, *seams})


def test_truncated_files_are_refused(stored: Path) -> None:
    content = stored.read_bytes()
    for offset in offsets(content):
        stored.write_bytes(content[:offset])
        with pytest.raises(CheckpointError, match="Use checkpoint=None"):
            checkpoint.load(stored)


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_altered_files_are_refused_or_harmless(stored: Path, flip: int) -> None:
    content = stored.read_bytes()
    body = len(MAGIC) + 8 + header_size(content)
    informative = content.index(b'"made_by"')
    n_harmless = 0
    for offset in offsets(content):
        altered = bytearray(content)
        altered[offset] ^= flip
        stored.write_bytes(altered)
        try:
            loaded = checkpoint.load(stored)
        except CheckpointError as error:
            assert str(stored) in str(error)
            continue
        n_harmless += 1
        assert informative <= offset < body, "only what is said about the origin may change"
        assert same_weights(loaded, restless_network())
    assert n_harmless < 15


def test_appended_bytes_are_refused(stored: Path) -> None:
    stored.write_bytes(stored.read_bytes() + b"\0\0\0\0")
    with pytest.raises(CheckpointError):
        checkpoint.load(stored)


def rewritten(path: Path, body: bytes | None = None, **changes: Any) -> None:
    header, old = weights_file.read(path)
    weights_file.write(path, {**header, **changes}, old if body is None else body)


def test_other_features_and_newer_formats_are_refused(stored: Path) -> None:
    original = stored.read_bytes()
    features = weights_file.read(stored)[0]["candidate_features"]
    refused: tuple[dict[str, Any], ...] = (
        {"candidate_features": features[::-1]},
        {"candidate_features": features[1:]},
        {"n_token_features": 1},
        {"tensors": {}},
        {"tensors": None},
        {"format_version": weights_file.FORMAT_VERSION + 1},
        {"format_version": "1"},
        {"format_version": None},
    )
    for changes in refused:
        stored.write_bytes(original)
        rewritten(stored, **changes)
        with pytest.raises(CheckpointError):
            checkpoint.load(stored)


def test_weights_of_the_wrong_length_or_not_finite_are_refused(stored: Path) -> None:
    original = stored.read_bytes()
    _, body = weights_file.read(stored)
    nan = torch.tensor([torch.nan]).numpy().tobytes()
    for other in (b"", body[:-4], body + nan, body[:-4] + nan):
        stored.write_bytes(original)
        rewritten(stored, body=other)
        with pytest.raises(CheckpointError):
            checkpoint.load(stored)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", MAGIC, MAGIC + b"\xff" * 8])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        checkpoint.load(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.rocket", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            checkpoint.load(path)


def test_huge_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.rocket"
    with path.open("wb") as file:
        file.write(MAGIC)
        file.truncate(2**30)
    with pytest.raises(CheckpointError, match="larger"):
        checkpoint.load(path)


def test_loading_leaves_the_global_generator_alone(stored: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    checkpoint.load(stored)
    checkpoint.load(SHIPPED)
    assert torch.equal(torch.get_rng_state(), before)


def test_loaded_networks_do_not_share_memory(stored: Path) -> None:
    one, two = checkpoint.load(stored), checkpoint.load(stored)
    one.middle.weight.zero_()
    assert same_weights(two, restless_network())


def test_shipped_weights_are_small_and_load_quickly() -> None:
    assert SHIPPED.stat().st_size < 2**20
    assert hashlib.sha256(SHIPPED.read_bytes()).hexdigest() == SHIPPED_DIGEST
    started = time.perf_counter()
    loaded = checkpoint.load(SHIPPED)
    assert time.perf_counter() - started < 1
    assert golden_action(loaded) in range(24)
    assert "made_by" in weights_file.read(SHIPPED)[0]


def test_golden_checkpoint_still_means_the_same() -> None:
    network = checkpoint.load(GOLDEN)
    assert golden_logits(network) == pytest.approx(GOLDEN_LOGITS, abs=1e-4)
    assert golden_action(network) == GOLDEN_ACTION


def test_golden_weights_are_those_of_the_formula() -> None:
    mine, other = weights_of(golden_network()), weights_of(checkpoint.load(GOLDEN))
    assert list(mine) == list(other)
    for name, weight in mine.items():
        torch.testing.assert_close(other[name], weight, atol=1e-6, rtol=0)


def make_golden() -> None:
    """Write the asset anew; put the numbers that are printed above."""
    GOLDEN.parent.mkdir(exist_ok=True)
    checkpoint.save(golden_network(), GOLDEN, {"made_for": "tests/test_checkpoint.py"})
    network = checkpoint.load(GOLDEN)
    print(f"GOLDEN_ACTION = {golden_action(network)}")
    print(f"GOLDEN_LOGITS = {golden_logits(network)}")


if __name__ == "__main__":
    make_golden()
