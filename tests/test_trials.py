from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from datetime import timedelta
import json
import math
from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial
import pytest
import torch

from optuna_rocket import abandoned
from optuna_rocket import rows as encoding
from optuna_rocket import suggestions
from optuna_rocket import trials
from optuna_rocket.abandoned import Patience
from optuna_rocket.history import Outcome
from optuna_rocket.records import Ranges
from optuna_rocket.records import Record
from optuna_rocket.records import latest_distributions
from optuna_rocket.space import Space
from optuna_rocket.suggestions import ATTRIBUTE
from optuna_rocket.suggestions import Suggestion
from optuna_rocket.trials import TrialReader
from tests.records import Direction
from tests.records import X
from tests.records import add
from tests.records import new_study
from tests.records import records_of


@pytest.mark.parametrize(("direction", "sign"), [("minimize", -1.0), ("maximize", 1.0)])
def test_trials_of_all_states(direction: Direction, sign: float) -> None:
    study = new_study(direction)
    add(study, value=3.0)
    add(study, TrialState.PRUNED, intermediate_values={1: 7.0})
    add(study, TrialState.FAIL)
    add(study, TrialState.RUNNING)
    study.add_trial(create_trial(state=TrialState.WAITING))
    add(study, value=4.0)
    # The waiting trial would be handed out by ``ask``: read as trial number 6 instead.
    study.tell(study.ask(), 1.0)
    records = records_of(study)

    assert [record.number for record in records] == [0, 1, 2, 3, 4, 5]
    expected = ["COMPLETE", "PRUNED", "FAILED", "PENDING", "COMPLETE", "COMPLETE"]
    assert [record.outcome.name for record in records] == expected
    assert [records[0].score, records[4].score, records[5].score] == [sign * 3, sign, sign * 4]
    assert records[1].score == sign * 7
    assert math.isnan(records[2].score) and math.isnan(records[3].score)
    assert records[0].fidelity == 1 and 0 < records[1].fidelity < 1


def test_waiting_trials_are_not_read() -> None:
    study = new_study()
    add(study, value=3.0)
    study.enqueue_trial({"x": 0.1})
    trial = create_trial(state=TrialState.RUNNING)
    trial.number = 2
    records = TrialReader().read(study, trial)
    assert [record.number for record in records] == [0]


def test_the_trial_itself_is_not_evidence() -> None:
    study = new_study()
    assert records_of(study) == []
    assert [record.number for record in records_of(study)] == [0]


def test_reading_again_reads_what_changed() -> None:
    study, reader = new_study(), TrialReader()
    running = study.ask(X)
    assert records_of(study, reader)[0].outcome == Outcome.PENDING
    study.tell(running, 2.0)
    again = records_of(study, reader)
    assert again[0].outcome == Outcome.COMPLETE and again[0].score == -2.0
    fresh = TrialReader().read(study, study.get_trials(deepcopy=False)[-1])
    assert [(r.number, r.outcome) for r in again] == [(r.number, r.outcome) for r in fresh]


def test_trials_left_running_by_dead_workers_are_dropped() -> None:
    study = new_study()
    add(study, TrialState.RUNNING)
    study.add_trials([create_trial(params={"x": 0.5}, distributions=X, value=1.0)] * 240)
    add(study, TrialState.RUNNING)
    numbers = [record.number for record in records_of(study)]
    assert 0 not in numbers and 241 in numbers and 1 in numbers and len(numbers) == 241


def study_with_reports() -> Study:
    study = new_study()
    for final, report in ((0.1, 1.0), (0.2, 2.0), (0.3, 3.0)):
        add(study, value=final, intermediate_values={1: report, 4: report - 0.5})
    return study


