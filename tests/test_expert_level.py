from __future__ import annotations

import math
from pathlib import Path

import optuna
import pytest

from benchmarks import expert_bounds
from benchmarks import expert_level
from benchmarks import expert_summary
from benchmarks import live
from benchmarks import sisters
from benchmarks.deep_learning.tasks import TASKS
from benchmarks.expert_level import Assignment
from benchmarks.expert_summary import Expert
from benchmarks.expert_summary import best_within
from benchmarks.expert_summary import cost_of_level
from benchmarks.expert_summary import failed_share
from benchmarks.expert_summary import method_rows
from benchmarks.expert_summary import seconds_of_level
from benchmarks.expert_summary import task_row
from benchmarks.expert_summary import wide_rows
from benchmarks.records import append_line
from benchmarks.records import read_lines
from tests.test_live_benchmark import N_TRAIN
from tests.test_live_benchmark import counted_task


METHODS = ("random+none", "tpe+none", "rocket+rocket")


def study(states: str, finals: list[float | None], spent: list[int]) -> dict[str, object]:
    return {
        "task": "a/b",
        "seed": 0,
        "budget": 50,
        "states": states,
        "reports": [
            [0.1, x] if state == "C" else [0.1] for state, x in zip(states, finals, strict=True)
        ],
        "examples": spent,
        "full_examples": 100,
        "seconds": [x / 50 for x in spent],
        "overhead": 4.0,
        "answer_tests": [0.5, 0.7],
    }


def test_an_assignment_answers_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task, trained = counted_task("a/b")
    monkeypatch.setitem(TASKS, "a/b", task)
    storage = f"sqlite:///{tmp_path / 'studies.sqlite'}"
    out = tmp_path / "level.jsonl"
    assignment = Assignment("a/b", METHODS, 0, 6, tmp_path / "kept", storage)
    lines = expert_level.run(assignment)
    n_trained = len(trained)
    assert [x["method"] for x in lines] == list(METHODS)
    for line in lines:
        assert line["states"][line["best"]] == "C"
        assert set(line["answer"]) == {"x"}
        best = max(best_within(line, 10), 0)
        assert line["answer_tests"] == pytest.approx([best - 0.1] * 3)
        append_line(out, line)
    assert set(optuna.get_all_study_names(storage)) == {f"a/b {m} 0" for m in METHODS}

    # All of it again trains nothing, with the studies in the database replaced.
    again = expert_level.run(assignment)
    assert len(trained) == n_trained
    assert [x["reports"] for x in again] == [x["reports"] for x in lines]

    # What the file holds is not run again.
    whole = out.read_bytes()
    arguments = ["--tasks", "a/b", "--budget", "6", "--out", str(out), "--methods", *METHODS]
    expert_level.main([*arguments, "--evaluations", str(tmp_path / "kept")])
    assert out.read_bytes() == whole

    experts = tmp_path / "experts.csv"
    experts.write_text(
        "task,seeds,validation,validation_sd,test,test_sd\na/b,5,0.9,0.01,0.8,0.01\n"
    )
    capsys.readouterr()
    expert_summary.main([str(out), "--experts", str(experts)])
    printed = capsys.readouterr().out
    assert "| a/b | 0.900 / 0.800 |" in printed
    assert (tmp_path / "level.svg").read_text().startswith("<?xml")
    assert len((tmp_path / "level.csv").read_text().splitlines()) == 1 + len(METHODS)
    assert read_lines(out)[0]["full_examples"] == 2 * N_TRAIN


def test_levels_by_hand() -> None:
    # A pruned trial and a failed training cost something and hold nothing.
    quick = study("CPCC", [-0.5, None, None, 0.9], [100, 110, 210, 310])
    assert best_within(quick, 0.5) == -math.inf
    assert best_within(quick, 3) == -0.5
    assert best_within(quick, 4) == 0.9
    assert cost_of_level(quick, -0.5) == 1
    assert cost_of_level(quick, 0.8) == 3.1
    assert cost_of_level(quick, 0.95) == math.inf
    # One second of the sampler and the pruner for each of four trials.
    assert seconds_of_level(quick, -0.5) == 2 + 1
    assert seconds_of_level(quick, 0.8) == pytest.approx(6.2 + 4)
    assert seconds_of_level(quick, 0.95) == math.inf
    assert failed_share(quick) == 0.25


@pytest.mark.parametrize(("test", "holds"), [(0.6, 1.0), (0.61, 1.0), (0.65, 0.0)])
def test_a_final_answer_holds_within_noise(test: float, holds: float) -> None:
    expert = Expert(validation=0.8, test=test, test_sd=0.01, n_seeds=5)
    row = task_row("m", [study("CC", [0.5, 0.9], [100, 200])], expert)
    assert row["test"] == 0.6 and row["test_holds"] == holds
    assert row["at_level@25"] == row["at_level@50"] == 1 and row["cost"] == 2


def test_a_study_without_an_answer_holds_nothing() -> None:
    lost = study("CC", [None, None], [100, 200]) | {"answer_tests": []}
    row = task_row("m", [lost], Expert(0.1, 0.1, 0.0, 5))
    assert row["cost"] == math.inf and row["test_holds"] == row["at_level@50"] == 0


