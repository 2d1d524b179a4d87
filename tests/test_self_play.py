from __future__ import annotations

from collections.abc import Iterator
import json
import os
from pathlib import Path
import random
import shutil
import subprocess
import sys
from typing import Any
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import weights_file
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.training import games
from optuna_rocket.training import league
from optuna_rocket.training import progress as progress_module
from optuna_rocket.training import rollout
from optuna_rocket.training import self_play
from optuna_rocket.training.rollout import Trajectory
from optuna_rocket.training.settings import PHASES
from optuna_rocket.training.settings import Settings


ROOT = Path(__file__).resolve().parent.parent
TINY: dict[str, Any] = {
    "tasks": 5,
    "members": 2,
    "candidates": 40,
    "validation": 1,
    "updates": 2,
    "update_epochs": 1,
    "evaluate_every": 100,
    "workers": 1,
}


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """The program sets the number of torch's threads; the other tests keep theirs."""
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


class Run(NamedTuple):
    """A folder with the log after one call and after another one with more iterations."""

    out: Path
    first: list[dict[str, Any]]
    second: list[dict[str, Any]]
    first_weights: Tensor


def flat(network: RecurrentScorer) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def train(out: Path, clone: int, others: int) -> list[dict[str, Any]]:
    options = {**TINY, **dict.fromkeys(PHASES, others), "clone": clone}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    self_play.main(["--out", str(out), *arguments])
    return log_of(out)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "new" / "folder"
    n_threads, play = torch.get_num_threads(), rollout.play

    def quick_play(*arguments: Any, **options: Any) -> Trajectory:
        return play(*arguments, **{**options, "n_candidates": 24})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(games, "play", quick_play)
        first = train(out, 1, 0)
        weights = flat(checkpoint.load(out / "latest.rocket"))
        second = train(out, 1, 1)
    torch.set_num_threads(n_threads)
    return Run(out, first, second, weights)


def test_a_run_leaves_log_progress_and_checkpoints(run: Run) -> None:
    assert [entry["iteration"] for entry in run.first] == [0]
    names = {path.name for path in run.out.iterdir()}
    assert names == {"log.jsonl", "progress.pt", "best.rocket", "latest.rocket"}
    made_by = weights_file.read(run.out / "best.rocket")[0]["made_by"]
    assert made_by["iterations"] == 4 and made_by["hours"] >= 0
    assert made_by["settings"]["tasks"] == 5
    assert str(run.out) not in json.dumps(made_by)


def test_a_run_started_again_goes_on(run: Run) -> None:
    assert run.second[:1] == run.first
    assert [entry["iteration"] for entry in run.second] == [0, 1, 2, 3]
    assert tuple(entry["phase"] for entry in run.second) == PHASES


def test_every_phase_learns_and_is_logged(run: Run) -> None:
    for entry in run.second:
        assert entry["entropy"] > 0 and entry["loss"] == entry["loss"]
    assert {"shortfall", "valid_utility", "t_against_rule"} <= set(run.second[-1])
    assert "valid_utility" in run.second[0] and "valid_utility" not in run.second[1]
    latest = flat(checkpoint.load(run.out / "latest.rocket"))
    assert not torch.equal(latest, run.first_weights)


def test_best_is_the_network_with_the_best_validation(run: Run) -> None:
    stored = torch.load(run.out / "progress.pt", weights_only=True)
    scores = [entry["valid_utility"] for entry in run.second if "valid_utility" in entry]
    assert stored["best_score"] == pytest.approx(max(scores), abs=1e-5)
    best = flat(checkpoint.load(run.out / "best.rocket"))
    latest = flat(checkpoint.load(run.out / "latest.rocket"))
    expected = run.first_weights if scores[0] >= scores[1] else latest
    assert torch.equal(best, expected)


def test_a_finished_run_started_again_changes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "copy"
    shutil.copytree(run.out, out)
    monkeypatch.setattr(
        self_play, "validate", lambda *_: torch.ones(games.VALIDATION_BATCH, 50).double()
    )
    for _ in range(2):
        assert train(out, 1, 1) == run.second
    again = torch.load(out / "progress.pt", weights_only=True)
    before = torch.load(run.out / "progress.pt", weights_only=True)
    assert again["iteration"] == before["iteration"]
    made_by = weights_file.read(out / "best.rocket")[0]["made_by"]
    assert made_by["iterations"] == 4


def test_iterations_repeat_with_the_seed(tmp_path: Path) -> None:
    outcomes = []
    for seed in (1, 1, 2):
        settings = Settings(**{**TINY, "out": str(tmp_path), "seed": seed})
        progress = progress_module.resume(settings, tmp_path)
        log = self_play._iterate(progress, settings, "exact", None)
        outcomes.append((log["loss"], flat(progress.network)))
    assert outcomes[0][0] == outcomes[1][0] != outcomes[2][0]
    assert torch.equal(outcomes[0][1], outcomes[1][1])


def test_admitted_selves_are_frozen_copies(tmp_path: Path) -> None:
    progress = progress_module.resume(Settings(**{**TINY, "out": str(tmp_path)}), tmp_path)
    progress.league.admit(progress_module.frozen(progress.network))
    before = progress.network.middle.weight.detach().clone()
    with torch.no_grad():
        progress.network.middle.weight.zero_()
    drawn = progress.league.draw(random.Random(0))
    assert drawn is not None and torch.equal(drawn["middle.weight"], before)


