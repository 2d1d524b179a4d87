from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import combinations
from itertools import product
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import pytest
import torch
from torch import Tensor

from benchmarks import development
from benchmarks import small_network_training
from benchmarks import small_networks
from benchmarks.development_tables import Table
from benchmarks.development_tables import TableTasks
from benchmarks.development_tables import read_tables
from benchmarks.development_tables import write_tables
from benchmarks.small_network_specs import OPTIMIZERS
from benchmarks.small_network_specs import SPECS
from benchmarks.small_network_specs import Spec
from benchmarks.small_network_training import train
from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import policy
from optuna_rocket.agent.checkpoint import new_network
from tests.builders import restless_network
from tests.support import ROOT


COMMITTED = ROOT / "benchmarks" / "results" / "development_tables.npz"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def columns(**values: Sequence[float]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(column, dtype=float) for name, column in values.items()}


def toy(*shape: int, categorical: Sequence[bool] = (), noise: float = 0.1, seed: int = 0) -> Table:
    """A rough bowl around the middle of a grid."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[(np.arange(k) + 0.5) / k - 0.4 for k in shape], indexing="ij")
    bowl = np.sum([(2 * x) ** 2 for x in axes], axis=0) + 0.2 * rng.random(shape)
    values = bowl[..., None] + noise * rng.normal(size=(*shape, 2))
    names = tuple(f"x{j}" for j in range(len(shape)))
    return Table(names, tuple(categorical) or (False,) * len(shape), values.astype(np.float32))


TOYS = {"choices": toy(4, 3, 3, categorical=(False, True, True)), "grid": toy(7, 6, 5, noise=0.3)}


def test_training_lowers_the_validation_error() -> None:
    given = columns(lr=[0.03, 0.3, 0.1, 0.0], optimizer=[1, 0, 2, 1], weight_decay=[0] * 4)
    error = train(given, "wine", "error", (1, 40), 0)
    loss = train(given, "wine", "loss", (1, 40), 0)
    assert (error[:3, 1] < 0.15).all() and (error[:3, 1] < error[:3, 0] - 0.1).all()
    assert (loss[:3, 1] < 0.5 * loss[:3, 0]).all()
    assert error[3, 0] == error[3, 1] and loss[3, 0] == loss[3, 1]  # a rate of zero


def test_training_repeats_exactly_and_seeds_differ() -> None:
    given = columns(lr=[0.03, 0.1], dropout=[0.0, 0.3])
    first, again, other = (train(given, "moons", "loss", (5,), seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("momentum", 0.0),
        ("weight_decay", 0.5),
        ("width", 4),
        ("depth", 3),
        ("batch", 4),
        ("dropout", 0.5),
        ("optimizer", 2),
        ("act", 1),
        ("act2", 2),
        ("gain", 0.3),
        ("cosine", 1),
        ("smoothing", 0.1),
        ("conn1", 1),
    ],
)
def test_every_hyperparameter_matters(name: str, value: float) -> None:
    default = small_network_training._DEFAULTS.get(name, 0.0)
    depth = {"depth": [3.0, 3.0]} if name == "act2" else {}
    given = columns(lr=[0.05, 0.05], **{name: [default, value]}, **depth)
    # The same draws for both networks, apart from their initial weights.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", equal_for_all(torch.randn))
        usual, changed = train(given, "wine", "loss", (6,), 0)[:, 0]
        same = train(given | {name: np.full(2, default)}, "wine", "loss", (6,), 0)[:, 0]
    if name not in ("dropout", "batch"):
        assert same[0] == pytest.approx(same[1], rel=1e-5)
        assert usual == pytest.approx(same[0], rel=1e-5)
    assert abs(usual - changed) > 1e-4 * usual


def equal_for_all(randn: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Random numbers that are the same in every row."""

    def draw(n: int, *shape: int, generator: torch.Generator) -> Tensor:
        return randn(1, *shape, generator=generator).expand(n, *shape).clone()

    return draw


def test_connections_contain_the_plain_networks() -> None:
    plain = columns(lr=[0.03] * 2, depth=[1, 3])
    cells = columns(lr=[0.03] * 2, conn1=[2, 0], conn2=[2, 0])
    one, other = (train(given, "cancer", "loss", (4,), 0) for given in (plain, cells))
    assert np.array_equal(one, other)


def test_diverged_networks_are_worst() -> None:
    given = columns(lr=[1e6, 0.03], gain=[100, 1])
    assert train(given, "diabetes", "loss", (20,), 0)[:, 0] == pytest.approx([1e6, 1], rel=0.7)
    error = train(given, "wine", "error", (20,), 0)[:, 0]
    assert error[0] >= error[1]


def test_unknown_hyperparameters_are_refused() -> None:
    with pytest.raises(ValueError, match="rate"):
        train(columns(rate=[0.1]), "wine", "loss", (1,), 0)


