"""Parameters that join a running study: by hand, and in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import math

from hypothesis import given
from hypothesis import strategies as st
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import create_trial
import pytest
import torch

from optuna_rocket import RocketSampler
from optuna_rocket import hindsight
from optuna_rocket.agent import newcomers
from optuna_rocket.agent import proposals
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from tests.builders import generator
from tests.builders import history_of
from tests.builders import transform_scores
from tests.builders import unit_geometry


SPACE = replace(unit_geometry(3), has_gaps=True)
BEST = 0.37
LOW = [0.1, 0.2, 0.3, 0.4]


def study_of(rows: Sequence[str], scores: Sequence[float]) -> History:
    """Trials of three parameters, of which each row names those it had: "ab", "abc", ""."""
    flags = [[name in row for name in "abc"] for row in rows]
    active = torch.tensor(flags, dtype=torch.bool).view(1, -1, 3)
    units = torch.rand(1, len(rows), 3, generator=generator(1), dtype=torch.float64)
    history = history_of(units, torch.tensor([list(scores)], dtype=torch.float64), SPACE)
    return replace(history, active=active, units=torch.where(active, units, 0.5))


def outdated(rows: Sequence[str], scores: Sequence[float]) -> list[int]:
    """Which trials are outdated."""
    found = newcomers.outdated(study_of(rows, scores), SPACE)
    return [] if found is None else found[0].nonzero()[:, 0].tolist()


def test_trials_from_before_a_parameter_came_are_outdated_while_they_are_ahead() -> None:
    rows = ["ab"] * 3 + ["abc"] * 4
    assert outdated(rows, [0.9, 0.8, 1.0, 0.1, 0.2, 0.3, 0.4]) == [0, 1, 2]
    assert outdated(rows, [0.9, 0.8, 1.0, 0.1, 0.2, 1.0, 0.4]) == []


def test_a_few_newer_trials_change_nothing() -> None:
    assert outdated(["ab"] * 3 + ["abc"] * 3, [0.9, 0.8, 1.0, 0.1, 0.2, 0.3]) == []


def test_a_parameter_that_comes_and_goes_has_not_joined() -> None:
    rows = ["ab"] * 3 + ["abc"] * 4 + ["ab", "abc"]
    assert outdated(rows, [0.9, 0.8, 1.0] + [0.1] * 6) == []


def test_one_parameter_after_another_may_join() -> None:
    rows = ["a", "ab", "ab", "ab", "ab"] + ["abc"] * 4
    assert outdated(rows, [1.0] * 5 + LOW) == [0, 1, 2, 3, 4]


def test_a_score_without_parameters_is_outdated_wherever_it_stands() -> None:
    assert outdated(["", *["abc"] * 4], [1.0, *LOW]) == [0]
    assert outdated([*["abc"] * 4, ""], [*LOW, 1.0]) == [4]
    rows = ["ab", "ab", *["abc"] * 3, "", "abc"]
    assert outdated(rows, [1.0, 1.0, *LOW[:3], 1.0, LOW[3]]) == [0, 1, 5]


def test_equal_scores_set_no_scale() -> None:
    assert outdated(["ab"] * 3 + ["abc"] * 9, [1.0] * 3 + [0.1] * 6 + LOW[1:]) == [0, 1, 2]
    assert outdated(["ab"] * 3 + ["abc"] * 9, [1.0] * 3 + [0.1] * 7 + LOW[2:]) == []


def test_one_parameter_in_the_place_of_another_makes_nothing_outdated() -> None:
    assert outdated(["ab"] * 3 + ["bc"] * 4, [1.0] * 3 + LOW) == []


def test_a_newer_trial_that_failed_early_changes_nothing() -> None:
    rows, scores = ["ab"] * 3 + ["abc"] * 4 + ["ab"], [1.0] * 3 + LOW + [math.nan]
    outcomes = torch.tensor([[int(Outcome.COMPLETE)] * 7 + [int(Outcome.FAILED)]])
    history = replace(study_of(rows, scores), outcomes=outcomes)
    found = newcomers.outdated(history, SPACE)
    assert found is not None and found[0].nonzero()[:, 0].tolist() == [0, 1, 2]


def test_where_all_are_outdated_all_compare() -> None:
    history = newcomers.marked(study_of(["ab"] * 3 + ["abc"] * 4, [1.0] * 3 + LOW), SPACE)
    assert int(history.comparable.sum()) == 4
    assert int(history.first(3).comparable.sum()) == 3


def test_failed_and_running_trials_are_no_newer_scores() -> None:
    history = study_of(["ab"] * 2 + ["abc"] * 4, [1.0, 1.0, *LOW])
    outcomes = history.outcomes.clone()
    outcomes[0, -1] = int(Outcome.FAILED)
    scores = history.scores.clone()
    scores[0, -1] = math.nan
    assert newcomers.outdated(history, SPACE) is not None
    assert newcomers.outdated(replace(history, outcomes=outcomes, scores=scores), SPACE) is None


def test_several_objectives_and_constraints_keep_their_scale() -> None:
    history = study_of(["ab"] * 3 + ["abc"] * 4, [1.0] * 3 + LOW)
    unit = torch.ones_like(history.scores)
    assert newcomers.outdated(replace(history, least_unit=unit), SPACE) is None


@given(st.lists(st.sampled_from(["", "a", "ab", "abc", "bc"]), max_size=14), st.integers(0, 9))
def test_the_best_of_all_or_enough_newer_trials_remain(rows: list[str], seed: int) -> None:
    scores = torch.randn(len(rows), generator=generator(seed)).tolist()
    history = newcomers.marked(study_of(rows, scores), SPACE)
    kept = history.comparable[0]
    assert bool(kept.all()) or int(kept.sum()) >= 4
    if not bool(kept.all()):
        assert history.scores[0, kept].max() < history.scores[0, ~kept].max()


def test_newer_trials_set_the_scale_and_are_the_parents() -> None:
    rows, scores = ["ab"] * 6 + ["abc"] * 6, [9.0 + 0.1 * i for i in range(6)]
    later = [0.5 * i for i in range(6)]
    history = newcomers.marked(study_of(rows, scores + later), SPACE)
    z = transform_scores(history.scores, history.scored, None, history.comparable)[0]
    alone = transform_scores(history.scores[:, 6:], history.scored[:, 6:])[0]
    torch.testing.assert_close(z[6:], alone)
    assert bool((z[:6] > z[6:].max()).all())

    pool = proposals.propose(history, SPACE, 256, generator(2))
    local = pool.units[0, pool.kind[0] == proposals.KIND["crossover"]]
    newer = history.units[0, 6:]
    for column in range(3):
        assert bool(torch.isin(local[:, column], newer[:, column]).all())


def bowl(n: int, default: float) -> optuna.study.study.ObjectiveFuncType:
    """Of eight numbers, of which all but ``n`` have the default."""

    def objective(trial: optuna.Trial) -> float:
        numbers = [trial.suggest_float(f"x{i}", -1, 1) for i in range(n)]
        return sum((x - BEST) ** 2 for x in numbers) + (8 - n) * (default - BEST) ** 2

    return objective


@pytest.mark.parametrize("seed", [0, 1])
def test_what_was_held_at_a_good_value_and_then_asked_for_is_tuned(seed: int) -> None:
    """The level of before is out of reach for long: it must not make the search a random one."""
    study = optuna.create_study(sampler=RocketSampler(seed=seed))
    study.optimize(bowl(3, 0.3), n_trials=25)
    study.optimize(bowl(8, 0.3), n_trials=15)
    view = hindsight.look(study)
    assert bool(view.remembered.history.comparable[0, 25:].all())
    old = view.remembered.history.outdated
    assert old is not None and old[0].nonzero()[:, 0].tolist() == list(range(25))

    study.optimize(bowl(8, 0.3), n_trials=20)
    newer = study.trials[25:]
    assert min(trial.value or 0.0 for trial in newer) < 0.2  # .33 and .61 with that level


def test_a_score_that_was_noted_without_parameters_does_not_end_the_search() -> None:
    study = optuna.create_study(sampler=RocketSampler(seed=0))
    study.add_trial(create_trial(params={}, distributions={}, value=-5.0))
    study.optimize(bowl(4, BEST), n_trials=40)
    assert min(trial.value or 0.0 for trial in study.trials[1:]) < 0.01


def test_a_study_goes_on_in_another_process_as_in_its_own() -> None:
    """What is outdated follows from the stored trials alone, so the fits do too."""
    once = optuna.create_study(sampler=RocketSampler(seed=1))
    once.optimize(bowl(3, 0.3), n_trials=12)
    once.optimize(bowl(5, 0.3), n_trials=12)

    storage = optuna.storages.InMemoryStorage()
    again = optuna.create_study(storage=storage, sampler=RocketSampler(seed=1))
    again.optimize(bowl(3, 0.3), n_trials=12)
    for _ in range(4):
        name = again.study_name
        again = optuna.load_study(study_name=name, storage=storage, sampler=RocketSampler(seed=1))
        again.optimize(bowl(5, 0.3), n_trials=3)
    assert [trial.params for trial in again.trials] == [trial.params for trial in once.trials]


def test_what_other_samplers_left_is_read_alike() -> None:
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    study.optimize(bowl(2, BEST), n_trials=10)
    study.add_trial(
        create_trial(
            params={"x0": 0.0, "x1": 0.0, "x2": 0.0},
            distributions={f"x{i}": FloatDistribution(-1, 1) for i in range(3)},
            value=3.0,
        )
    )
    study.sampler = RocketSampler(seed=0)
    study.optimize(bowl(3, BEST), n_trials=25)
    assert min(trial.value or 0.0 for trial in study.trials[10:]) < 0.05
