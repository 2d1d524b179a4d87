from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest


PACKAGE = Path(__file__).resolve().parent.parent / "optuna_rocket"
FILES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# DESIGN.md section 2: a file imports from rows above it, or from its left in the same row.
CORE = {"space", "history", "scores", "features"}
AGENT = {
    f"agent/{x}" for x in ("weights_file", "network", "proposals", "kernels", "gram", "fitting")
} | {"agent/memory", "agent/branches"}
AGENT |= {
    f"agent/{x}"
    for x in ("visited", "stagnation", "improvement", "observation", "experience", "policy")
}
AGENT |= {f"agent/{x}" for x in ("checkpoint", "returns", "update")}
EXPERIENCE = {f"agent/{x}" for x in ("guesses", "sources", "trust")}
VIEW = {"quiet", "suggester", "hindsight", "view", "visualization/drawing"}
GOALS = {"goals"} | {
    f"agent/{x}" for x in ("feasibility", "hypervolume", "many_goals", "together", "unvisited")
}
ALLOWED: dict[str, set[str]] = {
    # core
    "arguments": set(),
    "once": set(),
    "axes": set(),
    "space": {"axes"},
    "history": {"space"},
    "scores": {"history"},
    "features": {"space", "history", "scores"},
    "goals": {"space", "history"},
    # agent
    "agent/__init__": set(),
    "agent/weights_file": set(),
    "agent/network": CORE,
    "agent/proposals": CORE,
    "agent/kernels": CORE,
    "agent/gram": CORE,
    "agent/doubt": CORE | {"agent/gram"},
    "agent/level": {"history", "agent/gram"},
    "agent/fitting": CORE | {"agent/kernels", "agent/gram", "agent/level", "agent/doubt"},
    "agent/newcomers": CORE,
    "agent/failures": CORE | {"agent/gram"},
    "agent/memory": CORE
    | {"agent/kernels", "agent/gram", "agent/level", "agent/doubt", "agent/failures"}
    | {"agent/newcomers"},
    "agent/branches": CORE | {"agent/proposals", "agent/memory", "agent/visited"},
    "agent/guesses": set(),
    "agent/sources": CORE | {"agent/kernels", "agent/gram", "agent/fitting", "agent/memory"},
    "agent/trust": set(),
    "agent/visited": CORE,
    "agent/experience": CORE | EXPERIENCE | {"agent/proposals", "agent/memory", "agent/visited"},
    "agent/stagnation": CORE | {"agent/branches", "agent/newcomers"},
    "agent/improvement": CORE | {"agent/proposals", "agent/memory", "agent/branches"},
    "agent/observation": CORE
    | {"agent/gram", "agent/proposals", "agent/memory", "agent/improvement"},
    "agent/policy": CORE
    | {"agent/network", "agent/proposals", "agent/memory", "agent/branches", "agent/stagnation"}
    | {"agent/gram", "agent/fitting", "agent/visited"}
    | {"agent/improvement", "agent/observation", "agent/experience"},
    "agent/feasibility": CORE | {"agent/memory", "agent/improvement"},
    "agent/hypervolume": CORE | {"goals"},
    "agent/unvisited": CORE | {"goals", "agent/proposals", "agent/visited"},
    "agent/together": CORE | {"agent/proposals", "agent/memory"},
    "agent/many_goals": CORE
    | {"goals", "agent/feasibility", "agent/hypervolume", "agent/unvisited"}
    | {"agent/together", "agent/visited"}
    | {"agent/network", "agent/proposals", "agent/memory", "agent/policy"}
    | {"agent/improvement", "agent/observation"},
    "agent/checkpoint": CORE | {"agent/weights_file", "agent/network", "agent/observation"},
    "agent/returns": set(),
    "agent/update": CORE | {"agent/network", "agent/policy", "agent/returns"},
    # fidelity
    "fidelity/__init__": set(),
    "fidelity/labels": set(),
    "fidelity/subset": {"arguments", "fidelity/labels"},
    "fidelity/correlation": set(),
    "fidelity/scaling": {"arguments", "fidelity/correlation"},
    "fidelity/calibration": {"fidelity/correlation"},
    "fidelity/forecast": {"fidelity/correlation", "fidelity/calibration"},
    "fidelity/guards": {"fidelity/forecast"},
    "fidelity/expectation": {"fidelity/forecast"},
    "fidelity/approximation": CORE
    | {"fidelity/forecast", "fidelity/expectation", "fidelity/guards"},
    # training
    "training/__init__": set(),
    "training/functions": set(),
    "training/tasks": CORE | {"training/functions"},
    "training/playing": CORE | AGENT | {"training/tasks"},
    "training/rollout": CORE | AGENT | {"training/tasks", "training/playing"},
    "training/league": CORE | AGENT | {"training/tasks", "training/rollout"},
    "training/foresight": CORE
    | AGENT
    | {"training/tasks", "training/playing", "training/rollout"},
    "training/games": CORE
    | AGENT
    | {"training/tasks", "training/rollout", "training/foresight", "training/league"},
    "training/settings": set(),
    "training/progress": AGENT
    | {"training/rollout", "training/foresight", "training/league", "training/games"}
    | {"training/settings"},
    "training/lessons": AGENT
    | {"training/playing", "training/rollout", "training/foresight", "training/games"}
    | {"training/settings", "training/progress"},
    "training/self_play": CORE
    | AGENT
    | {"training/tasks", "training/rollout", "training/foresight"}
    | {"training/league", "training/games"}
    | {"training/settings", "training/progress", "training/lessons"},
    "training/surrogates": CORE | {"agent/fitting", "agent/memory", "training/tasks"},
    "training/verdict": CORE | {"agent/network"} | {"training/rollout", "training/surrogates"},
    # A command at the top: the only file of training that knows studies, through the adapter.
    "training/fine_tune": AGENT
    | {"past_studies", "training/tasks", "training/foresight", "training/league"}
    | {"training/surrogates", "training/verdict"}
    | {"training/settings", "training/progress", "training/lessons"},
    # adapter
    "constraints": set(),
    "attributes": set(),
    "random_values": {"axes"},
    "seeds": set(),
    "suggestions": {"attributes"},
    "costs": {"arguments"},
    "curves": {"constraints", "costs", "suggestions"}
    | {"fidelity/forecast", "fidelity/expectation", "fidelity/correlation", "fidelity/guards"},
    "retries": set(),
    "instances": {"costs"},
    "records": {"history", "constraints", "costs", "suggestions", "curves", "instances"},
    "abandoned": {"moments"},
    "trials": {"history", "suggestions", "curves", "retries", "records", "abandoned"},
    "rows": {"space", "history", "fidelity/approximation", "goals", "trials", "records"},
    "conditions": {"space", "history"},
    "early_ends": {"space", "history", "rows"},
    "departures": {"history"},
    "gaps": {"space", "history", "goals", "rows", "conditions", "early_ends", "departures"},
    "beliefs": CORE | AGENT | GOALS | {"fidelity/approximation", "rows"},
    "claims": {"space", "history", "trials", "records"},
    "quiet": set(),
    "priors": {"arguments", "axes", "space", "agent/guesses"},
    "source_studies": {"space", "history", "trials", "records", "rows"},
    "past_studies": CORE | {"rows", "gaps", "source_studies"},
    "experience": CORE
    | EXPERIENCE
    | {"agent/experience", "agent/memory", "quiet", "rows", "priors", "source_studies"}
    | {"once", "records"},
    "suggester": CORE
    | AGENT
    | GOALS
    | {
        "fidelity/approximation",
        "quiet",
        "suggestions",
        "trials",
        "records",
        "rows",
        "gaps",
        "experience",
        "beliefs",
    },
    "sampler": CORE
    | {"arguments", "axes", "once"}
    | {"agent/weights_file", "suggestions", "trials", "records", "suggester", "claims"}
    | {"priors", "source_studies", "experience", "random_values", "seeds"},
    "pruner": {"fidelity/forecast", "fidelity/expectation", "fidelity/guards"}
    | {"arguments", "once", "curves", "trials", "suggestions"},
    "scaling": {"arguments", "space", "fidelity/scaling", "curves", "records"},
    "rounds": {"attributes", "costs", "fidelity/scaling"},
    "loops": set(),
    "notices": {"once", "costs", "fidelity/subset", "pruner"},
    "evaluator": {"fidelity/subset", "fidelity/correlation", "fidelity/scaling"}
    | {"arguments", "curves", "trials", "scaling", "rounds", "loops", "notices"},
    "__init__": {"agent/weights_file", "sampler", "pruner", "evaluator"}
    | {"explanation", "dashboard", "visualization/__init__"},
    # views
    "bands": CORE | {"agent/memory"},
    "fronts": {"goals"},
    "view": CORE
    | AGENT
    | GOALS
    | {"trials", "records", "rows", "departures", "suggester", "fronts"},
    "moments": set(),
    "hindsight": CORE
    | AGENT
    | GOALS
    | {"quiet", "trials", "records", "suggestions", "suggester", "sampler", "view", "moments"},
    "alternatives": CORE | AGENT | {"suggester", "view"},
    "forecasts": {"fidelity/forecast", "fidelity/expectation", "curves", "trials", "moments"},
    "reasons": {"forecasts", "alternatives", "instances"},
    "names": set(),
    "wording": {"reasons", "alternatives", "instances", "names"},
    "explanation": CORE
    | AGENT
    | {"constraints", "suggestions", "retries", "trials", "records", "quiet"}
    | {"rows", "suggester", "bands", "fronts", "view"}
    | {"hindsight", "alternatives", "forecasts", "instances", "reasons", "wording"},
    "visualization/drawing": {"hindsight", "names"},
    "visualization/policy_timeline": CORE | VIEW | {"fronts", "suggestions"},
    "visualization/relevance": CORE | VIEW,
    "visualization/influence": CORE | VIEW,
    "visualization/slice_drawing": {"visualization/drawing"},
    "visualization/slice_expectation": CORE
    | VIEW
    | {"axes", "bands", "trials", "records", "visualization/slice_drawing"},
    "visualization/forecast": VIEW | {"fidelity/correlation", "forecasts"},
    "visualization/cost": VIEW | {"costs", "retries"},
    "visualization/__init__": {f"visualization/{x}" for x in ("cost", "forecast", "relevance")}
    | {"visualization/influence"}
    | {"visualization/policy_timeline", "visualization/slice_expectation"},
    "dashboard": {"arguments", "once", "constraints", "suggester", "view", "hindsight", "names"}
    | {"explanation"}
    | {f"visualization/{x}" for x in ("drawing", "cost", "policy_timeline", "relevance")}
    | {"visualization/slice_expectation"},
}
VIEWS = (
    {"bands", "view", "hindsight", "alternatives", "forecasts", "reasons", "explanation"}
    | {"dashboard"}
    | {name for name in ALLOWED if name.startswith("visualization/")}
)
ADAPTER = {
    "abandoned",
    "constraints",
    "suggestions",
    "curves",
    "retries",
    "instances",
    "records",
    "trials",
    "rows",
    "conditions",
    "early_ends",
    "departures",
    "gaps",
    "claims",
    "beliefs",
    "priors",
    "source_studies",
    "past_studies",
    "experience",
    "suggester",
    "random_values",
    "seeds",
    "sampler",
    "pruner",
    "scaling",
    "rounds",
    "loops",
    "notices",
    "evaluator",
    "__init__",
}
ADAPTER |= VIEWS
TORCH_FREE = {
    "__init__",
    "arguments",
    "once",
    "axes",
    "random_values",
    "seeds",
    "sampler",
    "pruner",
    "rounds",
    "loops",
    "notices",
    "evaluator",
    "attributes",
    "costs",
    "agent/__init__",
    "agent/weights_file",
    "fidelity/__init__",
    "fidelity/labels",
    "fidelity/subset",
    "fidelity/correlation",
    "fidelity/scaling",
}