@pytest.mark.parametrize(
    ("report", "score"),
    [
        (2.0, -0.2),  # the median of its peers at that step: their median final
        (0.5, -0.1),  # better than all: the best final
        (9.0, -0.3),  # worse than all: the worst final
        (1.5, -0.1 - 0.1 * 2 / 3),  # better than two of three
    ],
)
def test_a_pruned_trial_is_ranked_among_its_peers(report: float, score: float) -> None:
    study = study_with_reports()
    add(study, TrialState.PRUNED, intermediate_values={1: report})
    record = records_of(study)[-1]
    assert record.score == pytest.approx(score)
    assert record.fidelity == pytest.approx(1 / 4)


def test_a_pruned_trial_is_ranked_at_its_own_step() -> None:
    study = study_with_reports()
    # At step 4 its peers had 0.5, 1.5 and 2.5: better than one of three.
    add(study, TrialState.PRUNED, intermediate_values={1: 0.0, 4: 1.6})
    assert records_of(study)[-1].score == pytest.approx(-0.3 + 0.1 * 2 / 3)


def test_ranks_turn_with_the_direction() -> None:
    study = new_study("maximize")
    for final in (0.1, 0.2, 0.3):
        add(study, value=final, intermediate_values={1: 10 * final})
    add(study, TrialState.PRUNED, intermediate_values={1: 100.0})
    add(study, TrialState.PRUNED, intermediate_values={1: -100.0})
    best, worst = records_of(study)[-2:]
    assert [best.score, worst.score] == pytest.approx([0.3, 0.1])


def test_a_pruned_trial_without_peers_stands_for_itself() -> None:
    study = new_study()
    add(study, value=1.0, intermediate_values={8: 1.0})
    add(study, TrialState.PRUNED, intermediate_values={2: 5.0})
    record = records_of(study)[-1]
    assert record.score == -5.0 and record.fidelity == pytest.approx(0.25)


def test_a_pruned_trial_without_reports_is_rather_bad() -> None:
    study = new_study()
    add(study, TrialState.PRUNED)
    for value in (0.0, 1.0, 2.0, 3.0, 4.0):
        add(study, value=value)
    add(study, TrialState.PRUNED)
    add(study, TrialState.PRUNED, intermediate_values={1: float("nan")})
    records = records_of(study)
    assert math.isnan(records[0].score)
    assert records[6].score == records[7].score == -3.0


def test_pruned_trials_with_infinite_reports_are_readable() -> None:
    study = study_with_reports()
    add(study, TrialState.PRUNED, intermediate_values={1: float("inf")})
    add(study, TrialState.PRUNED, intermediate_values={7: float("inf")})
    rows = encoding.encode_rows(records_of(study), Space(X))
    scores = encoding.history(rows).scores[0]
    assert scores[3].item() == pytest.approx(-0.3)
    assert bool(torch.isfinite(scores).all()) and scores[4] == scores.min()


def test_union_takes_the_latest_distribution() -> None:
    study = new_study()
    add(study, value=1.0)
    wide: dict[str, BaseDistribution] = {
        "x": FloatDistribution(-1.0, 9.0),
        "y": IntDistribution(0, 3),
    }
    add(study, value=1.0, params={"x": 5.0, "y": 2}, distributions=wide)
    late: dict[str, BaseDistribution] = {"y": IntDistribution(0, 30)}
    add(study, TrialState.FAIL, params={"y": 20}, distributions=late)
    reader = TrialReader()
    records = records_of(study, reader)
    assert reader.distributions(records) == {"x": wide["x"], "y": late["y"]}


def said(record: Record) -> tuple[str, ...]:
    """A record in words: NaN is equal to itself there."""
    fields = (record.number, record.outcome, record.params, record.score, record.fidelity)
    return (*map(repr, fields), repr(record.suggestion), record.trial.state.name)


def plain_union(records: list[Record]) -> dict[str, BaseDistribution]:
    """The latest distribution of every parameter."""
    union: dict[str, BaseDistribution] = {}
    for record in records:
        union.update(record.trial.distributions)
    return union


def assert_reads_like_new(reader: TrialReader, study: Study, trial: FrozenTrial) -> None:
    """A reader with a past says what a new one says."""
    records = reader.read(study, trial, fresh=True)
    new = TrialReader().read(study, trial, fresh=True)
    assert [said(record) for record in records] == [said(record) for record in new]
    assert reader.distributions(records) == plain_union(new)


