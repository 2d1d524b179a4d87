from __future__ import annotations

from collections.abc import Callable
from functools import partial
import random
from typing import Any
from typing import cast

import optuna
import pytest

from optuna_rocket import RocketSampler
from optuna_rocket import beliefs
from optuna_rocket.agent import fitting
from optuna_rocket.agent.gram import MemoryWeights
from optuna_rocket.beliefs import AnyBelief
from optuna_rocket.beliefs import Evidence
from optuna_rocket.beliefs import Kept
from tests.support import MIXED
from tests.support import all_params
from tests.support import mixed_value


def together(
    sampler: Callable[[], RocketSampler], n_trials: int, n_workers: int, **study: Any
) -> optuna.Study:
    """A study whose trials end in another order than they began."""
    shared, rng = optuna.create_study(**study), random.Random(0)
    running: list[optuna.Trial] = []
    for _ in range(n_trials):
        if len(running) == n_workers:
            ended = running.pop(rng.randrange(n_workers))
            value = mixed_value(ended.params)
            shared.tell(ended, [value] * len(shared.directions))
        shared.sampler = sampler()
        running.append(shared.ask(MIXED))
    return shared


@pytest.mark.parametrize("directions", [["minimize"], ["minimize", "maximize"]])
def test_what_is_kept_changes_no_suggestion(directions: list[str]) -> None:
    one = RocketSampler(seed=0)
    kept = together(lambda: one, 24, 4, directions=directions)
    anew = together(lambda: RocketSampler(seed=0), 24, 4, directions=directions)
    assert all_params(kept) == all_params(anew)


def test_workers_cost_few_fits_more(monkeypatch: pytest.MonkeyPatch) -> None:
    fit, n_fits = fitting.fit, [0]

    def counted(*arguments: Any) -> MemoryWeights:
        n_fits[0] += 1
        return fit(*arguments)

    monkeypatch.setattr(fitting, "fit", counted)
    one = RocketSampler(seed=0)
    together(lambda: one, 40, 1)
    alone, n_fits[0] = n_fits[0], 0
    together(lambda: one, 40, 4)
    assert alone == len(fitting.link_sizes(39))
    assert n_fits[0] <= 3 * alone  # five times as many if each began from nothing


def advanced(
    monkeypatch: pytest.MonkeyPatch, kept: Kept | None, n: int, n_settled: int, n_same: int
) -> tuple[Kept, list[tuple[int, int]]]:
    """Beliefs that are the number of trials they are about, and how these were reached."""

    class Finished:
        n_trials = n

    steps: list[tuple[int, int]] = []

    def advance(upto: int, belief: AnyBelief) -> AnyBelief:
        steps.append((cast(int, belief), upto))
        return cast(AnyBelief, upto)

    monkeypatch.setattr(beliefs, "_n_same", lambda old, new: n_same)
    evidence = Evidence(cast(Any, None), cast(Any, None), cast(Any, Finished()), None)
    found = beliefs.updated(kept, evidence, n_settled, lambda: cast(AnyBelief, 0), advance)
    assert all(cast(int, step.belief) == step.n for step in found.steps)
    assert cast(int, found.belief) == n
    return found, steps


def test_beliefs_go_on_from_the_latest_that_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    step = partial(advanced, monkeypatch)
    kept, steps = step(None, 0, 0, 0)
    assert steps == []
    kept, steps = step(kept, 20, 20, 0)  # nobody runs: nothing is kept but the last
    assert steps == [(0, 20)] and len(kept.steps) == 1
    kept, steps = step(kept, 24, 20, 20)  # four ended after one that runs
    assert steps == [(20, 22), (22, 24)]
    kept, steps = step(kept, 25, 20, 24)
    assert steps == [(24, 25)]
    kept, steps = step(kept, 26, 20, 23)  # one ended that stands before two of them
    assert steps == [(22, 24), (24, 26)]
    kept, steps = step(kept, 27, 27, 20)  # the first one ended
    assert steps == [(20, 27)] and len(kept.steps) == 1
    kept, steps = step(kept, 27, 22, 27)  # one that was given up is back
    assert steps == []
    kept, steps = step(kept, 5, 3, 0)  # another study
    assert steps == [(0, 3), (3, 4), (4, 5)]
