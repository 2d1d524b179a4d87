from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
import pytest
import torch

from optuna_rocket import rows as encoding
from optuna_rocket.history import Outcome
from optuna_rocket.records import Record
from optuna_rocket.space import Space
from optuna_rocket.suggestions import Suggestion
from optuna_rocket.trials import TrialReader
from tests.records import X
from tests.records import add
from tests.records import new_study
from tests.records import records_of


def test_rows_are_encoded_as_the_space_does() -> None:
    study = new_study()
    distributions: dict[str, BaseDistribution] = {
        "c": CategoricalDistribution([None, "u", 3]),
        "i": IntDistribution(1, 100, log=True),
    }
    add(study, value=1.0, params={"c": 3, "i": 7}, distributions=distributions)
    add(study, value=1.0, params={"i": 100}, distributions={"i": distributions["i"]})
    space = Space(distributions)
    past = encoding.history(encoding.encode_rows(records_of(study), space))
    assert past.active[0].tolist() == [[True, True], [False, True]]
    decoded = [space.decode(row) for row in past.units[0].tolist()]
    assert decoded[0] == {"c": 3, "i": 7} and decoded[1]["i"] == 100
    assert past.units[0, 1, 0].item() == -1


def test_values_of_another_kind_are_left_out() -> None:
    study = new_study()
    add(study, value=1.0, params={"x": 0.5}, distributions=X)
    other: dict[str, BaseDistribution] = {"x": CategoricalDistribution(["a", "b"])}
    fresh = Space(other)
    past = encoding.history(encoding.encode_rows(records_of(study), fresh))
    assert not bool(past.active.any())
    narrowed = encoding.encode_rows(records_of(study), Space({"x": FloatDistribution(0, 0.4)}))
    assert bool(narrowed.active[0, 0]) and float(narrowed.units[0, 0]) == pytest.approx(1.25)


def test_infinite_values_become_the_worst_finite_one() -> None:
    study = new_study()
    for value in (1.0, float("inf"), 2.0, -float("inf")):
        add(study, value=value)
    history = encoding.history(encoding.encode_rows(records_of(study), Space(X)))
    assert history.scores[0].tolist() == [-1.0, -2.0, -2.0, -1.0]


def test_known_rows_save_time_alone() -> None:
    study, reader = new_study(), TrialReader()
    rng = np.random.default_rng(0)
    for k in range(12):
        state = TrialState.PRUNED if k % 4 == 3 else TrialState.COMPLETE
        value = None if k % 4 == 3 else float(k)
        add(study, state, value=value, params={"x": rng.random()}, intermediate_values={1: 2.0})
    known = encoding.encode_rows(records_of(study, reader), Space(X))
    for _ in range(4):
        add(study, value=1.0, params={"x": rng.random()})
    records = records_of(study, reader)
    wider = {"x": FloatDistribution(0.0, 2.0)}
    for space in (Space(X), Space(wider)):
        with_known = encoding.history(encoding.encode_rows(records, space, known))
        without = encoding.history(encoding.encode_rows(records, space))
        for name in ("units", "active", "outcomes", "scores", "fidelity", "predicted", "kind"):
            mine, other = getattr(with_known, name), getattr(without, name)
            torch.testing.assert_close(mine, other, equal_nan=True, atol=0, rtol=0)


def test_a_finished_trial_replaces_its_pending_row() -> None:
    study, reader = new_study(), TrialReader()
    first = study.ask(X)
    known = encoding.encode_rows(records_of(study, reader), Space(X))
    assert known.outcomes.tolist() == [Outcome.PENDING]
    study.tell(first, 4.0)
    rows = encoding.encode_rows(records_of(study, reader), Space(X), known)
    assert rows.outcomes.tolist()[0] == Outcome.COMPLETE and rows.scores[0] == -4.0


def test_rows_of_a_changed_space_are_encoded_again() -> None:
    study = new_study()
    for x in (0.2, 0.8):
        add(study, value=x, params={"x": x})
    records = records_of(study)
    known = encoding.encode_rows(records, Space(X))
    wider = encoding.encode_rows(records, Space({"x": FloatDistribution(0.0, 2.0)}), known)
    assert wider.units[:, 0].tolist() == pytest.approx([0.1, 0.4])


def test_rows_hold_what_was_said_at_the_suggestion() -> None:
    study = new_study()
    add(study, value=1.0)
    first = records_of(study)[0]
    said = replace(first, suggestion=Suggestion({}, 3, -0.5, 1.25), fidelity=0.4)
    past = encoding.history(encoding.encode_rows([said, first], Space(X)))
    assert past.kind[0].tolist() == [3, -1] and past.fidelity[0].tolist() == [0.4, 1.0]
    assert past.predicted[0, 0].tolist() == [-0.5, 1.25]
    assert bool(past.predicted[0, 1].isnan().all())


@pytest.fixture(scope="module")
def ten_records() -> list[Record]:
    study = new_study()
    for k in range(10):
        add(study, value=float(k))
    return records_of(study)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(data=st.data())
def test_common_prefix_is_that_of_comparing_one_by_one(
    ten_records: list[Record], data: st.DataObject
) -> None:
    # Mostly alike, as from one suggestion to the next.
    first = data.draw(st.lists(st.sampled_from(range(10)), unique=True, max_size=10).map(sorted))
    second = list(first)
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(second)))
        second[at : at + data.draw(st.integers(0, 1))] = data.draw(
            st.lists(st.integers(0, 9), max_size=2)
        )
    expected = 0
    while expected < min(len(first), len(second)) and first[expected] == second[expected]:
        expected += 1
    one, two = ([ten_records[k] for k in numbers] for numbers in (first, second))
    assert encoding._common_prefix(one, two) == expected
    assert encoding._common_prefix(two, one) == expected


def test_records_that_changed_in_the_middle_are_encoded_again(ten_records: list[Record]) -> None:
    known = encoding.encode_rows(ten_records, Space(X))
    other = [*ten_records[:4], replace(ten_records[4], scores=(70.0,)), *ten_records[5:]]
    rows = encoding.encode_rows(other, Space(X), known)
    assert rows.scores[:, 0].tolist() == [0, -1, -2, -3, 70, -5, -6, -7, -8, -9]
    missing = encoding.encode_rows([*other[:2], *other[3:]], Space(X), rows)
    assert missing.scores[:, 0].tolist() == [0, -1, -3, 70, -5, -6, -7, -8, -9]


def test_constraints_leave_with_the_records_that_had_them(ten_records: list[Record]) -> None:
    """Such as a failed trial's when it is run again: a new process knows of none."""
    bound = replace(ten_records[9], constraints={"c": 1.0})
    known = encoding.encode_rows([*ten_records[:9], bound], Space(X))
    assert known.constraint_names == ("c",)
    longer = encoding.encode_rows([*ten_records[:9], bound, bound], Space(X), known)
    assert longer.constraints[8:, 0].tolist() == pytest.approx([np.nan, 1.0, 1.0], nan_ok=True)
    for records in (ten_records, ten_records[:9]):
        rows = encoding.encode_rows(records, Space(X), known)
        assert rows.constraint_names == () and rows.constraints.shape == (len(records), 0)
        assert encoding.goals(rows) is None