def test_worker_processes_play_the_same_games() -> None:
    order = games.Order(
        3,
        4,
        n_tasks=5,
        members=2,
        n_candidates=40,
        forget=False,
        n_ahead=2,
        n_contenders=4,
        with_league=True,
    )
    state = new_network().state_dict()
    here = games.play_order(order, state, state)
    with games.workers(2) as executor:
        [there] = games.run(executor, games.play_order, [order], [state], [state])
    assert torch.equal(here.played.actions, there.played.actions)
    assert here.league is not None and torch.equal(here.league, there.league)
    assert here.league.shape[1] == len(league.FIXED_OPPONENTS) + 1
    assert here.shortfall == there.copied().shortfall


def utility_of(regret: float) -> Tensor:
    """Validation regrets of one batch of tasks around a level."""
    ripple = 0.01 * torch.sin(torch.arange(games.VALIDATION_BATCH).double())[:, None]
    return (regret + ripple).expand(-1, 50)


def test_the_reference_follows_only_a_better_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(**{**TINY, "out": str(tmp_path)})
    progress = progress_module.resume(settings, tmp_path)

    def evaluate(regret: float) -> dict[str, float]:
        monkeypatch.setattr(self_play, "validate", lambda *_: utility_of(regret))
        with torch.no_grad():
            progress.average.residual.bias.add_(1.0)
        return self_play._evaluate(progress, settings, "group", utility_of(0.5), None)

    first = evaluate(0.4)
    assert first["reference_replaced"] == 1 and first["t_against_rule"] > 1.65
    held = flat(progress.reference)
    assert torch.equal(held, flat(progress.average)) and torch.equal(held, flat(progress.best))
    assert len(progress.league.selves) == 1

    worse = evaluate(0.6)
    assert worse["reference_replaced"] == 0 and worse["t_against_rule"] < 0
    assert torch.equal(flat(progress.reference), held) and torch.equal(flat(progress.best), held)
    assert len(progress.league.selves) == 1

    better = evaluate(0.3)
    assert better["reference_replaced"] == 1 and len(progress.league.selves) == 2
    assert torch.equal(flat(progress.best), flat(progress.average))


def test_phases_come_in_order() -> None:
    settings = Settings(clone=2, exact=1, foresight=2, group=3)
    phases = [self_play._phase(settings, iteration) for iteration in range(8)]
    assert phases == ["clone"] * 2 + ["exact"] + ["foresight"] * 2 + ["group"] * 3


def test_unknown_progress_starts_from_the_rule(tmp_path: Path) -> None:
    progress = progress_module.resume(Settings(**TINY), tmp_path)
    assert progress.iteration == 0
    assert bool((progress.network.residual.weight == 0).all())
    assert torch.equal(flat(progress.network), flat(progress.best))
    fresh = new_network()
    assert torch.equal(fresh.sharpness.bias, progress.network.sharpness.bias)


def lines_of(iterations: list[int], tail: str = "") -> str:
    return "".join(f'{{"iteration": {i}}}\n' for i in iterations) + tail


def test_an_interrupted_line_of_the_log_is_dropped(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.out, tmp_path, dirs_exist_ok=True)
    (tmp_path / "log.jsonl").write_text(lines_of([0, 1, 2, 3, 4], '{"iterat'))
    assert progress_module.resume(Settings(**TINY), tmp_path).iteration == 4
    assert (tmp_path / "log.jsonl").read_text() == lines_of([0, 1, 2, 3])
    (tmp_path / "log.jsonl").unlink()
    assert progress_module.resume(Settings(**TINY), tmp_path).iteration == 4


def test_a_run_that_was_never_stored_begins_its_log_anew(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(lines_of([0, 1]))
    assert progress_module.resume(Settings(**TINY), tmp_path).iteration == 0
    assert (tmp_path / "log.jsonl").read_text() == ""


@pytest.mark.parametrize("content", [b"", b"no progress", b"PK\x03\x04 half a file"])
def test_damaged_progress_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "progress.pt").write_bytes(content)
    with pytest.raises(SystemExit, match=r"progress\.pt cannot be read.*Remove it"):
        self_play.main(["--out", str(tmp_path), "--foresight", "1"])


@pytest.mark.parametrize("lost", ["losses", "network"])
def test_progress_of_another_version_is_named(lost: str, tmp_path: Path) -> None:
    settings = Settings(**TINY)
    progress_module.store(progress_module.resume(settings, tmp_path), settings, tmp_path)
    assert progress_module.resume(settings, tmp_path).iteration == 0
    stored = torch.load(tmp_path / "progress.pt", weights_only=True)
    if lost == "network":
        stored[lost] = {name: weight[..., None] for name, weight in stored[lost].items()}
    else:
        del stored[lost]
    torch.save(stored, tmp_path / "progress.pt")
    with pytest.raises(ValueError, match=r"progress\.pt cannot be read.*another version"):
        progress_module.resume(settings, tmp_path)


@pytest.mark.parametrize("option", ["--foresight=-1", "--tasks=0", "--members=1", "--kl=nan"])
def test_options_without_sense_are_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        self_play.main(["--out", str(tmp_path), option])
    assert option.split("=")[0] in capsys.readouterr().err


def test_starting_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    progress_module.resume(Settings(**TINY), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_help_names_every_option() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "optuna_rocket.training.self_play", "--help"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for name in Settings.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in done.stdout
