"""Bounds of what the agent expects: by hand, as a property, in use, and measured."""

from __future__ import annotations

from dataclasses import replace
import json
import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import optuna
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
import pytest
import torch

from benchmarks import coverage
from optuna_rocket import RocketSampler
from optuna_rocket import bands
from optuna_rocket import explain
from optuna_rocket import hindsight
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.reasons import ObjectiveOutlook
from optuna_rocket.scores import continue_transform
from optuna_rocket.visualization.slice_expectation import slice_expectation_info
from optuna_rocket.wording import paragraph
from tests.builders import unit_geometry


NONE = torch.zeros(1, 0, dtype=torch.float64)
GEOMETRY = unit_geometry(1)


def history(scores: list[float], predicted: list[tuple[float, float]]) -> History:
    n = len(scores)
    return History.of(
        units=torch.linspace(0, 1, n, dtype=torch.float64).view(1, n, 1),
        active=torch.ones(1, n, 1, dtype=torch.bool),
        outcomes=torch.full((1, n), int(Outcome.COMPLETE)),
        scores=torch.tensor([scores], dtype=torch.float64),
        predicted=torch.tensor([predicted], dtype=torch.float64),
    )


def test_bounds_of_the_function_narrow_with_trials_but_not_to_those_of_the_memory() -> None:
    few, many = bands.function(5)[0], bands.function(1000, 3)
    assert many.shape == (3, 2)
    assert float(few[0]) == -float(few[1])
    assert float(few[1]) > float(many[0, 1]) > bands.HALF_WIDTH
    assert torch.equal(bands.function(0), bands.function(3))


def test_without_errors_of_its_own_a_study_has_the_typical_bounds() -> None:
    low, high = bands.outcome(NONE)[0].tolist()
    # Positions .1 * 9 - .5 and .9 * 9 - .5 among the nine typical errors.
    assert low == pytest.approx(-4.0 + 0.4 * 1.4)
    assert high == pytest.approx(1.35 + 0.6 * (4.8 - 1.35))


def test_nan_is_no_error() -> None:
    blank = torch.full((1, 5), math.nan, dtype=torch.float64)
    assert torch.equal(bands.outcome(blank), bands.outcome(NONE))


def test_a_study_whose_expectations_were_right_gets_narrow_bounds() -> None:
    small = torch.linspace(-0.5, 0.5, 60, dtype=torch.float64)[None]
    wide, narrow = bands.outcome(NONE)[0], bands.outcome(small)[0]
    assert float(wide[0]) < float(narrow[0]) < -0.4
    assert 0.4 < float(narrow[1]) < float(wide[1])


@given(st.lists(st.floats(-100, 100), max_size=80))
def test_what_is_expected_lies_within(found: list[float]) -> None:
    errors = torch.tensor(found, dtype=torch.float64).view(1, -1)
    low, high = bands.outcome(errors)[0].tolist()
    assert low <= 0 <= high


def test_only_the_latest_errors_count() -> None:
    old = torch.full((1, 500), 90.0, dtype=torch.float64)
    new = torch.linspace(-1, 1, 64, dtype=torch.float64)[None]
    assert torch.equal(bands.outcome(torch.cat([old, new], 1)), bands.outcome(new))


def test_errors_by_hand() -> None:
    nan = (math.nan, math.nan)
    seen = history([1.0, 2.0, 4.0, 3.0], [nan, (0.0, 1.0), (0.5, 2.0), (0.25, 0.5)])
    third = continue_transform(seen.scores[:, :2], seen.scored[:, :2], seen.scores[:, 2:3])
    fourth = continue_transform(seen.scores[:, :3], seen.scored[:, :3], seen.scores[:, 3:])
    found = bands.errors(seen, GEOMETRY)
    # The second trial has no scale to be on: there was one score before it.
    assert math.isnan(found[0, 0])
    assert found[0, 1:].tolist() == pytest.approx(
        [(float(third) - 0.5) / 2, (float(fourth) - 0.25) / 0.5]
    )


