from __future__ import annotations

import ast
import json
from pathlib import Path
import re
import time
import tracemalloc
from typing import Any

from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.study import Study
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import SubsetEvaluator
from optuna_rocket import explain
from optuna_rocket.evaluator import COSTS
from optuna_rocket.suggestions import ATTRIBUTE
from tests import hostile
from tests.support import package_log
from tests.support import sampler_log


REPORTS = st.dictionaries(
    st.integers(0, 9) | st.sampled_from([10**6, 2**31 - 1]),
    hostile.floats() | st.just(float("nan")),
    max_size=3,
)
PACKAGE = Path(__file__).resolve().parent.parent / "optuna_rocket"


# Whole studies


def check(case: tuple[Study, dict[str, BaseDistribution]], reports: dict[int, float]) -> None:
    study, space = case
    trial = hostile.suggest_all(study, space)
    if len(study.directions) == 1:
        hostile.prune_all(trial, reports)
        hostile.explain_all(study)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=hostile.studies(), reports=REPORTS)
def test_any_study_is_continued(
    case: tuple[Study, dict[str, BaseDistribution]], reports: dict[int, float]
) -> None:
    check(case, reports)


@pytest.mark.slow
@settings(max_examples=2500, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=hostile.studies(), reports=REPORTS)
def test_thousands_of_studies_are_continued(
    case: tuple[Study, dict[str, BaseDistribution]], reports: dict[int, float]
) -> None:
    check(case, reports)
