from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
import pytest
import torch

from optuna_rocket import RocketSampler
from optuna_rocket.agent import fitting
from optuna_rocket.agent import memory
from optuna_rocket.fidelity import forecast
from optuna_rocket.fidelity.approximation import Reports
from optuna_rocket.fidelity.approximation import approximate
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from tests.builders import history_of
from tests.builders import rebuilt
from tests.builders import unit_geometry


NOTHING: Reports = ((), ())


def study_of(
    n: int, complete: Sequence[bool], noise: float = 0.1
) -> tuple[History, list[Reports], torch.Tensor]:
    """Trials along one parameter that score ``-(x - .3)²``; a tenth shows it with noise."""
    units = torch.linspace(0, 1, n, dtype=torch.float64)[None, :, None]
    truth = -(units[0, :, 0] - 0.3).square()
    seen = truth - 1 + noise * torch.from_numpy(np.random.default_rng(0).normal(size=n))
    outcomes = torch.where(torch.tensor([complete]), int(Outcome.COMPLETE), int(Outcome.PRUNED))
    scores = torch.where(torch.tensor([complete]), truth, 99.0)
    history = history_of(units, scores, unit_geometry(1), outcomes)
    reports: list[Reports] = [
        ([1, 10], [float(a), float(b)]) if on else ([1], [float(a)])
        for a, b, on in zip(seen, truth, complete, strict=True)
    ]
    return history, reports, truth


def test_pruned_trials_score_what_their_rung_foretells() -> None:
    complete = [k % 3 == 0 for k in range(45)]
    history, reports, truth = study_of(45, complete, noise=0.02)
    known = approximate(history, reports)
    is_pruned = ~torch.tensor(complete)
    assert torch.equal(known.scores[0, ~is_pruned], truth[~is_pruned])
    assert bool((known.errors[0, ~is_pruned] == 0).all())
    assert bool((known.errors[0, is_pruned] > 0).all())
    error = (known.scores[0] - truth)[is_pruned].abs()
    assert float(error.mean()) < 0.35 * float(truth[is_pruned].std())
    assert bool((known.fidelity[0] == 1).all())


def test_nothing_to_approximate_leaves_the_history_alone() -> None:
    history, reports, _ = study_of(6, [True] * 6)
    assert approximate(history, reports) is history
    history, _, _ = study_of(6, [True] * 5 + [False])
    assert approximate(history, [NOTHING] * 6) is history


def test_before_there_is_a_forecast_the_first_rung_ranks_all() -> None:
    history, reports, _ = study_of(8, [True] + [False] * 7)
    known = approximate(history, reports)
    first = torch.tensor([scores[0] for _, scores in reports], dtype=torch.float64)
    assert torch.equal(known.scores[0], first)
    assert bool((known.errors > 0).all())


@pytest.mark.parametrize("n_complete", [2, 6])
def test_reports_that_complete_trials_contradict_are_no_evidence(n_complete: int) -> None:
    complete = [k < n_complete for k in range(12)]
    history, reports, truth = study_of(12, complete, noise=0.0)
    upside_down: list[Reports] = [(steps, (-scores[0], *scores[1:])) for steps, scores in reports]
    known = approximate(history, upside_down)
    is_complete = torch.tensor(complete)
    assert torch.equal(known.scores[0, is_complete], truth[is_complete])
    assert bool(known.scores[0, ~is_complete].isnan().all())
    assert bool((known.errors == 0).all())
    assert bool(torch.isfinite(approximate(history, reports).scores).all())


def test_complete_trials_that_never_reported_are_not_given_up() -> None:
    complete = [k > 2 for k in range(12)]
    history, reports, _ = study_of(12, complete)
    silent = [*reports[:4], *[NOTHING] * 8]
    assert approximate(history, silent) is history
    no_finals, some, _ = study_of(4, [False] * 4)
    some[2] = NOTHING
    known = approximate(no_finals, some)
    assert math.isnan(known.scores[0, 2]), "on another scale than the first rung"
    assert int(torch.isfinite(known.scores).sum()) == 3


def test_it_depends_on_the_given_trials_alone() -> None:
    complete = [k % 4 == 0 for k in range(40)]
    history, reports, _ = study_of(40, complete, noise=0.02)
    first = torch.arange(25)
    one = approximate(history.take(first), reports[:25])
    assert bool(torch.isfinite(one.scores).all())
    worse = rebuilt(history, scores=history.scores.clone())
    worse.scores[0, 25:] = -50.0
    other = approximate(worse.take(first), reports[:25])
    assert torch.equal(one.scores, other.scores) and torch.equal(one.errors, other.errors)


