from __future__ import annotations

import math

from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
import pytest
import torch
from torch import Tensor

from optuna_rocket.agent import branches
from optuna_rocket.agent import fitting
from optuna_rocket.agent import memory
from optuna_rocket.agent.memory import Conditioned
from optuna_rocket.agent.proposals import Pool
from optuna_rocket.agent.proposals import finish
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.space import Space
from tests.builders import generator
from tests.builders import history_of
from tests.builders import random_history
from tests.builders import unit_geometry


SPACE = Space(
    {
        "a": FloatDistribution(0, 1),
        "b": FloatDistribution(0, 1),
        "b2": FloatDistribution(0, 1),
        "kind": CategoricalDistribution(["a", "b", "c"]),
    }
)
# ``a`` exists for kind a, ``b`` and ``b2`` for kind b; kind c has no parameter of its own.
GEOMETRY = SPACE.geometry(
    {
        0: (3, [True, False, False]),
        1: (3, [False, True, False]),
        2: (3, [False, True, False]),
    },
    has_gaps=True,
)


def rows(kinds: list[int], shares: list[float]) -> Tensor:
    raw = torch.tensor([[x, x, x, float(k)] for k, x in zip(kinds, shares, strict=True)])
    raw = raw.reshape(-1, 4).double()
    return finish(raw[None], torch.zeros(1, len(kinds)).long(), GEOMETRY).units


def tried(kinds: list[int], scores: list[float], outcomes: Tensor | None = None) -> History:
    shares = [(0.37 * i) % 1 for i in range(len(kinds))]
    score = torch.tensor([scores], dtype=torch.float64)
    return history_of(rows(kinds, shares), score, GEOMETRY, outcomes)


def candidates(kinds: tuple[int, ...] = (0, 1, 2)) -> Pool:
    units = rows([k for k in kinds for _ in range(5)], [0.1, 0.3, 0.5, 0.7, 0.9] * len(kinds))
    return Pool(units, GEOMETRY.activity(units), torch.zeros(units.shape[:2]).long())


def chosen_kind(history: History, pool: Pool | None = None) -> int:
    pool = candidates() if pool is None else pool
    key = branches.choose(history, GEOMETRY, pool)
    inside = branches.branch_keys(pool.active, GEOMETRY)[0] == key
    (kind,) = pool.units[0, inside, 3].unique().tolist()
    return int(kind)


def remembered(history: History) -> Conditioned:
    return memory.condition(history, GEOMETRY, fitting.prior_weights(GEOMETRY))


def test_branches_are_sets_of_conditional_parameters() -> None:
    keys = branches.branch_keys(candidates().active, GEOMETRY)[0]
    assert [len(keys[k * 5 : k * 5 + 5].unique()) for k in range(3)] == [1, 1, 1]
    assert len(keys.unique()) == 3


def test_every_branch_has_a_few_trials_first() -> None:
    assert chosen_kind(tried([0, 0, 0, 0, 1, 1, 1, 2, 2], [9.0] * 4 + [1.0] * 5)) == 2
    assert chosen_kind(tried([0, 1, 1, 1, 2, 2, 2], [0.0] + [1.0] * 6)) == 0


def test_a_branch_of_varied_scores_is_hoped_for() -> None:
    flat, steep = [1.0, 1.02, 1.01, 1.0, 0.98], [-4.0, -0.5, -3.0, -1.5, -2.0]
    kinds = [0] * 5 + [1] * 5 + [2] * 5
    assert chosen_kind(tried(kinds, flat + steep + flat)) == 1


def test_hope_fades_with_trials() -> None:
    flat = [1.0, 1.4, 1.2, 0.9, 1.1]
    steep = [-4.0, -0.5, -3.0, -1.5, -2.0] * 40
    kinds = [0] * 5 + [1] * 200 + [2] * 5
    assert chosen_kind(tried(kinds, [*flat, *steep, *[0.3] * 5])) == 0


