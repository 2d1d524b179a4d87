from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import json
import math
from pathlib import Path
import random
from typing import Any
from unittest import mock

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.study import Study
from optuna.trial import TrialState
import pytest
import torch

from optuna_rocket import RocketSampler
from optuna_rocket import explain
from optuna_rocket.agent import policy
from optuna_rocket.agent import weights_file
from optuna_rocket.agent.weights_file import CheckpointError
from tests.support import MIXED
from tests.support import all_params
from tests.support import assert_valid
from tests.support import mixed_study
from tests.support import mixed_value
from tests.support import new_trial
from tests.support import run_python
from tests.support import sampler_log


# A polite guest


def test_constructing_a_sampler_leaves_torch_alone() -> None:
    code = """
import sys, optuna, optuna_rocket
study = optuna.create_study(sampler=optuna_rocket.RocketSampler(seed=0))
print("torch" in sys.modules)
study.ask().suggest_float("x", 0, 1)
print("torch" in sys.modules)
"""
    assert run_python(code).split() == ["False", "True"]


def test_default_device_does_not_matter() -> None:
    code = """
import torch
from tests.support import print_mixed
torch.set_default_device("meta")
print_mixed("3", "12")
assert torch.get_default_device().type == "meta"
"""
    here = [str(params) for params in all_params(mixed_study(RocketSampler(seed=3), 12))]
    assert run_python(code).splitlines() == here


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(before)


def goals_study() -> optuna.Study:
    """Two objectives, a constraint, a condition and failures."""

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x, k = trial.suggest_float("x", 0, 1), trial.suggest_int("k", 1, 9, log=True)
        trial.set_constraint("c", x - 0.9)
        y = trial.suggest_float("y", 0, 1) if trial.suggest_categorical("on", [0, 1]) else 0.0
        return (math.nan, 0.0) if trial.number == 7 else (x + y, k - x)

    study = optuna.create_study(directions=["minimize"] * 2, sampler=RocketSampler(seed=3))
    study.optimize(objective, n_trials=14)
    return study


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_default_dtype_does_not_matter(dtype: torch.dtype) -> None:
    expected = all_params(mixed_study(RocketSampler(seed=3), 12)), all_params(goals_study())
    with default_dtype(dtype), sampler_log() as messages:
        study = mixed_study(RocketSampler(seed=3), 12)
        assert (all_params(study), all_params(goals_study())) == expected
        told = str(explain(study, 9))
    assert messages == [] and told == str(explain(study, 9))


def test_studies_in_threads_leave_the_number_of_threads_alone() -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
import optuna, torch
from optuna_rocket import RocketSampler
from tests.support import MIXED
optuna.logging.set_verbosity(optuna.logging.ERROR)
torch.set_num_threads(2)
def run(seed):
    study = optuna.create_study(sampler=RocketSampler(seed=seed))
    for _ in range(12):
        study.tell(study.ask(MIXED), 1.0)
for _ in range(3):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
    with ThreadPoolExecutor(1) as pool:
        print(pool.submit(torch.get_num_threads).result(), torch.get_num_threads())
"""
    assert run_python(code).split() == ["2"] * 6


def test_number_of_threads_does_not_matter() -> None:
    code = """