@pytest.mark.parametrize("power", [17, 19, 400])
@pytest.mark.parametrize("n_complete", [1, 9])
def test_large_amounts_of_effort_are_evidence_like_others(power: int, n_complete: int) -> None:
    complete = [k % 4 == 0 and k < 4 * n_complete for k in range(40)]
    history, reports, _ = study_of(40, complete, noise=0.02)
    large: list[Reports] = [([10**power * step for step in steps], x) for steps, x in reports]
    one, other = approximate(history, reports), approximate(history, large)
    assert bool((one.errors > 0).any())
    assert torch.equal(one.scores, other.scores) and torch.equal(one.errors, other.errors)


def test_pruned_trials_that_are_too_old_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With none left of them, the step at which they ended was asked of nobody."""
    monkeypatch.setattr(forecast, "MAX_TRIALS", 20)
    complete = [k > 2 for k in range(23)]
    history, reports, truth = study_of(23, complete)
    known = approximate(history, reports)
    assert bool(known.scores[0, :3].isnan().all()) and bool((known.errors == 0).all())
    assert torch.equal(known.scores[0, 3:], truth[3:])
    silent = [*reports[:22], NOTHING]
    assert (approximate(history, silent).errors[0, :3] > 0).tolist() == [False, False, True]


def test_complete_trials_outlive_many_that_were_pruned(monkeypatch: pytest.MonkeyPatch) -> None:
    """All were compared on the first rung again, as if nobody had ever come to the end."""
    monkeypatch.setattr(forecast, "MAX_TRIALS", 20)
    complete = [k < 15 for k in range(60)]
    history, reports, truth = study_of(60, complete, noise=0.0)
    known = approximate(history, reports)
    assert torch.equal(known.scores[0, :15], truth[:15]), "as they are"
    assert known.scores[0].isnan().nonzero()[:, 0].tolist() == list(range(15, 40)), "too old"
    assert bool((known.errors[0, 40:] > 0).all())


def test_strange_reports_are_no_evidence() -> None:
    complete = [k % 3 == 0 for k in range(12)]
    history, reports, _ = study_of(12, complete)
    reports[1], reports[2] = ([1], [math.nan]), ([1], [math.inf])
    reports[4] = NOTHING
    known = approximate(history, reports)
    assert float(known.scores[0, 4]) == 99 and float(known.fidelity[0, 4]) < 0.5, "as it was"
    assert bool(torch.isfinite(known.scores).all())
    assert bool(torch.isfinite(known.errors).all())
    few, reports, _ = study_of(4, [True, False, False, False])
    reports[2], reports[3] = ([1], [math.inf]), ([1], [math.nan])
    assert torch.isfinite(approximate(few, reports).scores[0]).tolist() == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("complete", [[True] * 5 + [False] * 4, [False] * 9])
def test_huge_scores_stay_numbers(complete: list[bool]) -> None:
    history, reports, _ = study_of(9, complete)
    huge = [1.7e308, -1.7e308] * 5
    scores = torch.tensor([huge[:9]], dtype=torch.float64)
    extreme: list[Reports] = [
        (steps, [huge[k]] * len(steps)) for k, (steps, _) in enumerate(reports)
    ]
    known = approximate(rebuilt(history, scores=scores), extreme)
    assert bool(torch.isfinite(known.scores).all() & torch.isfinite(known.errors).all())


def test_the_memory_trusts_uncertain_scores_less() -> None:
    history, _, _ = study_of(7, [True] * 7)
    geometry = unit_geometry(1)
    weights = fitting.prior_weights(geometry)
    middle = history.units[:, 3:4], history.active[:, 3:4]
    scores = history.scores.clone()
    scores[0, 3] += 0.3  # a surprise at one trial
    odd = rebuilt(history, scores=scores)
    read = []
    for error in (0.0, 0.02, 0.2):
        errors = torch.zeros_like(history.errors)
        errors[0, 3] = error
        known = memory.condition(rebuilt(odd, errors=errors), geometry, weights)
        read.append(memory.read(known, *middle))
    assert read[0].mean > read[1].mean > read[2].mean
    assert read[0].std < read[1].std < read[2].std


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_sampler_learns_from_what_was_pruned(direction: Literal["minimize", "maximize"]) -> None:
    """Three complete trials say nothing; the pruned ones say where it is good."""
    sign = 1 if direction == "minimize" else -1
    near = []
    for seed in range(8):
        study = optuna.create_study(sampler=RocketSampler(seed=seed), direction=direction)
        rng = np.random.default_rng(seed)
        space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
        # The 35th trial is none that looks elsewhere.
        for k, x in enumerate([0.1, 0.6, 0.9, *rng.random(31).tolist()]):
            loss = (x - 0.3) ** 2
            study.add_trial(
                optuna.create_trial(
                    params={"x": x},
                    distributions=space,
                    state=TrialState.COMPLETE if k < 3 else TrialState.PRUNED,
                    value=sign * loss,
                    intermediate_values={1: sign * (loss + 1)}
                    | ({9: sign * loss} if k < 3 else {}),
                )
            )
        near.append(abs(study.ask(space).params["x"] - 0.3) < 0.12)
    assert sum(near) >= 6
