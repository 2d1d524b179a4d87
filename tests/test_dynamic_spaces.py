from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest

from benchmarks.dynamic_problems import CHANGE_AT
from benchmarks.dynamic_problems import DYNAMIC_PROBLEM_NAMES
from benchmarks.dynamic_problems import load_dynamic_problem


@pytest.mark.parametrize("name", DYNAMIC_PROBLEM_NAMES)
def test_the_best_point_is_known_and_can_be_suggested(name: str) -> None:
    problem = load_dynamic_problem(name)
    best = problem.terrain.best_point
    assert problem.normalised_regret(best) == 0
    points = problem.terrain.sample(np.random.default_rng(3), 300)
    regrets = [problem.normalised_regret(point) for point in points]
    assert min(regrets) > 0 and 0.7 < float(np.median(regrets)) < 1.3
    trial: Any = optuna.trial.FixedTrial(problem.best_params, number=CHANGE_AT)
    np.testing.assert_allclose(problem.terrain.suggest(trial), best, atol=1e-9)


def test_variants_have_other_constants() -> None:
    one, other = (load_dynamic_problem(f"tree/alike_2x2x2@{k}") for k in (1, 2))
    assert one.median != other.median


def test_unknown_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="Choose from"):
        load_dynamic_problem("tree/none")