def test_running_trials_count() -> None:
    outcomes = torch.full((1, 9), int(Outcome.COMPLETE))
    outcomes[0, 6:] = int(Outcome.PENDING)
    history = tried([0, 0, 0, 1, 1, 1, 2, 2, 2], [1.0] * 9, outcomes)
    assert not bool(history.scored[0, 6:].any())
    chosen_kind(history)  # a branch without scores is no trouble
    assert chosen_kind(tried([0, 0, 0, 1, 1, 1, 2, 2], [1.0] * 8)) == 2


@pytest.mark.parametrize("scores", [[], [1.0], [2.0] * 6, [1e308, -1e308, 0.0], [5e-324, 0.0]])
def test_any_scores_lead_to_a_branch(scores: list[float]) -> None:
    kinds = [k % 3 for k in range(len(scores))]
    assert chosen_kind(tried(kinds, scores)) in (0, 1, 2)


def test_only_branches_at_hand_are_chosen() -> None:
    assert chosen_kind(tried([0, 1, 2], [1.0] * 3), candidates((1,))) == 1


def test_the_focus_stays_inside_its_branch_and_keeps_what_is_imposed() -> None:
    history = tried([0, 0, 0, 0, 1, 1, 1, 1], [1.0, 2.0, 3.0, 2.0, 5.0, 1.0, 2.0, 3.0])
    fixed = torch.full((1, 4), math.nan, dtype=torch.float64)
    fixed[0, 3] = 1.0
    pool = candidates((1,))
    found = branches.focus(history, remembered(history), pool, 64, generator(), fixed)
    assert bool((found.pool.units[0, :, 3] == 1).all())
    assert found.pool.active[0].tolist() == [[False, True, True, True]] * found.pool.kind.shape[1]
    assert len(found.pool.units[0, :, 1].unique()) > 30, "new and old parameters move"
    own = memory.read(remembered(history), history.units[:, 4:], history.active[:, 4:]).mean
    assert found.incumbent == own.amax(-1)


def test_a_branch_of_which_all_was_tried_is_left_alone() -> None:
    # Kind c has one configuration and the best score; without it b promises more than a.
    history = tried([2, 0, 0, 0, 1, 1, 1], [9.0, 0, 0.1, 0, 1, 3, 5])
    focus = branches.focus(history, remembered(history), candidates(), 64, generator(), None)
    assert 2 not in focus.pool.units[0, :, 3]


def test_what_is_left_of_a_small_branch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    history = tried([0, 1], [0.0, 1.0])
    missed = Pool(history.units, history.active, torch.zeros(history.units.shape[:2]).long())
    monkeypatch.setattr(branches, "_propose", lambda *_: missed)
    pool = candidates((0, 1))
    focus = branches.focus(history, remembered(history), pool, 64, generator(), None)
    kinds = focus.pool.units[0, :, 3]
    assert len(kinds) == 5 and len(kinds.unique()) == 1


def test_nothing_but_what_was_tried_is_still_a_choice() -> None:
    history = tried([2], [1.0])
    focus = branches.focus(history, remembered(history), candidates((2,)), 64, generator(), None)
    assert len(focus.pool.units[0]) > 0


def test_every_other_trial_has_no_focus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branches, "_LEAST_SHARE", 0.4)  # half of the parameters are common
    for n in range(6, 10):
        history = tried([k % 3 for k in range(n)], [float(k) for k in range(n)])
        assert branches.takes_turn(history, GEOMETRY) == (n % branches.EVERY == 0)


def test_a_space_with_switches_has_no_focus(monkeypatch: pytest.MonkeyPatch) -> None:
    history = tried([k % 3 for k in range(6)], [float(k) for k in range(6)])
    common = bool(branches.differ(history, GEOMETRY))
    assert not common, "as many parameters are common as are not"
    assert not branches.takes_turn(history, GEOMETRY)
    monkeypatch.setattr(branches, "_LEAST_SHARE", 0.4)
    assert bool(branches.differ(history, GEOMETRY))


def test_spaces_without_conditions_and_batches_have_no_focus() -> None:
    for geometry in (unit_geometry(2), unit_geometry(2, batch=3)):
        history = random_history(geometry, 8, plain=True)
        assert not branches.takes_turn(history, geometry)