def tree_of(name: str) -> ast.Module:
    return ast.parse(FILES[name].read_text())


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names of modules (or of what may be one) that a statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        assert node.module is not None
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(name: str) -> set[str]:
    """Everything imported anywhere in the file, in functions and for types too."""
    return {module for node in ast.walk(tree_of(name)) for module in imported(node)}


def own_imports_of(name: str) -> set[str]:
    """Files of this package that the file imports."""
    dotted = {f"optuna_rocket.{file.replace('/', '.')}": file for file in FILES}
    found = {dotted[module] for module in imports_of(name) if module in dotted}
    if any(module == "optuna_rocket" for module in imports_of(name)):
        # ``from optuna_rocket import trials`` is about trials, not about the package's face.
        found.discard("__init__")
    return found


def test_every_file_has_its_place() -> None:
    assert set(FILES) == set(ALLOWED)


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_import_only_from_rows_above(name: str) -> None:
    assert own_imports_of(name) <= ALLOWED[name]


def test_the_scan_sees_imports() -> None:
    """A scan that sees nothing would find nothing wrong."""
    assert own_imports_of("sampler") >= {"agent/weights_file", "trials", "suggester"}
    assert own_imports_of("agent/policy") >= {"agent/memory", "agent/proposals", "history"}
    assert "optuna.study" in imports_of("trials")