def test_rivals_that_fail_count_with_the_budget() -> None:
    def row(method: str, task: str, cost: float) -> dict[str, object]:
        shares = {"at_level@25": 1.0, "at_level@50": 1.0, "test_holds": 1.0, "failed": 0.0}
        seconds = {"seconds": 3 * cost, "seconds_in_all": 60.0}
        spent = {"cost": cost, "cost_in_all": 50.0}
        return {"method": method, "task": task, **spent, **seconds, **shares}

    rows = [row("tpe+none", "a", 10.0), row("tpe+none", "b", math.inf), row("m", "a", 5.0)]
    rows += [row("m", "b", 5.0), row("m", "c", 1.0)]
    (tpe, own) = method_rows(rows)
    assert own["tasks"] == 3 and own["median_cost"] == 5
    assert own["x_tpe"] == 6  # of 2 and at least 10; c was not run by the rival
    assert own["s_tpe"] == 3  # of 2 and at least 4
    assert math.isnan(own["x_random"]) and tpe["x_tpe"] == 0.5  # of 1 and 0


def test_families_stand_together() -> None:
    tasks = ("b/x", "a/x", "b/y")
    studies = {
        (task, "m"): [study("CC", [0.5, 0.9], [100, 200]) | {"task": task}] for task in tasks
    }
    experts = {task: Expert(0.8, 0.6, 0.01, 5) for task in tasks}
    wide = wide_rows(studies, expert_summary.task_rows(studies, experts), experts)
    assert [row["task"] for row in wide] == ["b/x", "b/y", "a/x"]
    assert wide[0]["m"] == "0.900 / 0.600 / 2.0" and wide[0]["expert"] == "0.800 / 0.600"


def test_what_stopping_could_save_at_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Trials of 1, 0.1, 1, 1 and 1 full evaluations; a subset is a tenth.
    own = study("CPCCC", [0.1, None, 0.3, 0.2, 0.9], [100, 110, 210, 310, 410])
    own |= {"sizes": [10, 100], "method": "rocket+rocket"}
    costs = [expert_bounds.replayed_cost(own, rule, 0.8) for rule in expert_bounds.RULES.values()]
    # As it was; the fourth is stopped; the third too.
    assert costs == pytest.approx([4.1, 3.2, 2.3])
    assert expert_bounds.replayed_cost(own, expert_bounds.RULES["as it was"], 1.0) == math.inf

    rival = study("CCC", [0.1, 0.2, 0.9], [100, 200, 300]) | {"method": "tpe+none"}
    for line in (own, rival):
        append_line(tmp_path / "level.jsonl", line)
    experts = tmp_path / "experts.csv"
    experts.write_text("task,seeds,validation,test,test_sd\na/b,5,0.8,0.8,0.01\n")
    expert_bounds.main([str(tmp_path / "level.jsonl"), "--experts", str(experts)])
    assert "| 1 | 1 | 4.1 | 0.73 |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no studies of gp"):
        expert_bounds.main(
            [str(tmp_path / "level.jsonl"), "--experts", str(experts), "--method", "gp"]
        )


def test_a_longer_study_tells_the_cost_and_nothing_else() -> None:
    expert = Expert(validation=0.8, test=0.6, test_sd=0.01, n_seeds=5)
    short = study("CC", [0.4, 0.5], [100, 200])
    longer = study("CCC", [0.4, 0.5, 0.9], [100, 200, 300])
    longer |= {"budget": 150, "answer_tests": [9.0]}
    row = task_row("m", [short], expert)
    assert row["cost"] == math.inf and row["cost_in_all"] == 50
    row = task_row("m", [longer, short], expert)
    assert row["cost"] == 3 and row["cost_in_all"] == 150
    assert row["seconds"] == pytest.approx(6 + 4) and row["seconds_in_all"] == 10
    assert (row["seeds"], row["test"], row["at_level@50"]) == (1, 0.6, 0.0)


def test_sisters_hand_on_what_they_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a/b", "a/c", "a/d", "z/b")
    for name in names:
        monkeypatch.setitem(TASKS, name, counted_task(name)[0])
    storage = f"sqlite:///{tmp_path / 'studies.sqlite'}"
    for name in names[1:]:
        kept = tmp_path / name.replace("/", ".")
        expert_level.run(Assignment(name, ("random+none",), 0, 12, kept, storage))
    told = sisters.studies_of(storage, TASKS["a/b"])
    assert [x.study_name for x in told] == ["a/c random+none 0", "a/d random+none 0"]

    methods = ("rocket_sources+rocket:warm", "tpe_enqueued+none", "rocket+none")
    lines = expert_level.run(
        Assignment("a/b", methods, 1, 4, tmp_path / "kept", None, sources=storage)
    )
    best = told[0].best_params["x"]  # of both: they ran alike
    assert told[1].best_params["x"] == best
    firsts = [line["reports"][0][-1] for line in lines]
    counted = 1 - abs(best - 20) / 50 - 3 / N_TRAIN
    assert firsts[1] == pytest.approx(counted, abs=1e-6)
    assert firsts[0] > firsts[2] + 0.05  # from nothing the first trial is the middle

    # What a sister has and this task does not is left out.
    study = optuna.create_study()
    study.enqueue_trial({"x": 99, "y": 1})
    study.optimize(lambda t: t.suggest_int("x", 0, 99) + t.suggest_int("y", 0, 1), n_trials=1)
    assert sisters.first_trials("tpe_enqueued", [study, *told], TASKS["a/b"]) == [{}, {"x": best}]
    assert sisters.first_trials("rocket_sources", [study], TASKS["a/b"]) == []

    with pytest.raises(ValueError, match=r"no study of z/ but of z/b\. Run the family"):
        sisters.studies_of(storage, TASKS["z/b"])


def test_methods_that_know_sisters_need_them() -> None:
    arguments = ["--methods", "tpe_enqueued+none"]
    with pytest.raises(SystemExit, match="Name their --sources"):
        expert_level.main(arguments)
    with pytest.raises(SystemExit, match="with --sources"):
        live.main(arguments)
    with pytest.raises(ValueError, match="Unknown method 'nobody'"):
        expert_level.main(["--methods", "nobody_enqueued+none"])
