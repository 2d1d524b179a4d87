"""What is said once: by threads, in copies, in all that warn."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
import copy
import pickle
import sys
import threading

import optuna
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket.experience import Experience
from optuna_rocket.once import Once
from tests.support import package_log


N_THREADS = 8


def test_each_topic_is_first_once() -> None:
    once = Once()
    assert [once.is_first(topic) for topic in ("a", "b", "a", ("a", 1), ("a", 1), ValueError)] == [
        *(True, True, False),
        *(True, False, True),
    ]


def test_of_several_threads_one_is_first() -> None:
    once, start = Once(), threading.Barrier(N_THREADS)

    def ask(_: int) -> list[bool]:
        start.wait()
        return [once.is_first(topic) for topic in range(3000)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(N_THREADS) as pool:
            answers = list(pool.map(ask, range(N_THREADS)))
    finally:
        sys.setswitchinterval(interval)
    assert [sum(of_topic) for of_topic in zip(*answers, strict=True)] == [1] * 3000


def test_copies_know_what_was_said_and_go_on_by_themselves() -> None:
    once = Once()
    once.is_first("a")
    # Processes of a cluster are handed pickled samplers. What is read here was written here.
    for twin in (copy.copy(once), copy.deepcopy(once), pickle.loads(pickle.dumps(once))):
        assert not twin.is_first("a") and twin.is_first("b")
    assert once.is_first("b")


def test_it_is_copied_while_others_go_on() -> None:
    once, is_over = Once(), threading.Event()

    def fill() -> None:
        for topic in range(200_000):
            once.is_first(topic)
        is_over.set()

    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill)
        while not is_over.is_set():
            pickle.dumps(once)
        filling.result()


# Those who warn


def meeting() -> Callable[[], None]:
    """Lets two threads come to the same place, each as often as the other, or one go on alone."""
    barrier = threading.Barrier(2)

    def meet() -> None:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(timeout=1)

    return meet


def in_two_threads(call: Callable[[], object]) -> None:
    with ThreadPoolExecutor(2) as pool:
        for called in [pool.submit(call) for _ in range(2)]:
            called.result()


def test_a_pruner_in_two_threads_reports_a_failure_once(monkeypatch: pytest.MonkeyPatch) -> None:
    meet = meeting()

    class Kind(type):
        def __hash__(cls) -> int:
            meet()  # whatever looks a kind of error up may be interrupted there
            return super().__hash__()

    class Broken(Exception, metaclass=Kind):
        pass

    def broken(*_: object) -> bool:
        raise Broken

    monkeypatch.setattr(RocketPruner, "_judge", broken)
    pruner, study = RocketPruner(), optuna.create_study()
    trial = optuna.create_trial(state=TrialState.RUNNING)
    with package_log("pruner") as messages:
        in_two_threads(lambda: pruner.prune(study, trial))
    assert len(messages) == 1 and "The forecast failed" in messages[0]


def test_experience_in_two_threads_is_told_of_once() -> None:
    meet = meeting()

    class Line(str):
        def __hash__(self) -> int:
            meet()
            return super().__hash__()

    experience = Experience([], {})
    with package_log("experience") as messages:
        in_two_threads(lambda: experience.tell(Line("a source is read turned round")))
    assert messages == ["a source is read turned round"]


def test_a_copied_sampler_does_not_repeat_itself() -> None:
    sampler = RocketSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    huge = IntDistribution(-(10**400), 10**400)
    with package_log("sampler") as messages:
        sampler.sample_independent(study, study.ask()._cached_frozen_trial, "huge", huge)
        # As joblib and multiprocessing hand samplers on: what is read was written here.
        for twin in (sampler, copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
            twin.sample_independent(study, study.ask()._cached_frozen_trial, "huge", huge)
    assert len(messages) == 1 and "'huge'" in messages[0]
