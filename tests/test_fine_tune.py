from __future__ import annotations

import json
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import RDBStorage
import pytest
import torch

from optuna_rocket import RocketSampler
from optuna_rocket import hindsight
from optuna_rocket import past_studies
from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import weights_file
from optuna_rocket.past_studies import read_past_studies
from optuna_rocket.training import fine_tune
from optuna_rocket.training import verdict
from optuna_rocket.training.fine_tune import Options
from optuna_rocket.training.verdict import Verdict
from tests.related_studies import filled
from tests.related_studies import loss
from tests.related_studies import target


TINY = ["--iterations", "2", "--tasks", "2", "--trials", "8", "--verdict-tasks", "2"]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six studies with a secret, and some that teach nothing."""
    url = f"sqlite:///{tmp_path_factory.mktemp('team')}/team.db"
    opened = RDBStorage(url)
    for k in range(6):
        filled(12, seed=k, storage=opened, name=f"secret-project-{k}")
    filled(4, storage=opened, name="short")
    filled(12, value=lambda _: 1.0, storage=opened, name="constant")
    optuna.create_study(storage=opened, study_name="two", directions=["minimize", "minimize"])
    return url


@pytest.fixture(scope="module")
def tuned(storage: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "team.rocket"
    assert fine_tune.main(["--storage", storage, "--out", str(out), *TINY]) in (0, 1)
    return out


def test_the_command_writes_an_agent_that_differs_a_little(tuned: Path) -> None:
    mine = checkpoint.load(tuned)
    shipped = checkpoint.load(weights_file.SHIPPED)
    for name, value in mine.state_dict().items():
        gap = float((value - shipped.state_dict()[name]).abs().max())
        assert gap < 0.1
    assert any(
        not torch.equal(a, b) for a, b in zip(mine.parameters(), shipped.parameters(), strict=True)
    )
    assert target(RocketSampler(seed=0, checkpoint=tuned), 7).best_value < 10


def test_a_checkpoint_holds_weights_and_a_header_and_nothing_of_the_studies(
    tuned: Path, storage: str
) -> None:
    header, body = weights_file.read(tuned)
    network = checkpoint.load(tuned)
    weights = b"".join(x.numpy().astype("<f4").tobytes() for x in network.state_dict().values())
    assert body == weights
    shipped, _ = weights_file.read(weights_file.SHIPPED)
    assert set(header) == set(shipped)
    assert {k: v for k, v in header.items() if k not in ("digest", "made_by")} == {
        k: v for k, v in shipped.items() if k not in ("digest", "made_by")
    }
    assert set(header["made_by"]) == {
        "fine_tuned_from", "options", "n_studies", "n_apart", "gain", "interval", "recommended",
        "torch",
    }  # fmt: skip
    text = tuned.read_bytes()
    secrets = ["secret-project", "rate", '"kind"', storage]
    past, _ = read_past_studies(storage)
    study = optuna.load_study(study_name=past[0].name, storage=storage)
    secrets += [str(value) for trial in study.trials for value in trial.params.values()
                if isinstance(value, float)]  # fmt: skip
    made_by = json.dumps(header["made_by"])
    for secret in secrets:
        found = secret.encode() in text
        assert not found or secret == "rate", secret
    assert set(json.loads(made_by)["options"]) == set(Options.__dataclass_fields__)


def test_the_studies_are_only_read(storage: str, tmp_path: Path) -> None:
    file = Path(storage.removeprefix("sqlite:///"))
    before = file.read_bytes()
    fine_tune.main(["--storage", storage, "--out", str(tmp_path / "x"), *TINY])
    assert file.read_bytes() == before


def test_what_teaches_nothing_is_named(
    storage: str, tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, left_out = read_past_studies(storage)
    assert [x.name for x in found] == [f"secret-project-{k}" for k in range(6)]
    assert set(left_out) == {"short", "constant", "two"}
    assert "4 trials with a score" in left_out["short"]
    assert "same score" in left_out["constant"] and "2 objectives" in left_out["two"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--studies", "secret-project-0", "short"], "1 studies can be used"),
        (["--studies", "absent"], "has no studies ['absent']"),
        (["--iterations", "0"], "iterations=0"),
        (["--trials", "3"], "trials=3"),
        (["--apart", "1.5"], "apart=1.5"),
        (["--rate", "nan"], "rate=nan"),
        (["--rate", "0"], "rate=0"),
        (["--kl", "-1"], "kl=-1"),
    ],
)
def test_bad_input_is_refused(
    extra: list[str],
    message: str,
    storage: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "no.rocket"
    assert fine_tune.main(["--storage", storage, "--out", str(out), *TINY, *extra]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("url", ["sqlite:////no/such/file.db", "nonsense", "sqlite://"])
def test_a_storage_that_is_not_there_is_refused(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fine_tune.main(["--storage", url, "--out", str(tmp_path / "no"), *TINY]) == 2
    assert f"storage={url!r} cannot be opened" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_refused_before_any_work(
    storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "none" / "x.rocket"
    assert fine_tune.main(["--storage", storage, "--out", str(out), *TINY]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_a_folder_instead_of_a_file_is_refused_before_any_work(
    storage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fine_tune.main(["--storage", storage, "--out", str(tmp_path), *TINY]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_a_full_disk_is_not_taken_for_a_verdict(
    storage: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    out = tmp_path / "team.rocket"
    assert fine_tune.main(["--storage", storage, "--out", str(out), *TINY]) == 2
    assert "No space left" in capsys.readouterr().err


def test_studies_are_divided_by_lot_and_none_is_lost(storage: str) -> None:
    past, _ = read_past_studies(storage)
    taught, apart = fine_tune.divide(past, Options(seed=1))
    assert len(taught) == len(apart) == 3
    assert {x.name for x in taught + apart} == {x.name for x in past}
    assert fine_tune.divide(past, Options(seed=1))[1] == apart


# The verdict


def gains(*values: float) -> Verdict:
    found = torch.tensor(values, dtype=torch.float64)
    regret = torch.full((2, 8), 0.5, dtype=torch.float64)
    return Verdict(regret, found, float(found.mean()), verdict.interval(found))


def test_an_interval_by_hand() -> None:
    low, high = verdict.interval(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    assert (low, high) == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5))
    many = torch.arange(40, dtype=torch.float64)
    low, high = verdict.interval(many)
    half = 2.0227 * float(many.std()) / 40**0.5  # Student's t of 39 degrees of freedom
    assert high - low == pytest.approx(2 * half, rel=1e-3)


def test_only_what_is_better_beyond_chance_is_recommended(tmp_path: Path) -> None:
    better, luck, worse = gains(0.1, 0.12, 0.09), gains(0.5, 0.01, 0.0), gains(-0.1, -0.1, -0.11)
    assert better.is_better and not luck.is_better and not worse.is_better
    assert "Recommended: RocketSampler(checkpoint=" in fine_tune.report(better, tmp_path)
    for one in (luck, worse):
        assert "Not recommended" in fine_tune.report(one, tmp_path)


def test_an_agent_gains_nothing_on_itself(storage: str) -> None:
    shipped = checkpoint.load(weights_file.SHIPPED)
    past, _ = read_past_studies(storage)
    pairs = [(x.history, x.geometry) for x in past[:2]]
    found = verdict.compare(shipped, shipped, pairs, seed=0, n_tasks=2, n_trials=7)
    assert found.gains.tolist() == [0.0, 0.0] and not found.is_better


def test_one_parameter_is_enough(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.db"
    filled(12, space={"z": FloatDistribution(0, 1)}, value=lambda p: p["z"],
           storage=RDBStorage(url), name="one")  # fmt: skip
    found, _ = read_past_studies(url, ["one"])
    assert found[0].geometry.present.shape == (1, 1)
    assert loss({"rate": 1e-2, "x": 0.9, "kind": "c"}) == 0


def test_training_reads_an_edited_study_as_use_does() -> None:
    def edited(trial: optuna.Trial) -> float:
        score = trial.suggest_float("x", 0, 1)
        return score + trial.suggest_float("y", 0, 1) if trial.number < 8 else score

    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.optimize(edited, n_trials=14)
    taught, used = past_studies._past(study), hindsight.look(study)
    assert taught.geometry.held is not None and used.geometry.held is not None
    assert torch.equal(taught.geometry.held.isnan(), used.geometry.held.isnan())
    assert torch.equal(taught.history.units, used.history.units)
    assert torch.equal(taught.history.active, used.history.active)