def test_allowed_imports_have_no_cycle() -> None:
    # ``__init__`` only types its lazily imported names; the views do not import it.
    settled: set[str] = set()
    while len(settled) < len(ALLOWED):
        ready = {name for name in ALLOWED if ALLOWED[name] <= settled} - settled
        assert ready, "a cycle"
        settled |= ready


@pytest.mark.parametrize("name", sorted(set(FILES)))
def test_training_is_imported_by_training_alone(name: str) -> None:
    if not name.startswith("training/"):
        assert not any(module.startswith("optuna_rocket.training") for module in imports_of(name))


@pytest.mark.parametrize("name", sorted(set(FILES) - ADAPTER))
def test_only_the_adapter_knows_studies(name: str) -> None:
    optuna_modules = {module for module in imports_of(name) if module.split(".")[0] == "optuna"}
    if name in ("axes", "space"):
        assert all(module.startswith("optuna.distributions") for module in optuna_modules)
    else:
        assert not optuna_modules


def private_names(name: str) -> set[str]:
    """Private names of Optuna: modules, and attributes of anything but the file's own objects."""
    found = {
        module
        for module in imports_of(name)
        if module.startswith("optuna.") and any(part.startswith("_") for part in module.split("."))
    }
    for node in ast.walk(tree_of(name)):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
            continue
        if node.attr.startswith("__"):
            continue
        owner = node.value
        called = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
        if called in {"study", "trial", "other", "storage", "_storage", "optuna"}:
            found.add(f"{called}.{node.attr}")
    return found


def test_private_names_of_optuna_are_in_one_file() -> None:
    assert private_names("trials"), "the scan finds the ones that are there"
    assert {name for name in FILES if private_names(name)} == {"trials"}


@pytest.mark.parametrize("name", sorted(TORCH_FREE))
def test_importing_the_package_does_not_import_torch(name: str) -> None:
    for node in tree_of(name).body:  # what is imported in functions or for types alone is fine
        for module in imported(node):
            assert module.split(".")[0] != "torch"
            file = module.removeprefix("optuna_rocket.").replace(".", "/")
            if module.startswith("optuna_rocket.") and file in FILES:
                assert file in TORCH_FREE


@pytest.mark.parametrize("name", ["agent/network", "agent/returns", "training/functions"])
def test_tensor_code_needs_torch_alone(name: str) -> None:
    roots = {module.split(".")[0] for module in imports_of(name)}
    allowed = {"__future__", "collections", "math", "torch", "optuna_rocket"}
    assert roots <= allowed


def test_no_file_is_a_drawer() -> None:
    names = {Path(name).name for name in FILES}
    assert not names & {"utils", "helpers", "common", "misc"}