import torch
from tests.support import print_mixed
torch.set_num_threads(2)
print_mixed("3", "8")
assert torch.get_num_threads() == 2
"""
    here = [str(params) for params in all_params(mixed_study(RocketSampler(seed=3), 8))]
    assert run_python(code).splitlines() == here


def test_global_state_is_left_alone() -> None:
    def snapshot() -> list[object]:
        return [
            torch.get_rng_state().tolist(),
            str(np.random.get_state()),
            random.getstate(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            np.geterr(),
        ]

    before = snapshot()
    sampler = RocketSampler(seed=0)
    study = mixed_study(sampler, 6)
    sampler.reseed_rng()
    study.ask(MIXED)
    assert snapshot() == before
    with torch.no_grad():
        study.ask(MIXED)
        assert not torch.is_grad_enabled()


def test_other_trials_are_not_altered() -> None:
    study = mixed_study(RocketSampler(seed=0), 5)
    before = study.trials
    study.ask(MIXED)
    assert study.trials[:5] == before


# Checkpoints


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "copy.rocket"
    path.write_bytes(weights_file.SHIPPED.read_bytes())
    return path


def edit(path: Path, body: bytes | None = None, **changes: object) -> None:
    """Write a checkpoint again with other entries, and a right digest."""
    header, old = weights_file.read(path)
    version = changes.pop("format_version", header.pop("format_version"))
    with mock.patch.object(weights_file, "FORMAT_VERSION", version):
        weights_file.write(path, {**header, **changes}, old if body is None else body)


def with_bad_weight(path: Path) -> bytes:
    values = np.frombuffer(weights_file.read(path)[1], dtype="<f4").copy()
    values[7] = math.nan
    return values.tobytes()


def test_a_copied_checkpoint_is_the_shipped_agent(checkpoint: Path) -> None:
    expected = all_params(mixed_study(RocketSampler(seed=1), 6))
    for path in (checkpoint, str(checkpoint)):
        assert all_params(mixed_study(RocketSampler(seed=1, checkpoint=path), 6)) == expected


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p: p.unlink(), "cannot be read"),
        (lambda p: (p.unlink(), p.mkdir()), "cannot be read"),
        (lambda p: p.write_bytes(b""), "not a checkpoint"),
        (lambda p: p.write_bytes(random.Random(0).randbytes(5000)), "not a checkpoint"),
        (lambda p: p.write_bytes(p.read_bytes()[:10]), "not a checkpoint"),
        (lambda p: p.write_bytes(p.read_bytes()[:28]), "header"),
        (lambda p: p.write_bytes(p.read_bytes()[:200]), "header"),
        (lambda p: p.write_bytes(p.read_bytes()[:-4]), "digest"),
        (lambda p: p.write_bytes(p.read_bytes() + b"\0"), "digest"),
        (
            lambda p: p.write_bytes(bytes([*p.read_bytes()[:-9], 1, *p.read_bytes()[-8:]])),
            "digest",
        ),
        (lambda p: p.write_bytes(bytes([*p.read_bytes()[:40], 255])), "header"),
        (lambda p: p.write_bytes(p.read_bytes().ljust(2**24 + 1, b"\0")), "larger"),
        (lambda p: edit(p, format_version=weights_file.FORMAT_VERSION + 1), "newer"),
        (lambda p: edit(p, format_version="1"), "header"),
        (lambda p: edit(p, candidate_features=["other"]), "other features"),
        (lambda p: edit(p, study_features=None), "other features"),
        (lambda p: edit(p, n_token_features=1), "other features"),
        (lambda p: edit(p, tensors={}), "other features"),
        (lambda p: edit(p, tensors=3), "other features"),
        (lambda p: edit(p, body=b"\0" * 8), "length"),
        (lambda p: edit(p, body=with_bad_weight(p)), "not finite"),
    ],
)
def test_bad_checkpoint_is_refused_by_name(checkpoint: Path, damage: Any, reason: str) -> None:
    damage(checkpoint)
    with pytest.raises(CheckpointError, match=reason) as caught:
        RocketSampler(checkpoint=checkpoint)
    assert isinstance(caught.value, ValueError)
    assert str(checkpoint) in str(caught.value)
    assert "checkpoint=None" in str(caught.value)


def test_any_flipped_byte_is_refused(checkpoint: Path) -> None:
    content = checkpoint.read_bytes()
    body_length = len(weights_file.read(checkpoint)[1])
    for position in random.Random(0).sample(range(len(content) - body_length, len(content)), 20):
        damaged = bytearray(content)
        damaged[position] ^= 0x40
        checkpoint.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            RocketSampler(checkpoint=checkpoint)


@pytest.mark.parametrize("position", [0, 24, 25, 26, 32, 33, 40])
def test_a_flipped_byte_at_the_start_raises_nothing_else(checkpoint: Path, position: int) -> None:
    damaged = bytearray(checkpoint.read_bytes())
    damaged[position] ^= 0x80
    checkpoint.write_bytes(damaged)
    with pytest.raises(CheckpointError):
        RocketSampler(checkpoint=checkpoint)


# A failing agent


def failing(sampler: RocketSampler, n_trials: int = 3) -> tuple[Study, list[str]]:
    """Trials of a study whose agent is broken, and what was logged."""
    study = mixed_study(RocketSampler(seed=0), 5)
    study.sampler = sampler
    with sampler_log() as messages:
        for _ in range(n_trials):
            trial = study.ask(MIXED)
            assert_valid(trial.params, MIXED)
            study.tell(trial, mixed_value(trial.params))
    return study, messages


@pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError("boom"), KeyError("boom")])
def test_an_exception_in_the_agent_is_survived_and_logged(error: Exception) -> None:
    with mock.patch.object(policy, "decide", side_effect=error):
        study, messages = failing(RocketSampler(seed=0))
    assert len(messages) == 3  # one per trial, not one per parameter
    for number, message in zip((5, 6, 7), messages, strict=True):
        assert f"trial {number}" in message
        assert type(error).__name__ in message and "boom" in message
    assert len({trial.params["x"] for trial in study.trials}) == 8
    recovered = study.ask(MIXED)
    assert "rocket:suggestion" in study.trials[recovered.number].system_attrs


def test_an_interrupt_in_the_agent_is_not_swallowed() -> None:
    study = mixed_study(RocketSampler(seed=0), 3)
    with (
        mock.patch.object(policy, "decide", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        study.ask(MIXED)


def test_a_failing_agent_draws_reproducibly() -> None:
    with mock.patch.object(policy, "decide", side_effect=RuntimeError):
        assert all_params(failing(RocketSampler(seed=0))[0]) == all_params(
            failing(RocketSampler(seed=0))[0]
        )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_survived_and_logged(value: float) -> None:
    sampler = RocketSampler(seed=0)
    network = sampler._load().network
    for parameter in network.parameters():
        parameter.data.fill_(value)
    _, messages = failing(sampler)
    assert len(messages) == 3
    assert all("finite" in message for message in messages)


def test_a_shipped_file_that_vanishes_costs_no_trial(tmp_path: Path) -> None:
    sampler = RocketSampler(seed=0)
    sampler._path = tmp_path / "vanished.rocket"
    _, messages = failing(sampler, 1)
    assert len(messages) == 1 and "vanished.rocket" in messages[0]


def test_a_failing_agent_honours_enqueued_and_conditional_parameters() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.enqueue_trial({"x": 0.25})
    with mock.patch.object(policy, "decide", side_effect=RuntimeError("boom")):
        study.optimize(
            lambda t: t.suggest_float("x", 0, 1) + t.suggest_int("n", 1, 3), n_trials=4, catch=()
        )
    assert study.trials[0].params["x"] == 0.25
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)


# Storage


def test_a_failing_write_is_not_swallowed() -> None:
    study = mixed_study(RocketSampler(seed=0), 3)
    with (
        mock.patch.object(study._storage, "set_trial_system_attr", side_effect=OSError("full")),
        pytest.raises(OSError, match="full"),
    ):
        study.ask(MIXED)


def test_a_failing_read_is_not_swallowed() -> None:
    study = mixed_study(RocketSampler(seed=0), 3)
    with (
        mock.patch.object(study._storage, "get_all_trials", side_effect=OSError("gone")),
        pytest.raises(OSError, match="gone"),
    ):
        study.ask(MIXED)


# Hostile attributes


def stored(**changes: object) -> str:
    """A suggestion as this version stores it, but for the changes."""
    content = {"params": {"x": 0.5}, "kind": 1, "mean": 0.1, "std": 0.5}
    return json.dumps(content | changes)


HOSTILE: list[Any] = [
    None,
    5,
    ["a"],
    {"params": {"x": 1.0}},
    "",
    "{",
    "null",
    "[]",
    "[" * 50_000,
    "x" * 100_000,
    "9" * 20_000,
    stored(params=None),
    stored(params=[1, 2]),
    stored(params={"x": "a"}),
    stored(params={"x": None}),
    stored(params={"x": math.nan}),
    stored(params={"x": math.inf}),
    stored(params={"x": 1e300, "kind": 1e300, "width": -4.0, "rate": 0.0}),
    stored(params={"kind": -7, "depth": 0.5, "even": 10**300}),
    stored(params={"unknown": 1.0}),
    stored(kind=10**30),
    stored(kind=-(10**30)),
    stored(kind=99),
    stored(kind=None),
    stored(kind="1"),
    stored(kind=math.nan),
    stored(mean=math.nan, std=math.inf),
    stored(mean=1e308, std=-1e308),
    stored(mean="a"),
    stored(mean=[]),
    stored(mean=10**400),
    json.dumps({"params": {"x": 1.0}}),
    json.dumps({"params": {f"p{k}": 0.5 for k in range(3000)}, "kind": 0, "mean": 0, "std": 1}),
]
LABELS = [repr(text)[:60] for text in HOSTILE]


@pytest.mark.parametrize("text", HOSTILE, ids=LABELS)
def test_hostile_attributes_of_other_trials_are_survived(text: Any) -> None:
    study = mixed_study(RocketSampler(seed=0), 4)
    params = study.trials[0].params | {"x": 2.0}
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL):
        study.add_trial(
            optuna.create_trial(
                state=state,
                params=params,
                distributions=MIXED,
                value=1.0 if state == TrialState.COMPLETE else None,
                system_attrs={"rocket:suggestion": text},
            )
        )
    running = new_trial(study)
    study._storage.set_trial_system_attr(running._trial_id, "rocket:suggestion", text)
    with sampler_log() as messages:
        for _ in range(2):
            trial = study.ask(MIXED)
            assert_valid(trial.params, MIXED)
            study.tell(trial, mixed_value(trial.params))
    assert messages == []


@pytest.mark.parametrize("text", HOSTILE, ids=LABELS)
def test_hostile_attributes_of_the_trial_itself_are_survived(text: Any) -> None:
    """A trial that is started again keeps the attributes of its first life."""
    study = mixed_study(RocketSampler(seed=0), 4)
    trial = new_trial(study)
    study._storage.set_trial_system_attr(trial._trial_id, "rocket:suggestion", text)
    trial = study._storage.get_trial(trial._trial_id)
    with sampler_log() as messages:
        params = study.sampler.sample_relative(study, trial, MIXED)
        value = study.sampler.sample_independent(study, trial, "new", FloatDistribution(0, 1))
    assert messages == []
    assert_valid(params, MIXED)
    assert 0 <= value <= 1


@pytest.mark.parametrize("fixed", [None, 5, "x", [], {"x": "a"}, {"kind": 9}, {"x": None}, {3: 4}])
def test_hostile_enqueued_parameters_are_survived(fixed: Any) -> None:
    study = mixed_study(RocketSampler(seed=0), 4)
    trial = new_trial(study)
    study._storage.set_trial_system_attr(trial._trial_id, "fixed_params", fixed)
    trial = study._storage.get_trial(trial._trial_id)
    with sampler_log() as messages:
        assert_valid(study.sampler.sample_relative(study, trial, MIXED), MIXED)
    assert messages == []


def test_a_trial_retried_after_a_crash_runs_again() -> None:
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for _ in range(3):
        study.tell(study.ask(space), 1.0)
    crashed = study.trials[-1]
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=crashed.params,
            distributions=crashed.distributions,
            system_attrs={**crashed.system_attrs, "fixed_params": crashed.params},
        )
    )
    with sampler_log() as messages:
        trial = study.ask({**space, "y": FloatDistribution(0, 1)})
    assert messages == []
    assert trial.params["x"] == crashed.params["x"]
    assert set(trial.params) == {"x", "y"}