def test_failed_and_pruned_trials_have_no_error() -> None:
    seen = history([1.0, 2.0, 4.0, 3.0], [(0.0, 1.0)] * 4)
    outcomes = torch.tensor([[Outcome.COMPLETE, Outcome.COMPLETE, Outcome.PRUNED, Outcome.FAILED]])
    assert bands.errors(replace(seen, outcomes=outcomes), GEOMETRY).shape == (1, 2)
    assert bands.errors(seen.first(0), GEOMETRY).shape == (1, 0)


def bowl(trial: optuna.Trial) -> float:
    return (trial.suggest_float("x", -3, 3) - 1) ** 2 + trial.suggest_float("y", 0, 1)


def test_what_users_see_is_wider_than_what_the_memory_says() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=3))
    study.optimize(bowl, n_trials=14)
    view = hindsight.look(study)
    (row,) = slice_expectation_info(view, ["x"]).slices
    expected, high = torch.tensor(row[0].expected), torch.tensor(row[0].high)
    assert bool((high >= expected).all()) and bool((high > expected).any())
    found = explain(study, 12)
    past = hindsight.look_back(study, study.trials[12], None)
    bounds = bands.outcome(bands.errors(past.history, past.geometry))[0]
    assert found.interval == past.interval(found.mean + found.std * bounds)


def test_trials_of_others_have_the_bounds_of_the_function() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    study.optimize(bowl, n_trials=14)
    found = explain(study, 13)
    past = hindsight.look_back(study, study.trials[13], None)
    bounds = bands.function(13)[0]
    assert found.interval == past.interval(found.mean + found.std * bounds)


def test_bounds_are_open_where_scores_beyond_count_as_equal() -> None:
    pair = []
    for direction, sign in ((StudyDirection.MINIMIZE, 1), (StudyDirection.MAXIMIZE, -1)):
        study = optuna.create_study(direction=direction, sampler=RandomSampler(seed=1))
        for _ in range(14):
            trial = study.ask()
            study.tell(trial, sign * bowl(trial))
        view = hindsight.look(study)
        near = torch.tensor([-0.2, 0.4], dtype=torch.float64)
        assert view.interval(near) == pytest.approx(tuple(sorted(view.values(near))))
        assert view.interval(near * 1e6) == (-math.inf, math.inf)
        pair.append(view.interval(torch.tensor([-9.0, 0.4], dtype=torch.float64)))
    assert pair[0][1] == math.inf and math.isfinite(pair[0][0])
    assert pair[1] == pytest.approx((-math.inf, -pair[0][0]))


def test_no_bounds_until_two_scores_differ() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    study.optimize(lambda trial: 0 * bowl(trial), n_trials=4)
    bounds = torch.tensor([-9.0, 0.4], dtype=torch.float64)
    assert all(map(math.isnan, hindsight.look(study).interval(bounds)))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (1.0, 2.5, "between 1 and 2.5"),
        (-math.inf, 2.5, "at most 2.5"),
        (1.0, math.inf, "at least 1"),
        (-math.inf, math.inf, "anywhere"),
    ],
)
def test_open_bounds_in_words(low: float, high: float, words: str) -> None:
    outlook = ObjectiveOutlook("loss", True, None, 0.5, 0.1, 1.5, (low, high))
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    study.optimize(bowl, n_trials=1)
    text = paragraph(replace(explain(study, 0), objectives=(outlook,)))
    assert f"expected 1.5, with 80 % {words} (" in text


def test_the_benchmark_measures_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coverage, "_N_SYNTHETIC", 24)
    monkeypatch.setattr(coverage, "_AT", (6, 10))
    out = tmp_path / "coverage.json"
    missing = str(tmp_path / "none.npz")
    coverage.main(["--streams", "1", "--tables", missing, "--out", str(out)])
    rows = json.loads(out.read_text())["coverage"]
    assert {(x["expectation"], x["trials"]) for x in rows} == {
        (kind, n) for kind in ("chosen", "slice", "random") for n in (6, 10)
    }
    assert all(x["memory"] < x["shown"] for x in rows)
    assert "mid-quantiles" in capsys.readouterr().out