@pytest.fixture
def short_lives() -> Iterator[int]:
    """Trials count as dead after three later ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(abandoned, "_MAX_AGE", 3)
        patch.setattr(abandoned, "_MAX_ROUNDS", 1)
        yield 3


steps = st.sampled_from(["ask", "ask", "complete", "complete", "fail", "prune", "wait"])


@settings(deadline=None, max_examples=60, derandomize=True)
@given(data=st.data())
def test_a_reader_with_a_past_reads_like_a_new_one(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(abandoned, "_MAX_AGE", 3)
        patch.setattr(abandoned, "_MAX_ROUNDS", 1)
        patch.setattr(abandoned, "_LEAST_TIME", timedelta(0))
        study, reader = new_study(), TrialReader()
        for step in data.draw(st.lists(steps, min_size=10, max_size=35)):
            change(study, step, data)
            running = [t for t in study.get_trials(deepcopy=False) if t.state.name == "RUNNING"]
            # Any worker that is alive may ask.
            limit = max(3, len(running))
            alive = [t for t in running if running[-1].number - t.number <= limit]
            if alive:
                assert_reads_like_new(reader, study, data.draw(st.sampled_from(alive)))


def change(study: Study, step: str, data: st.DataObject) -> None:
    """One thing that happens to a study; any running trial may end, however old it is."""
    if step == "wait":
        study.enqueue_trial({"x": 0.1})
        return
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if step == "ask" or not running:
        high = float(data.draw(st.integers(1, 3)))
        study.ask({data.draw(st.sampled_from("xy")): FloatDistribution(0.0, high)})
        return
    number = data.draw(st.sampled_from(running)).number
    trial_id = study.trials[number]._trial_id
    value = data.draw(st.floats(-2, 2))
    if step != "fail":
        study._storage.set_trial_intermediate_value(trial_id, 1, value)
    state = {"complete": TrialState.COMPLETE, "fail": TrialState.FAIL, "prune": TrialState.PRUNED}
    study.tell(number, value if step == "complete" else None, state=state[step])


def storage_of(kind: str, folder: Any) -> BaseStorage | None:
    if kind == "journal":
        return JournalStorage(JournalFileBackend(str(folder / "journal")))
    return RDBStorage(f"sqlite:///{folder}/study.db") if kind == "database" else None


@pytest.mark.parametrize("kind", ["memory", "journal", "database"])
@pytest.mark.parametrize("first_is_dead", [True, False])
def test_dead_workers_do_not_hold_up_the_reader(
    kind: str, first_is_dead: bool, short_lives: int, tmp_path: Any
) -> None:
    study, reader = new_study(storage=storage_of(kind, tmp_path)), TrialReader()
    if not first_is_dead:
        add(study, value=0.0)
    dead = study.ask(X)
    for _ in range(4 * short_lives):
        add(study, value=1.0)

    def read() -> list[Record]:
        asking = study.ask()
        trial = study._storage.get_trial(asking._trial_id)
        assert_reads_like_new(reader, study, trial)
        records = reader.read(study, trial)
        study.tell(asking, 1.0)
        return records

    before = read()
    assert dead.number not in [record.number for record in before]
    # All trials but the latest are read once: the records are the same objects.
    again = read()
    assert all(one is two for one, two in zip(before, again, strict=False))
    assert len(reader._settled) == len(again)
    # The dead one returns.
    study.tell(dead, -7.0)
    assert read()[dead.number].score == 7.0
    assert read()[dead.number].score == 7.0


MINUTE = timedelta(minutes=1)


def study_with_times(
    lengths: list[timedelta],
    latest: timedelta,
    begin: timedelta = timedelta(0),
    state: TrialState = TrialState.COMPLETE,
) -> Study:
    """One trial runs from the start; others from ``begin`` on; the last begins at ``latest``."""
    study, start = new_study(), datetime(2026, 1, 1)

    def run(state: TrialState, begin: timedelta, end: timedelta | None = None) -> None:
        trial = create_trial(
            state=state,
            value=1.0 if state == TrialState.COMPLETE else None,
            params={"x": 0.5},
            distributions=X,
        )
        trial.datetime_start = start + begin
        trial.datetime_complete = None if end is None else start + end
        study.add_trial(trial)

    run(TrialState.RUNNING, timedelta(0))
    for length in lengths:
        run(state, begin, begin + length)
    run(TrialState.RUNNING, latest)
    return study


def is_given_up(study: Study) -> bool:
    """Whether the first trial is not seen by the last one."""
    asking = study.get_trials(deepcopy=False)[-1]
    assert_reads_like_new(TrialReader(), study, asking)
    return 0 not in [x.number for x in TrialReader().read(study, asking, fresh=True)]


SOME = [MINUTE, 2 * MINUTE, 10 * MINUTE, 3 * MINUTE, MINUTE]


@pytest.mark.parametrize(
    ("lengths", "latest", "expected"),
    [
        (SOME, 51 * MINUTE, True),
        (SOME, 50 * MINUTE, False),  # not yet five times as long as the longest
        (SOME[:4], 51 * MINUTE, False),  # who knows how long trials take here
        ([MINUTE / 60] * 5, MINUTE, False),  # a short while is no sign of death
        ([MINUTE / 60] * 5, 2 * MINUTE, True),
        ([10 * MINUTE, *[MINUTE] * 60], 50 * MINUTE, False),  # many fast ones after a slow one
    ],
)
def test_a_trial_that_runs_far_longer_than_others_is_given_up(
    lengths: list[timedelta], latest: timedelta, expected: bool
) -> None:
    study = study_with_times(lengths, latest)
    assert is_given_up(study) == expected
    # Who asks is alive, and sees the others as they are.
    stored = study.get_trials(deepcopy=False)
    own = [record.number for record in TrialReader().read(study, stored[0], fresh=True)]
    assert own == [x.number for x in stored[1:]]


def test_only_complete_trials_that_began_meanwhile_tell_how_long_trials_take() -> None:
    # Added from elsewhere: they have taken no time, and began before.
    assert not is_given_up(study_with_times([timedelta(0)] * 9, 90 * MINUTE, begin=-MINUTE))
    assert not is_given_up(study_with_times(SOME, 90 * MINUTE, state=TrialState.PRUNED))
    assert not is_given_up(study_with_times(SOME, 90 * MINUTE, state=TrialState.FAIL))
    assert is_given_up(study_with_times(SOME, 90 * MINUTE))


def test_times_with_and_without_a_zone_compare() -> None:
    study = study_with_times(SOME, 90 * MINUTE)
    study.get_trials(deepcopy=False)[0].datetime_start = datetime(2026, 1, 1).astimezone()
    assert is_given_up(study)


def test_a_slow_trial_counts_again_where_others_become_as_slow() -> None:
    study, reader = study_with_times([MINUTE] * 5, 6 * MINUTE), TrialReader()
    asking = study.get_trials(deepcopy=False)[-1]
    assert 0 not in [record.number for record in reader.read(study, asking, fresh=True)]
    slow = create_trial(value=1.0, params={"x": 0.1}, distributions=X)
    slow.datetime_start, slow.datetime_complete = datetime(2026, 1, 1), datetime(2026, 1, 2)
    study.add_trial(slow)
    assert 0 in [record.number for record in reader.read(study, asking, fresh=True)]


def test_many_workers_are_not_taken_for_dead() -> None:
    study, reader = new_study(), TrialReader()
    n_workers = 260  # more than the age at which a lone running trial is given up
    running = [study.ask(X) for _ in range(n_workers)]
    for k in range(40):
        study.tell(running[k], float(k))
        asking = study.ask(X)
    trial = study._storage.get_trial(asking._trial_id)
    records = reader.read(study, trial)
    pending = [record.number for record in records if record.outcome == Outcome.PENDING]
    assert pending == list(range(40, n_workers + 39))
    assert_reads_like_new(reader, study, trial)


def test_a_reader_that_is_given_another_study_starts_again(short_lives: int) -> None:
    reader = TrialReader()
    for n, value in ((12, 1.0), (12, 2.0), (5, 3.0)):
        study = new_study()
        study.ask(X)
        for k in range(n):
            add(study, value=value + k)
        study.ask()
        assert_reads_like_new(reader, study, study.get_trials(deepcopy=False)[-1])


def test_young_running_trials_are_not_given_up() -> None:
    """One that a slow worker may still see running is not settled."""
    study, reader = new_study(), TrialReader()
    slow = study.ask(X)
    study.add_trials([create_trial(params={"x": 0.5}, distributions=X, value=1.0)] * 199)
    slower = study.ask(X)
    study.add_trials([create_trial(params={"x": 0.5}, distributions=X, value=1.0)] * 199)
    late = study.ask()
    for number in (late.number, slower.number, late.number, slower.number):
        trial = study.get_trials(deepcopy=False)[number]
        assert_reads_like_new(reader, study, trial)
        seen = [record.number for record in reader.read(study, trial)]
        assert (slow.number in seen) == (number == slower.number)


def test_distributions_are_those_of_the_given_records() -> None:
    """Running trials count, whether settled ones come before them or not."""
    study, reader = new_study(), TrialReader()
    running = study.ask({"y": IntDistribution(0, 3)})
    add(study, value=1.0)
    assert set(reader.distributions(records_of(study, reader))) == {"x", "y"}
    study.tell(running, 1.0)
    study.ask({"z": FloatDistribution(0, 1), "y": IntDistribution(0, 9)})
    found = reader.distributions(records_of(study, reader))
    assert found == {**X, "y": IntDistribution(0, 9), "z": FloatDistribution(0, 1)}


def test_distributions_of_the_dead_are_forgotten(short_lives: int) -> None:
    study, reader = new_study(), TrialReader()
    add(study, value=1.0)
    study.ask({"y": IntDistribution(0, 3)})
    assert set(reader.distributions(records_of(study, reader))) == {"x", "y"}
    for _ in range(3 * short_lives):
        add(study, value=1.0)
    assert set(reader.distributions(records_of(study, reader))) == {"x"}


def written(study: Study, suggestion: Suggestion) -> FrozenTrial:
    study.ask()
    trials.write_suggestion(study, study.get_trials(deepcopy=False)[-1], suggestion)
    return study.get_trials(deepcopy=False)[-1]


def test_a_suggestion_is_read_back_by_others() -> None:
    study = new_study()
    suggestion = Suggestion({"x": 0.25, "kind": 2.0}, 3, -0.5, 1.25, 1e-9, 2e12)
    written(study, suggestion)
    record = records_of(study)[0]
    assert record.suggestion == suggestion
    assert record.outcome == Outcome.PENDING and record.params == suggestion.params


def test_an_unknown_expectation_survives_the_storage() -> None:
    study = new_study()
    written(study, Suggestion({"x": 0.25}))
    record = records_of(study)[0]
    assert record.suggestion.params == {"x": 0.25} and record.suggestion.kind == -1
    assert math.isnan(record.suggestion.mean) and math.isnan(record.suggestion.std)


def test_huge_suggestions_are_cut_to_what_storages_hold() -> None:
    study = new_study()
    trial = written(
        study, Suggestion({f"parameter_{k:06}": 1 / 3 for k in range(5000)}, 1, 0.0, 1.0)
    )
    assert len(trial.system_attrs[ATTRIBUTE]) < 65_000
    assert records_of(study)[0].suggestion.kind == 1


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        7,
        "",
        "{",
        "[]",
        "null",
        "3",
        '"text"',
        "{}",
        '{"params": 3}',
        '{"params": {"x": "y"}, "kind": 1, "mean": 0, "std": 1}',
        '{"params": {"x": NaN}, "kind": 1, "mean": 0, "std": 1}',
        '{"params": {"x": 1e999}, "kind": 1, "mean": 0, "std": 1}',
        '{"params": {}, "kind": NaN, "mean": 0, "std": 1}',
        '{"params": {}, "kind": 1e999, "mean": 0, "std": 1}',
        '{"params": {}, "kind": 1, "mean": null, "std": 1}',
        '{"params": {}, "kind": 1, "mean": 0}',
        "[" * 50_000,
        "x" * 100_000,
        {"params": {}},
    ],
    ids=range(20),
)
def test_garbage_is_a_blank_suggestion(garbage: object) -> None:
    blank = suggestions.read({ATTRIBUTE: garbage})
    assert blank.params == {} and blank.kind == -1
    assert math.isnan(blank.mean) and math.isnan(blank.std)


def frozen(params: dict[str, Any], system_attrs: dict[str, Any]) -> FrozenTrial:
    return create_trial(
        state=TrialState.RUNNING,
        params=params,
        distributions={name: X["x"] for name in params},
        system_attrs=system_attrs,
    )


def test_what_is_set_goes_before_what_is_enqueued_before_what_was_planned() -> None:
    distributions = {name: X["x"] for name in ("a", "b", "c", "d")}
    planned = {"params": {"a": 0.1, "b": 0.1, "c": 0.1, "z": 0.1}, "kind": 0, "mean": 0, "std": 1}
    trial = frozen(
        {"a": 0.3}, {ATTRIBUTE: json.dumps(planned), "fixed_params": {"a": 0.2, "b": 0.2, "y": 1}}
    )
    assert trials.imposed_params(new_study(), trial, distributions) == {
        "a": 0.3,
        "b": 0.2,
        "c": 0.1,
    }


def test_enqueued_values_that_do_not_fit_are_ignored() -> None:
    distributions = {"x": X["x"], "c": CategoricalDistribution(["a", "b"])}
    for bad in ({"x": "text"}, {"x": None}, {"x": float("nan")}, {"c": "other"}, {"w": 1}, 7):
        trial = frozen({}, {"fixed_params": bad})
        assert trials.imposed_params(new_study(), trial, distributions) == {}


def test_a_range_without_a_choice_does_not_replace_one_with_it() -> None:
    """``suggest_int("k", 1, n)`` where ``n`` is 1, unless it has been so for some time."""
    study = new_study()
    wide, single = IntDistribution(1, 7), IntDistribution(1, 1)
    ranges = Ranges()

    def read_after(distribution: IntDistribution) -> BaseDistribution:
        add(study, value=0.0, params={"k": 1}, distributions={"k": distribution})
        ranges.add(study.trials[-1])
        reader = TrialReader()
        records = reader.read(study, study.trials[-1])
        found = latest_distributions(record.trial for record in [*records])
        assert found == reader.distributions(records)
        return ranges.found["k"]

    assert read_after(single) == single
    assert read_after(wide) == wide
    assert [read_after(single) for _ in range(5)] == [wide] * 4 + [single]
    assert read_after(wide) == wide
    asked = ["k" in record.params for record in records_of(study)]
    # Fixed at first and in the end, and without a choice now and then.
    assert asked == [True, True, False, False, False, False, True, True]


def test_a_worker_is_given_up_in_a_list_without_some_trials() -> None:
    study = new_study()
    start = datetime(2026, 1, 1)
    for number in range(12):
        runs = number == 4
        trial = create_trial(state=TrialState.RUNNING) if runs else create_trial(value=0)
        trial.datetime_start = start + timedelta(hours=number)
        trial.datetime_complete = None if runs else trial.datetime_start + timedelta(minutes=1)
        study.add_trial(trial)
    stored = study.get_trials(deepcopy=False)
    for some in (stored, stored[4:]):
        assert Patience(some, 200).is_over(stored[4], 12)
