"""Whole studies as nobody should store them: what the fuzz tests draw, and what must hold then."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import strategies as st
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import explain
from optuna_rocket.costs import COSTS
from optuna_rocket.suggestions import ATTRIBUTE
from optuna_rocket.trials import reported_values
from tests.support import assert_valid
from tests.support import package_log
from tests.support import sampler_log


SCRIPT = "<script>alert(1)</script>"
NAMES = ["x", "", SCRIPT, "$E=mc^2$", "a\nb\x00", "x" * 300, "| [a](javascript:alert(1)) |"]
_SCALARS: list[Any] = [
    None,
    "",
    SCRIPT,
    0,
    -1,
    1e308,
    math.inf,
    -math.inf,
    math.nan,
    10**400,
    True,
    [],
    {},
]
_JUNK: list[Any] = [*_SCALARS, [[]], [None, 1], {"steps": 1}, {"steps": [{}], "seconds": [0]}]
_JSON = ["", "null", "[]", "{}", "[" * 3000, '{"params": 1}', "NaN", '{"params": {"x": 1e999}}']


def names() -> st.SearchStrategy[str]:
    return st.sampled_from(NAMES) | st.text(
        st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6
    )


def floats() -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False) | st.floats(-10, 10) | st.sampled_from([0.0, 1.0, math.inf])


@st.composite
def distributions(draw: st.DrawFn) -> BaseDistribution:
    kind = draw(st.sampled_from(["float", "log", "step", "int", "logint", "choice"]))
    if kind == "choice":
        scalar = st.none() | st.booleans() | st.integers(-5, 5) | names()
        choices = draw(st.lists(scalar, min_size=1, max_size=6, unique_by=repr))
        return CategoricalDistribution(choices)
    low, high = sorted(draw(st.tuples(*[st.floats(-1e300, 1e300)] * 2)))
    if kind == "log":
        low, high = max(abs(low), 1e-300), max(abs(high), 1e-300)
        return FloatDistribution(min(low, high), max(low, high), log=True)
    if kind == "int":
        first, width, step = draw(
            st.tuples(st.integers(-99, 99), st.integers(0, 99), st.integers(1, 9))
        )
        return IntDistribution(first, first + step * width, step=step)
    if kind == "logint":
        start, span = draw(st.tuples(st.integers(1, 99), st.integers(0, 10**6)))
        return IntDistribution(start, start + span, log=True)
    if kind == "step":
        count, cell = draw(st.integers(0, 50)), draw(st.sampled_from([0.125, 0.25, 3.0]))
        return FloatDistribution(0.0, count * cell, step=cell)
    return FloatDistribution(low, high)


@st.composite
def suggestion_attributes(draw: st.DrawFn, space: dict[str, BaseDistribution]) -> Any:
    """Ours, damaged: a wrong type, broken JSON, or right JSON with wrong entries."""
    form = draw(st.sampled_from(["junk", "json", "fields", "cut"]))
    if form == "junk":
        return draw(st.sampled_from(_JUNK))
    if form == "json":
        return draw(st.sampled_from(_JSON))
    number = floats() | st.sampled_from([math.nan, 10**400, -1, "1", None])
    content = {
        "params": draw(st.dictionaries(st.sampled_from([*space, "gone"]), number, max_size=3)),
        "kind": draw(st.sampled_from([-1, 0, 4, 5, 99, 1e9, math.inf, "2", None])),
        "mean": draw(number),
        "std": draw(number),
    }
    for name in draw(st.sets(st.sampled_from(sorted(content)), max_size=2)):
        content[name] = draw(st.sampled_from(_SCALARS))
    text = json.dumps(content)
    return text[: draw(st.integers(0, len(text)))] if form == "cut" else text


@st.composite
def trials(draw: st.DrawFn, space: dict[str, BaseDistribution], n_objectives: int) -> FrozenTrial:
    own = {name: space[name] for name in draw(st.sets(st.sampled_from(sorted(space))))}
    if own and draw(st.integers(0, 4)) == 0:  # Optuna forbids another kind under that name
        name = draw(st.sampled_from(sorted(own)))
        own[name] = _other_range(own[name])
    params = {name: _value(draw(st.floats(0, 1)), each) for name, each in own.items()}
    state = draw(st.sampled_from(list(TrialState)))
    values = None
    if state == TrialState.COMPLETE:
        values = [draw(floats()) for _ in range(n_objectives)]
    steps = st.integers(0, 9) | st.sampled_from([10**9, 2**62])
    reports = st.dictionaries(steps, floats() | st.just(math.nan), max_size=4)
    attributes: dict[str, Any] = {}
    for name, content in {
        ATTRIBUTE: suggestion_attributes(space),
        "constraints": st.sampled_from(_JUNK) | st.lists(floats(), max_size=3),
        "constraints:c": floats() | st.sampled_from(_JUNK),
        f"constraints:{SCRIPT}": floats(),
        "fixed_params": st.sampled_from(_JUNK)
        | st.dictionaries(st.sampled_from(sorted(space)), st.sampled_from(_SCALARS), max_size=2),
        "retry_history": st.sampled_from(_JUNK),
    }.items():
        if draw(st.integers(0, 3)) == 0:
            attributes[name] = draw(content)
    if state == TrialState.WAITING:  # the next trial: Optuna itself reads what it is fixed to
        attributes.pop("fixed_params", None)
        params, own = {}, {}
    return optuna.create_trial(
        params=params,
        distributions=own,
        values=values,
        state=state,
        intermediate_values=draw(reports) if n_objectives == 1 else {},
        system_attrs=attributes,
        user_attrs={COSTS: draw(st.sampled_from(_JUNK))} if draw(st.booleans()) else {},
    )


def _other_range(distribution: BaseDistribution) -> BaseDistribution:
    if isinstance(distribution, FloatDistribution):
        return FloatDistribution(1e-3, 1e3, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        return IntDistribution(1, 7, log=distribution.log)
    return distribution


def _value(share: float, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[
            min(int(share * len(distribution.choices)), len(distribution.choices) - 1)
        ]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, step = distribution.low, distribution.high, distribution.step
    value = min(max(low * (1 - share) + high * share, low), high)  # rounding may lead outside
    if isinstance(distribution, IntDistribution):
        return int(low + step * round((value - low) // step)) if step else round(value)
    if step is not None:
        value = low + step * ((value - low) // step)
    return min(max(value, low), high)


@st.composite
def studies(draw: st.DrawFn) -> tuple[Study, dict[str, BaseDistribution]]:
    """A study with trials in it, and the space that its next trial asks for."""
    space = draw(st.dictionaries(names(), distributions(), min_size=1, max_size=5))
    n_objectives = draw(st.sampled_from([1, 1, 1, 2]))
    both = [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE]
    directions = [draw(st.sampled_from(both)) for _ in range(n_objectives)]
    study = optuna.create_study(
        directions=directions,
        sampler=RocketSampler(seed=0),
        pruner=RocketPruner(n_startup_trials=3),
    )
    for trial in draw(st.lists(trials(space, n_objectives), max_size=14)):
        study.add_trial(trial)
    return study, space


def suggest_all(study: Study, space: dict[str, BaseDistribution]) -> optuna.Trial:
    """Ask for a whole trial; whatever is stored, the values fit and the agent makes them."""
    with sampler_log() as messages:
        trial = study.ask()
        for name, distribution in space.items():
            trial._suggest(name, distribution)
    assert not [message for message in messages if "report this" in message], messages
    assert_valid(trial.params, space)
    return trial


def prune_all(trial: optuna.Trial, reports: dict[int, float]) -> None:
    """Report and judge; the forecast does not fail."""
    reported = reported_values(trial) or {}  # a queued trial may bring some along
    with package_log("pruner") as messages:
        for step, value in reports.items():
            if step in reported:
                continue
            trial.report(value, step)
            trial.should_prune()
    assert messages == []


def explain_some(study: Study) -> None:
    """Explain the latest trials, in one line without control characters."""
    for trial in study.get_trials(deepcopy=False)[-2:]:
        text = explain(study, trial.number).text
        assert text.isprintable() and len(text) < 5000
