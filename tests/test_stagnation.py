from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from optuna_rocket.agent import policy
from optuna_rocket.agent import stagnation
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.features import row_distance
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from tests.builders import generator
from tests.builders import history_of
from tests.builders import unit_geometry


GEOMETRY = unit_geometry(3)


def study_of(scores: Sequence[float], outcomes: torch.Tensor | None = None) -> History:
    """Trials near the origin."""
    units = 0.2 * torch.rand(1, len(scores), 3, generator=generator(1), dtype=torch.float64)
    return history_of(units, torch.tensor([scores], dtype=torch.float64), GEOMETRY, outcomes)


def turn(history: History) -> bool:
    return stagnation.takes_turn(history, GEOMETRY)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], 0),
        ([1.0], 0),
        ([0.0, 1.0], 0),
        ([1.0, 0.0, 0.0], 2),
        # The last rise is less than a tenth of what lies between the median and the best score.
        ([0.0, 1.0, 0.0, 0.0, 1.05, 0.0], 4),
        ([0.0, 1.0, 0.0, 0.0, 1.5, 0.0], 1),
        ([2.0] * 5, 4),
    ],
)
def test_counts_the_scores_since_the_best_one_rose(scores: list[float], expected: int) -> None:
    assert stagnation.stagnation(study_of(scores)) == expected


def test_trials_without_a_score_do_not_count() -> None:
    outcomes = torch.tensor([[int(Outcome.COMPLETE)] * 3 + [int(Outcome.FAILED)] * 4])
    assert stagnation.stagnation(study_of([1.0, 0.0, 0.0] + [0.0] * 4, outcomes)) == 2


def test_some_trials_of_a_stuck_study_look_elsewhere() -> None:
    turns = [n for n in range(120) if turn(study_of([1.0] + [0.0] * (n - 1)))]

    assert [n for n in turns if n < 30] == [11, 14, 17, 20, 23, 26, 29]
    assert len([n for n in turns if 30 <= n < 60]) == 6
    assert len([n for n in turns if 60 <= n < 120]) == 7


def test_a_study_that_rises_is_left_alone() -> None:
    assert not any(turn(study_of(range(n))) for n in range(1, 40))


def test_long_studies_are_given_more_patience() -> None:
    rising, resting = list(range(60)), [0] * 14

    assert not any(turn(study_of(rising + resting[:n])) for n in range(15))
    assert turn(study_of([60] + [0] * 80))


def test_a_stuck_study_tries_what_is_far_from_all_trials() -> None:
    network = new_network()
    scores = torch.rand(11, generator=generator(2)).tolist()
    history = study_of([2.0, *scores[1:]])
    belief = policy.believe(history, GEOMETRY, policy.initial_belief(GEOMETRY), network)

    decision = policy.decide(history, GEOMETRY, belief, network, generator(3))

    chosen = decision.pool.units[0, int(policy.act(decision.logits)[0])]
    distance = row_distance(chosen[None, None], history.units, GEOMETRY)
    assert float(distance.min()) > 0.25


def test_batches_of_training_never_look_elsewhere() -> None:
    scores = torch.tensor([[1.0] + [0.0] * 10] * 2, dtype=torch.float64)
    both_geometry = unit_geometry(3, batch=2)
    both = history_of(torch.rand(2, 11, 3, dtype=torch.float64), scores, both_geometry)

    assert not stagnation.takes_turn(both, both_geometry)
