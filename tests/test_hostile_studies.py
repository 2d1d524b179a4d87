from __future__ import annotations

import ast
import json
from pathlib import Path
import re
import tracemalloc
from typing import Any

from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.study import Study
import pytest

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import SubsetEvaluator
from optuna_rocket import explain
from optuna_rocket.costs import COSTS
from optuna_rocket.suggestions import ATTRIBUTE
from tests import hostile


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
        hostile.explain_some(study)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
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


# Sizes


def add(study: Study, **trial: Any) -> None:
    study.add_trial(
        optuna.create_trial(
            params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)}, value=1.0, **trial
        )
    )


def test_attributes_of_100_megabytes_cost_nothing() -> None:
    huge = "[" * 100_000_000
    study = optuna.create_study(sampler=RocketSampler(seed=0), pruner=RocketPruner())
    for k in range(6):
        attributes = {ATTRIBUTE: huge, "constraints": huge, "fixed_params": huge}
        add(study, system_attrs=attributes, user_attrs={COSTS: huge, "note": huge})
        study.ask().suggest_float("x", 0, k + 1)
    tracemalloc.start()
    try:
        for _ in range(3):
            study.ask().suggest_float("x", 0, 1)
        assert len(explain(study, 0).text) < 5000
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        '{"params":' * 5_000 + "1" + "}" * 5_000,
        '{"params": {"x": ' + "9" * 50_000 + '}, "kind": 0, "mean": 0, "std": 1}',
        '{"params": {"x": 0.5}, "kind": 0, "mean": NaN, "std": Infinity}',
        '{"params": {"x": 0.5}, "kind": 0, "mean": -1e308, "std": -1e308}',
    ],
)
def test_deep_or_infinite_json_of_ours_is_survived(text: str) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for _ in range(7):
        add(study, system_attrs={ATTRIBUTE: text})
    hostile.suggest_all(study, {"x": FloatDistribution(0, 1)})
    hostile.explain_some(study)


def test_very_many_constraints_cost_bounded_memory() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for k in range(40):
        add(study, system_attrs={f"constraints:{k}_{j}": 1.0 for j in range(500)})
    tracemalloc.start()
    try:
        hostile.suggest_all(study, {"x": FloatDistribution(0, 1)})
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_huge_names_and_a_thousand_choices_are_suggested_and_explained() -> None:
    space: dict[str, BaseDistribution] = {
        "n" * 100_000: FloatDistribution(0, 1),
        hostile.SCRIPT: CategoricalDistribution([hostile.SCRIPT * k for k in range(1000)]),
    }
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    for value in range(7):
        study.tell(hostile.suggest_all(study, space), float(value))
    hostile.explain_some(study)


@pytest.mark.parametrize("stored", [1, "steps", [], {"steps": 1}, {"steps": [[]]}, {"steps": "a"}])
def test_foreign_costs_do_not_fail_a_trial(stored: Any) -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    add(study, user_attrs={COSTS: stored})
    trial = study.ask()
    trial.set_user_attr(COSTS, stored)
    trial.report(0.0, 1)
    evaluator = SubsetEvaluator(90, min_fraction=1 / 9, seed=0)
    for subset in evaluator.subsets(trial):
        subset.report(1.0)
    assert len(trial.user_attrs[COSTS]["steps"]) == len(trial.user_attrs[COSTS]["seconds"])


# What is shown


def markup_study() -> Study:
    """A study in which whatever can be named or stored is markup."""
    markup = hostile.SCRIPT + '"><img src=x onerror=alert(1)>'
    study = optuna.create_study(
        study_name=markup, sampler=RocketSampler(seed=0), pruner=RocketPruner()
    )
    for k in range(10):
        trial = study.ask()
        x = trial.suggest_float(markup, 0, 1)
        kind = trial.suggest_categorical("[a](javascript:alert(1))", [markup, "b", "</script>"])
        trial.set_user_attr(markup, markup)
        trial.set_constraint(markup, 0.5 - k / 9)
        for step in (1, 2, 4):
            trial.report(x + 1 / step, step)
        study.tell(trial, x + (kind == "b"))
    study.enqueue_trial({markup: 0.5})
    trial = study.ask()
    trial.suggest_float(markup, 0, 1)
    return study


def test_pages_of_the_figures_hold_no_markup_of_the_study() -> None:
    pytest.importorskip("plotly")
    from optuna_rocket import visualization

    study = markup_study()
    for name in visualization.__all__:
        figure = getattr(visualization, name)(study)
        page = figure.to_html(include_plotlyjs=False)
        assert "alert(1)" not in page or "&lt;" in figure.to_json()
        for piece in ("<script>alert", "<img", "onerror=alert(1)>", '</script>"'):
            assert piece not in page
            assert piece not in _texts(json.loads(figure.to_json()))


def _texts(content: Any) -> str:
    """All strings of a figure, as the browser's plotly gets them."""
    if isinstance(content, dict):
        return " ".join(map(_texts, content.values()))
    if isinstance(content, list):
        return " ".join(map(_texts, content))
    return content if isinstance(content, str) else ""


def test_the_note_holds_no_markup_of_the_study() -> None:
    optuna_dashboard = pytest.importorskip("optuna_dashboard")
    from optuna_rocket.dashboard import save_to_dashboard

    study = markup_study()
    save_to_dashboard(study)
    note = optuna_dashboard.get_note(study)
    assert "alert" in note, "the names are shown"
    for piece in ("<script", "<img", "](javascript", "[a](", "$E"):
        assert piece not in re.sub(r"\\.", "", note)


# No code from data


_FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
_FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


def dangers(source: str) -> list[str]:
    """What in a module could run code that came with data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [name for name in names if name.split(".")[0] in _FORBIDDEN_MODULES]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called in _FORBIDDEN_CALLS or called.startswith(("os.system", "subprocess.")):
                found.append(called)
            if called == "torch.load" and keywords.get("weights_only") != "True":
                found.append(called)
            if called.endswith("np.load") and keywords.get("allow_pickle") == "True":
                found.append(called)
            if called.endswith("import_module") and not _is_ours_or_constant(node.args[0]):
                found.append(ast.unparse(node))
    return found


def _is_ours_or_constant(name: ast.expr) -> bool:
    first = name.values[0] if isinstance(name, ast.JoinedStr) else name
    if not isinstance(first, ast.Constant):
        return False
    return first is name or str(first.value).startswith("optuna_rocket.")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_no_module_runs_code_from_data(path: Path) -> None:
    assert dangers(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "eval(x)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "importlib.import_module(name)",
        "os.system(x)",
    ],
)
def test_the_audit_sees_dangers(source: str) -> None:
    assert dangers(source)


def test_a_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "evil.rocket"
    mark = tmp_path / "ran"
    path.write_bytes(b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    with pytest.raises(ValueError, match="not a checkpoint"):
        RocketSampler(checkpoint=path)
    assert not mark.exists()
