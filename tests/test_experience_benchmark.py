from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest

from benchmarks import experience
from benchmarks import experience_tasks
from benchmarks.cells import Cell
from benchmarks.development_tables import PATH
from benchmarks.development_tables import read_tables
from benchmarks.methods import method_label
from benchmarks.problems import Parameter
from benchmarks.problems import Problem
from benchmarks.records import Replication
from optuna_rocket.agent import weights_file


def bowl() -> Problem:
    values = np.add.outer((np.arange(10) - 7.0) ** 2, np.array([0.0, 5.0, 9.0])).ravel()
    parameters = (
        Parameter("depth", tuple(range(10)), is_ordinal=True),
        Parameter("kind", ("a", "b", "c"), is_ordinal=False),
    )
    return Problem("toy/bowl", "toy", parameters, values[:, None])


def test_slices_are_those_of_the_table() -> None:
    names = experience_tasks.family_of("moons:0,0")
    assert len(names) == 15 and "moons:4,2" in names
    whole = read_tables(PATH)["moons"]
    task = experience_tasks.load_task("moons:3,1")
    assert [p.name for p in task.parameters] == ["lr", "width", "weight_decay", "cosine", "steps"]
    row = np.ravel_multi_index((2, 1, 3, 0, 2), task.shape)
    # Axes of the table: lr, gain, width, depth, weight_decay, cosine, steps.
    assert task.repeats[row] == pytest.approx(whole.values[2, 3, 1, 1, 3, 0, 2])


def test_large_slices_take_out_one_parameter_alone() -> None:
    assert experience_tasks.family_of("moons:4") == tuple(f"moons:{i}" for i in range(5))
    whole = read_tables(PATH)["moons"]
    task = experience_tasks.load_task("moons:3")
    assert "depth" in [p.name for p in task.parameters]
    row = np.ravel_multi_index((2, 1, 1, 3, 0, 2), task.shape)
    assert task.repeats[row] == pytest.approx(whole.values[2, 3, 1, 1, 3, 0, 2])
    assert len(experience_tasks.development_tasks(2, are_large=True)) == 18


def test_copied_studies_are_of_tasks_that_are_not_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experience_tasks, "_SLICED", {"teacher_cells": ("lr", "conn1")})
    storage = f"sqlite:///{tmp_path}/studies.db"
    names = experience_tasks.copy_other_studies(storage, n_per_family=4, n_trials=8)
    assert names == ["teacher_cells:0,1", "teacher_cells:1,1"]
    found = optuna.load_study(study_name=names[0], storage=storage)
    values = [trial.value for trial in found.get_trials()]
    assert values == [trial.value for trial in experience_tasks.earlier_trials(names[0], 8)]


def test_a_checkpoint_is_played_with_and_without_sources() -> None:
    task = experience_tasks.load_task("teacher_cells:0,0")
    for method in ("rocket", "rocket_sources"):
        label = f"{method}:{weights_file.SHIPPED}"
        assert method_label(label) == f"{method}:{weights_file.SHIPPED.stem}"
        cell = Cell(task.name, label, 0, 3)
        played = experience._measure_cell(cell)
        plain = experience._measure_cell(Cell(task.name, method, 0, 3))
        assert played.method == method_label(label)
        assert played.regret == plain.regret and played.error == 0
    with pytest.raises(SystemExit):
        experience.main(["--methods", "tpe_enqueued:x.rocket"])


def test_every_family_has_tasks_with_sources() -> None:
    tasks = experience_tasks.development_tasks(2)
    assert len(tasks) == 18
    assert all(len(experience_tasks.family_of(task)) > 2 for task in tasks)


def test_earlier_studies_leave_the_task_out_and_can_be_reversed() -> None:
    studies = experience_tasks.earlier_studies("digits_cells:0,0", "reversed")
    names = [study.study_name for study in studies]
    assert "digits_cells:0,0" not in names and len(names) == 8
    twin = experience_tasks.earlier_study(names[0])
    assert [t.params for t in twin.trials] == [t.params for t in studies[0].trials]
    values = [trial.values[0] for trial in twin.trials]
    assert twin.best_value == min(values)
    assert studies[0].best_value == max(values)
    best = experience_tasks.favourites([twin, twin], 3)
    assert best == [twin.best_params]


@pytest.mark.parametrize(("quality", "low", "high"), [("good", 0, 5), ("misleading", 20, 99)])
def test_guesses_are_as_good_as_they_say(quality: str, low: float, high: float) -> None:
    problem = bowl()
    for seed in range(5):
        guess = experience.guesses(problem, quality, seed)
        row = guess["depth"] * 3 + "abc".index(guess["kind"])
        assert low <= problem.true_values[row] <= high


def test_summary_compares_with_the_same_seeds() -> None:
    def made(method: str, seed: int, level: float) -> Replication:
        regret: list[float | None] = [level] * 15
        return Replication("f/p", "f", method, seed, 15, regret, 1.0, 10.0, 0, None, {})

    rows = experience.summary(
        [made("rocket", s, 0.4 + s) for s in (0, 1)] + [made("rocket_sources", 0, 0.1)]
    )
    mine = next(row for row in rows if row["method"] == "rocket_sources")
    assert mine["@10"] == 0.1
    assert mine["against rocket @10"] == pytest.approx(-0.3)
    shown = experience.differences(rows)
    assert [row["method"] for row in shown] == ["rocket_sources"] * 2
    assert shown[0]["@10"] == shown[0]["@15"] == "-0.300 [-0.300, -0.300]"