def test_every_result_has_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def code(
        part: Mapping[str, NDArray[np.float64]],
        data: str,
        metric: str,
        checkpoints: Sequence[int],
        seed: int,
    ) -> NDArray[np.float64]:
        assert len(part["lr"]) <= 192
        total = part["lr"] + 100 * part["optimizer"] + 1000 * part["momentum"]
        return np.stack([total + 1e5 * (s + 10 * (seed // 1000)) for s in checkpoints], -1)

    monkeypatch.setattr(small_networks, "train", code)
    rates = [float(k) for k in range(80)]
    spec = Spec("wine", "loss", {"lr": rates, "optimizer": OPTIMIZERS}, (1, 5), {"momentum": 3.0})
    table = small_networks.tabulate(spec)
    assert table.parameters == ("lr", "optimizer", "steps")
    assert table.categorical == (False, True, False)
    for i, j, (s, steps), repeat in product(range(80), range(3), enumerate((1, 5)), range(2)):
        expected = i + 100 * j + 3000 + 1e5 * (steps + 10 * repeat)
        assert table.values[i, j, s, repeat] == expected


def test_the_command_trains_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = []

    def tabulate(spec: Spec, label: str) -> Table:
        trained.append(label)
        return toy(3, 2, seed=len(trained))

    monkeypatch.setattr(small_networks, "tabulate", tabulate)
    out = tmp_path / "tables.npz"
    small_networks.main(["--only", "moons", "--out", str(out)])
    small_networks.main(["--only", "moons", "wine_mixed", "--out", str(out)])
    assert trained == ["moons", "wine_mixed"] and list(tmp_path.iterdir()) == [out]
    before = read_tables(out)
    small_networks.main(["--only", "moons", "--replace", "--out", str(out)])
    after = read_tables(out)
    assert np.array_equal(before["wine_mixed"].values, after["wine_mixed"].values)
    assert not np.array_equal(before["moons"].values, after["moons"].values)
    assert "2 tables" in capsys.readouterr().out


def test_the_committed_file_has_the_tables_of_the_specs() -> None:
    with np.load(COMMITTED, allow_pickle=False) as file:
        assert all(file[key].dtype.kind in "fbU" for key in file.files)
    tables = read_tables(COMMITTED)
    assert set(tables) == set(SPECS)
    for name, table in tables.items():
        spec = SPECS[name]
        assert (table.parameters, table.categorical) == (spec.parameters, spec.categorical)
        assert table.values.shape == (*spec.shape, 2) and table.values.dtype == np.float32
        assert np.isfinite(table.values).all() and table.values.max() <= 1e6
        assert not np.array_equal(table.values[..., 0], table.values[..., 1])


def test_the_committed_file_is_what_the_command_makes() -> None:
    spec, table = SPECS["cancer_mixed"], read_tables(COMMITTED)["cancer_mixed"]
    grid = spec.configurations()
    rows = np.random.default_rng(7).permutation(len(grid["lr"]))[192:384]
    part = {name: values[rows] for name, values in grid.items()}
    trained = train(part, spec.data, spec.metric, spec.checkpoints[:1], 1001)[:, 0]
    stored = table.values[..., 0, 1].ravel()[rows]
    # Not all: where training is unstable, another processor's rounding becomes visible.
    assert np.mean(np.isclose(trained, stored, rtol=0.01)) > 0.9


def test_files_keep_tables(tmp_path: Path) -> None:
    path = tmp_path / "tables.npz"
    assert read_tables(path) == {}
    write_tables(path, TOYS)
    for name, table in read_tables(path).items():
        assert (table.parameters, table.categorical) == (
            TOYS[name].parameters,
            TOYS[name].categorical,
        )
        assert np.array_equal(table.values, TOYS[name].values)


def test_regret_is_zero_for_the_best_and_one_for_the_median() -> None:
    for table in (*read_tables(COMMITTED).values(), *TOYS.values()):
        regret, mean = table.regret(), table.values.astype(float).mean(-1).ravel()
        assert regret.min() == 0 == regret[mean.argmin()]
        assert np.median(regret) == pytest.approx(1)
        assert np.array_equal(regret.argsort(kind="stable"), mean.argsort(kind="stable"))
        assert 0 < table.noise() <= 1


def test_noise_is_that_of_one_repeat_among_better_configurations() -> None:
    values = np.linspace(0, 10, 4000)[:, None] * np.ones(2)
    rng = np.random.default_rng(0)
    values[:1200] += 0.1 * rng.normal(size=(1200, 2))
    values[1200:] += 0.4 * rng.normal(size=(2800, 2))
    table = Table(("x",), (False,), values.astype(np.float32))
    assert table.noise() == pytest.approx(0.1 / 5, rel=0.15)


def test_tasks_find_the_cell_of_a_configuration() -> None:
    tasks = TableTasks(TOYS, copies=2)
    assert len(tasks) == 4 and tasks.names == ("choices", "grid")
    rng = torch.Generator().manual_seed(0)
    for row, (table, copy) in enumerate(product(TOYS.values(), range(2))):
        shape, regret = table.shape, table.regret().reshape(table.shape)
        cells = list(product(*[range(k) for k in shape]))
        units = torch.zeros(4, len(cells), 3, dtype=torch.float64)
        for k, cell in enumerate(cells):
            for axis, index in enumerate(cell):
                within = float(torch.rand((), generator=rng)) if copy else 0.5
                unit = index if table.categorical[axis] else (index + within) / shape[axis]
                units[row, k, axis] = unit
        values = tasks.evaluate(units)[row].tolist()
        assert values == [-regret[cell] for cell in cells]
        snapped = tasks.geometry.snap(units)
        assert torch.equal(tasks.evaluate(snapped)[row], tasks.evaluate(units)[row])
    edge = torch.ones(4, 1, 3, dtype=torch.float64)
    assert tasks.evaluate(edge)[2, 0] == -TOYS["grid"].regret()[-1]
    assert not bool(tasks.fails(edge).any())


def test_tables_of_different_width_share_a_batch() -> None:
    tasks = TableTasks({"narrow": toy(3, categorical=(True,)), "wide": toy(2, 4)})
    assert tasks.geometry.present.tolist() == [[True, False], [True, True]]
    assert tasks.geometry.n_cells.tolist() == [[3, 0], [2, 4]]
    units = torch.tensor([[[2.0, 0.0]], [[0.75, 0.9]]], dtype=torch.float64)
    expected = [-toy(3).regret()[2], -toy(2, 4).regret()[7]]
    assert tasks.evaluate(units)[:, 0].tolist() == expected


class WatchedTasks(TableTasks):
    """Tables that keep the values of what was tried."""

    def __init__(self, tables: Mapping[str, Table], copies: int) -> None:
        super().__init__(tables, copies)
        self.tried: list[Tensor] = []

    def evaluate(self, units: Tensor) -> Tensor:
        values = super().evaluate(units)
        self.tried.append(values)
        return values


def test_variants_differ_and_repeat_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "N_CANDIDATES", 32)
    # Repeats make a difference where there is little to try.
    tables = {**TOYS, "small": toy(3, 3, noise=0.5)}
    ways = development.variants(restless_network(), [])
    patches = [patch for variant in ways.values() for patch in variant.patches]
    before = [getattr(module, name) for module, name, _ in patches]
    tried, regret = {}, {}
    for name, variant in ways.items():
        tasks = WatchedTasks(tables, copies=8)
        regret[name] = development.measure(variant, tasks, 1, 20)
        assert regret[name].shape == (24, 20) and float(regret[name].min()) >= 0
        tried[name] = torch.cat(tasks.tried, 1)
    assert before == [getattr(module, name) for module, name, _ in patches]
    for name, other in combinations(tried, 2):
        assert not torch.equal(tried[name], tried[other]), (name, other)
    again = development.measure(ways["agent"], TableTasks(tables, copies=8), 2, 20)
    assert torch.equal(again[:24], regret["agent"])
    assert not torch.equal(again[24:], regret["agent"])


def test_the_command_writes_the_same_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    all_variants = development.variants
    names = ("agent", "rule (nothing learned)", "random")
    monkeypatch.setattr(
        development, "variants", lambda *given: {k: all_variants(*given)[k] for k in names}
    )
    monkeypatch.setattr(development, "_TRIALS", (3, 7))
    monkeypatch.setattr(policy, "N_CANDIDATES", 32)
    write_tables(tmp_path / "tables.npz", TOYS)
    checkpoint.save(new_network(), tmp_path / "untrained.rocket", {})
    command = ["--copies", "2", "--streams", "2", "--trials", "7"]
    command += ["--checkpoint", str(tmp_path / "untrained.rocket")]
    command += ["--tables", str(tmp_path / "tables.npz"), "--out"]
    for name in ("first.json", "again.json"):
        development.main([*command, str(tmp_path / name)])
    written = (tmp_path / "first.json").read_text()
    assert written == (tmp_path / "again.json").read_text()
    rows = json.loads(written)["variants"]
    assert [row["variant"] for row in rows] == list(names)
    assert all(row["studies"] == 8 and row.keys() >= {"regret_3", "regret_7"} for row in rows)
    # An untrained network leaves the choice to the rule.
    assert {**rows[0], "variant": ""} == {**rows[1], "variant": ""}
    assert rows[0]["t"] == 0 and rows[2]["t"] != 0
    assert "| random | 8 |" in capsys.readouterr().out


def test_corners_of_a_bowl_are_worse_than_its_centre() -> None:
    tables = {
        "bowl": toy(12, 12, 12),
        "choices": toy(4, 3, categorical=(True, True)),
        "two": toy(2, 3, categorical=(False, True)),
    }
    (row,) = development.off_centre(TableTasks(tables))
    fifths = [row[f"fifth_{k}"] for k in range(1, 6)]
    assert row["table"] == "bowl" and fifths == sorted(fifths) and fifths[4] > 2 * fifths[0]


def test_commands_say_what_they_lack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        development.main(["--trials", "10"])
    assert "--trials=10" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        development.main(["--tables", str(tmp_path / "nothing.npz")])
    assert "benchmarks.small_networks" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        small_networks.main(["--only", "imagenet"])
    assert "imagenet" in capsys.readouterr().err
