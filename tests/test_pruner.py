from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import copy
from datetime import datetime
from datetime import timedelta
import math
from pathlib import Path
import pickle
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import pytest

from optuna_rocket import RocketPruner
from optuna_rocket import RocketSampler
from optuna_rocket import curves
from optuna_rocket import pruner as package_pruner
from optuna_rocket.costs import COSTS
from optuna_rocket.curves import spending
from optuna_rocket.fidelity import forecast
from optuna_rocket.fidelity.calibration import Calibration
from optuna_rocket.fidelity.calibration import calibrate
from optuna_rocket.fidelity.forecast import Evidence
from optuna_rocket.fidelity.forecast import gather
from optuna_rocket.trials import CurveReader
from tests.support import open_storage
from tests.support import package_log


Curve = Callable[[float, int], float]
# Of a trial that no judgement lets pass.
NUMBER = 1001
STARTED = datetime(2026, 1, 1)


def falling(x: float, step: int) -> float:
    """A loss that every epoch brings nearer to x."""
    return x + 1 / (step + 1)


def add_curve(study: optuna.Study, x: float, last: int, n: int, curve: Curve = falling) -> None:
    """Add a trial that was pruned at report step ``last``, or complete with ``last`` of ``n``."""
    is_complete = last == n - 1
    study.add_trial(
        optuna.create_trial(
            state=TrialState.COMPLETE if is_complete else TrialState.PRUNED,
            value=curve(x, last),
            intermediate_values={step: curve(x, step) for step in range(last + 1)},
        )
    )


def stored_study(n_trials: int, n: int = 27, curve: Curve = falling) -> optuna.Study:
    study = optuna.create_study()
    for x in np.random.default_rng(0).random(n_trials):
        add_curve(study, float(x), n - 1, n, curve)
    return study


def running(number: int, x: float, step: int, curve: Curve = falling) -> FrozenTrial:
    """An unfinished trial that has reported up to ``step``."""
    trial = optuna.create_trial(
        state=TrialState.RUNNING,
        intermediate_values={s: curve(x, s) for s in range(step + 1)},
    )
    trial.number, trial.datetime_start = number, STARTED
    return trial


def verdicts(
    study: optuna.Study,
    x: float,
    step: int,
    n: int = 100,
    curve: Curve = falling,
    **options: Any,
) -> float:
    """Share of trial numbers that are stopped there, when they are asked about first."""
    pruner = RocketPruner(**options)
    trials = [running(k, x, step, curve) for k in range(1000, 1000 + n)]
    return float(np.mean([pruner.prune(study, trial) for trial in trials]))


def asked(study: optuna.Study, x: float, steps: Sequence[int]) -> list[int]:
    """The steps at which a trial that goes on all the same is told to stop."""
    pruner = RocketPruner()
    return [step for step in steps if pruner.prune(study, running(NUMBER, x, step))]


def test_hopeless_trials_are_stopped_and_good_ones_go_on() -> None:
    study = stored_study(30)
    assert verdicts(study, 0.9, 7) > 0.85
    assert verdicts(study, 0.001, 7) == 0


def test_some_hopeless_trials_pass() -> None:
    study = stored_study(30)
    assert 0.85 < verdicts(study, 0.95, 7, n=400) < 0.99
    number = next(k for k in range(1000) if not RocketPruner().prune(study, running(k, 0.95, 7)))
    others = [RocketPruner(seed=s).prune(study, running(number, 0.95, 7)) for s in range(20)]
    assert any(others), "who passes depends on the seed"


def test_nobody_is_stopped_before_enough_complete_trials() -> None:
    study = stored_study(3)
    for _ in range(20):
        add_curve(study, 0.5, 3, 27)
    assert verdicts(study, 5.0, 7) == 0
    assert verdicts(study, 5.0, 7, n_startup_trials=3) > 0.5


def test_the_first_trials_are_screened_at_a_ninth() -> None:
    study = stored_study(2)
    for x in (0.2, 0.4, 0.8):
        add_curve(study, x, 3, 27)
    assert [verdicts(study, 5.0, step) > 0.9 for step in range(3)] == [False, False, True]
    assert asked(study, 5.0, range(8)) == [2], "and once alone"
    assert asked(study, 5.0, (5, 6, 7)) == [5], "or where they are first asked about after it"
    assert verdicts(study, 0.01, 2) == 0, "the best go on"
    assert verdicts(optuna.create_study(), 5.0, 2) == 0, "and the first trial does"


def test_a_lucky_first_trial_does_not_stop_all_others() -> None:
    study = stored_study(1)
    add_curve(study, 0.5, 3, 27)
    assert verdicts(study, 5.0, 2) > 0.9
    add_curve(study, 0.5, 3, 27)
    assert verdicts(study, 5.0, 2) == 0, "two of three were stopped"


def test_screening_waits_where_complete_trials_contradict_it() -> None:
    def misleading(x: float, step: int) -> float:
        return x if step > 20 else -x

    honest, misled = optuna.create_study(), optuna.create_study()
    for x in (0.2, 0.6):
        add_curve(honest, x, 26, 27)
        add_curve(misled, x, 26, 27, misleading)
    assert verdicts(honest, 0.9, 2) > 0.9
    pruner = RocketPruner()
    assert not any(pruner.prune(misled, running(k, 0.1, 2, misleading)) for k in range(50))


def test_a_trial_that_has_not_begun_to_learn_is_waited_for() -> None:
    def asleep(x: float, step: int) -> float:
        return 2.0 + 0.001 * x * step

    study = stored_study(30)
    pruner = RocketPruner()
    for expected in (0, 0, 1):
        stops = [pruner.prune(study, running(k, 0.5, 7, asleep)) for k in range(1000, 1100)]
        assert (np.mean(stops) > 0.85) == bool(expected)
        add_curve(study, 0.5, 26, 27, asleep)


def test_a_rejected_start_still_ends() -> None:
    """Screening keeps a share of the trials, so that the forecast has its complete ones."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0), pruner=RocketPruner())

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for step in range(27):
            trial.report(falling(x, step), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return falling(x, 26)

    study.optimize(objective, n_trials=25)
    states = [trial.state for trial in study.trials]
    assert states[0] == TrialState.COMPLETE
    assert 4 <= states.count(TrialState.COMPLETE) <= 15


def test_epochs_go_on_from_each_other() -> None:
    spent = spending(CurveReader().read(stored_study(1))[0])
    assert (spent(13), spent(26)) == (14 / 27, 1), "the first one is epoch 0"


@pytest.mark.parametrize(
    ("more", "shares"),
    [
        ({}, (100 / 1300, 400 / 1300, 1)),
        ({"examples": [100, 200, 600], "warm": True}, (100 / 900, 300 / 900, 1)),
        ({"seconds": "none"}, (100 / 900, 300 / 900, 1)),
    ],
    ids=["from nothing", "from what the last left", "unreadable"],
)
def test_subsets_cost_the_examples_that_their_rounds_took(
    more: dict[str, object], shares: tuple[float, ...]
) -> None:
    study = optuna.create_study()
    study.add_trial(
        optuna.create_trial(
            value=0.1,
            intermediate_values={100: 0.5, 300: 0.3, 900: 0.1},
            user_attrs={COSTS: {"steps": [100, 300, 900], "seconds": [1, 1, 1], **more}},
        )
    )
    spent = spending(CurveReader().read(study)[0])
    assert tuple(map(spent, (100, 300, 900))) == shares


@pytest.mark.parametrize("n", [2, 30])
@pytest.mark.parametrize("power", [17, 19, 400])
def test_large_amounts_of_effort_are_steps_like_others(power: int, n: int) -> None:
    def reports(x: float, last: int) -> dict[int, float]:
        return {10**power * k: falling(x, k) for k in (1, 3, 9, 27) if k <= last}

    study = optuna.create_study()
    for x in np.random.default_rng(0).random(n).tolist():
        study.add_trial(optuna.create_trial(value=x, intermediate_values=reports(x, 27)))
    pruner, stopped = RocketPruner(), {0.001: 0, 0.95: 0}
    with package_log("pruner") as messages:
        for x in stopped:
            for number in range(100, 200):
                trial = optuna.create_trial(
                    state=TrialState.RUNNING, intermediate_values=reports(x, 3)
                )
                trial.number = number
                stopped[x] += pruner.prune(study, trial)
    assert messages == []
    assert stopped[0.001] == 0 and stopped[0.95] > 85


def test_nobody_is_stopped_at_the_end() -> None:
    study = stored_study(30)
    for step in (26, 30):
        assert verdicts(study, 0.99, step) == 0


def test_a_trial_is_judged_at_few_steps() -> None:
    judged = asked(stored_study(30), 0.99, range(26))
    assert 4 <= len(judged) <= 9
    assert 7 in judged and 8 not in judged, "they are on the same rung"


def test_trials_that_ask_seldom_are_judged_when_they_ask() -> None:
    study = stored_study(30)
    assert asked(study, 0.99, (8, 18)) == [8, 18]
    assert asked(study, 0.99, (7, 8)) == [7]


def test_the_same_question_gets_the_same_answer() -> None:
    study, pruner = stored_study(30), RocketPruner()
    for step in (7, 7, 11, 11):
        assert pruner.prune(study, running(NUMBER, 0.99, step)), step
    assert not pruner.prune(study, running(NUMBER, 0.99, 12))
    assert pruner.prune(study, running(NUMBER, 0.99, 11))


def test_where_trials_were_judged_is_forgotten_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(package_pruner, "_MOST_JUDGED", 5)
    study, pruner = stored_study(30), RocketPruner()
    for number in range(1000, 1020):
        pruner.prune(study, running(number, 0.99, 7))
        assert len(pruner._judged) <= 5


def test_nobody_is_stopped_before_anyone_learns() -> None:
    def warming_up(x: float, step: int) -> float:
        return 2.0 - x * 1e-3 if step < 9 else falling(x, step - 9)

    study = stored_study(30, curve=warming_up)
    assert [verdicts(study, 0.9, step, curve=warming_up) > 0.5 for step in (1, 3, 8, 18)] == [
        False,
        False,
        False,
        True,
    ]


def test_steps_that_do_not_count_from_the_beginning_are_told_of() -> None:
    late = optuna.create_study()
    for x in (0.1, 0.5, 0.9, 0.3, 0.7):
        reports = {10_000 + step: falling(x, step) for step in range(27)}
        late.add_trial(optuna.create_trial(value=x, intermediate_values=reports))
    pruner = RocketPruner()
    trial = optuna.create_trial(state=TrialState.RUNNING, intermediate_values={10_000: 1.0})
    with package_log("pruner") as messages:
        for _ in range(3):
            pruner.prune(late, trial)
        RocketPruner().prune(stored_study(5), running(NUMBER, 0.5, 7))
    assert len(messages) == 1 and "steps 10000 to 10026" in messages[0]


def test_a_trial_that_breaks_down_is_not_asleep() -> None:
    study = stored_study(30)

    def breaking(loss: float) -> Curve:
        return lambda x, step: falling(x, step) if step < 5 else loss

    for loss in (math.inf, 50.0):
        assert verdicts(study, 0.9, 7, curve=breaking(loss)) > 0.85


def test_more_risk_stops_more() -> None:
    rng = np.random.default_rng(0)
    noise: dict[tuple[float, int], float] = {}

    def noisy(x: float, step: int) -> float:
        return x + noise.setdefault((x, step), float(rng.normal()) / (step + 1))

    study = stored_study(40, curve=noisy)
    shares = []
    for risk in (0.01, 0.1, 1.0):
        pruner = RocketPruner(risk=risk)
        stops = [pruner.prune(study, running(k, k / 200, 3, noisy)) for k in range(200)]
        shares.append(np.mean(stops))
    assert shares[0] < shares[1] < shares[2]


def test_late_bloomers_are_spared() -> None:
    def bloom(x: float, step: int) -> float:
        """Two fifths of the trials do nothing before they become the best."""
        late = x > 0.6
        return (2.0 if step < 20 else x - 0.7) if late else falling(x, step)

    study = stored_study(40, curve=bloom)
    pruner = RocketPruner()
    stops = [pruner.prune(study, running(k, 0.8, 7, bloom)) for k in range(100)]
    assert not any(stops)
    # without them the same trial is hopeless
    assert verdicts(stored_study(40), 0.8, 7) > 0.8


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_directions_mirror(direction: Any) -> None:
    sign = 1 if direction == "minimize" else -1
    study = optuna.create_study(direction=direction)
    for x in np.random.default_rng(0).random(20):
        add_curve(study, float(x), 26, 27, lambda x, step: sign * falling(x, step))
    pruner = RocketPruner()
    bad = [
        pruner.prune(study, running(k, 0.9, 7, lambda x, s: sign * falling(x, s)))
        for k in range(40)
    ]
    good = [
        pruner.prune(study, running(k, 0.01, 7, lambda x, s: sign * falling(x, s)))
        for k in range(40)
    ]
    assert np.mean(bad) > 0.8
    assert not any(good)


def test_nan_counts_as_the_worst() -> None:
    study = stored_study(30)
    pruner = RocketPruner()
    stops = [pruner.prune(study, running(k, math.nan, 7)) for k in range(100)]
    assert np.mean(stops) > 0.8


def test_odd_trials_are_endured() -> None:
    study = stored_study(20)
    for value in (math.inf, -1e308, 1e308):
        add_curve(study, value, 26, 27)
    for values in ({}, {0: math.nan}, {0: math.inf}, {5: -math.inf, 2: 0.0}):
        study.add_trial(optuna.create_trial(state=TrialState.PRUNED, intermediate_values=values))
        study.add_trial(optuna.create_trial(state=TrialState.FAIL, intermediate_values=values))
    study.add_trial(optuna.create_trial(value=0.5))
    study.add_trial(optuna.create_trial(state=TrialState.WAITING))
    pruner = RocketPruner()
    with package_log("pruner") as messages:
        for score in (math.nan, math.inf, -math.inf, 0.5):
            for step in (0, 3, 25):
                assert pruner.prune(study, running(900, score, step)) in (True, False)
        assert pruner.prune(study, optuna.create_trial(state=TrialState.RUNNING)) is False
    assert not messages


def test_constant_values_stop_nobody() -> None:
    study = stored_study(20, curve=lambda x, step: 1.0)
    assert verdicts(study, 1.0, 7) == 0


def test_no_trial_depends_on_the_pruner_working() -> None:
    class Broken(RocketPruner):
        def _judge(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            raise ZeroDivisionError("by zero")

    pruner = Broken()
    study = stored_study(20)
    with package_log("pruner") as messages:
        assert not any(pruner.prune(study, running(k, 0.9, 7)) for k in range(5))
    assert len(messages) == 1
    assert "ZeroDivisionError: by zero" in messages[0]


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    for step in range(27):
        trial.report(falling(x, step), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return falling(x, 26)


@pytest.mark.parametrize(
    "sampler",
    [
        lambda: optuna.samplers.TPESampler(seed=0),
        lambda: optuna.samplers.RandomSampler(seed=0),
        lambda: RocketSampler(seed=0),
    ],
)
def test_studies_with_any_sampler(sampler: Callable[[], optuna.samplers.BaseSampler]) -> None:
    study = optuna.create_study(sampler=sampler(), pruner=RocketPruner())
    with package_log("pruner") as messages:
        study.optimize(objective, n_trials=25)
    assert not messages
    assert study.best_trial.state == TrialState.COMPLETE
    # A sampler that soon suggests good configurations alone leaves little to stop.
    assert sum(t.state == TrialState.PRUNED for t in study.trials) >= 2
    for trial in study.trials:
        if trial.state == TrialState.PRUNED:
            assert trial.last_step is not None
            assert trial.last_step < 26


def test_a_judgement_needs_the_stored_trials_alone(tmp_path: Path) -> None:
    """One pruner throughout, a new one for each trial, another storage: the same study."""
    outcomes = []
    for place in (None, str(tmp_path / "study.log")):
        for is_new in (False, True):
            study = optuna.create_study(
                storage=None if place is None else open_storage(place),
                study_name=f"study {is_new}",
                sampler=optuna.samplers.RandomSampler(seed=0),
                pruner=RocketPruner(),
            )
            for _ in range(60):
                if is_new:
                    study.pruner = RocketPruner()
                study.optimize(objective, n_trials=1)
            outcomes.append([(t.state, t.last_step) for t in study.trials])
    assert all(outcome == outcomes[0] for outcome in outcomes)


def test_threads_share_a_pruner() -> None:
    study = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=0), pruner=RocketPruner()
    )
    with package_log("pruner") as messages:
        study.optimize(objective, n_trials=60, n_jobs=4)
    assert not messages
    assert {t.state for t in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_copies_and_pickles_judge_alike() -> None:
    study = stored_study(20)
    pruner = RocketPruner(risk=0.2, seed=3)
    before = [pruner.prune(study, running(k, 0.4, 7)) for k in range(20)]
    for twin in (copy.deepcopy(pruner), pickle.loads(pickle.dumps(pruner))):
        assert [twin.prune(study, running(k, 0.4, 7)) for k in range(20)] == before


def test_one_pruner_serves_two_studies() -> None:
    easy, hard = stored_study(20), stored_study(20, curve=lambda x, s: 10 + falling(x, s))
    shared = RocketPruner()
    for k in range(20):
        for study in (easy, hard):
            trial = running(k, 0.5, 7)
            assert shared.prune(study, trial) == RocketPruner().prune(study, trial)


def test_studies_of_the_same_name_are_told_apart() -> None:
    study, pruner = stored_study(2), RocketPruner()
    for x in (0.2, 0.4, 0.8):
        add_curve(study, x, 3, 27)
    other = running(NUMBER, 0.01, 20)
    other.datetime_start = STARTED - timedelta(1)
    assert not pruner.prune(study, other)
    assert pruner.prune(study, running(NUMBER, 5.0, 2)), "screened as in a study of its own"


def test_curves_that_fall_before_they_rise_are_judged() -> None:
    def dip(x: float, step: int) -> float:
        return x + 2 * math.sin(min(step, 20) / 20 * math.pi) - 0.1 * (step > 20)

    assert verdicts(stored_study(30, curve=dip), 0.99, 7, curve=dip) > 0.85


def test_judgements_share_what_they_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    study = stored_study(300)
    for i, x in enumerate(np.random.default_rng(1).random(700)):
        add_curve(study, float(x), (1, 2, 4, 7, 11)[i % 5], 27)
    n_fits = n_arranged = 0

    def counted_fit(*arguments: Any) -> Calibration:
        nonlocal n_fits
        n_fits += 1
        return calibrate(*arguments)

    def counted_gathering(*arguments: Any) -> Evidence:
        nonlocal n_arranged
        n_arranged += 1
        return gather(*arguments)

    monkeypatch.setattr(forecast, "calibrate", counted_fit)
    monkeypatch.setattr(curves, "gather", counted_gathering)
    pruner = RocketPruner()
    for k in range(40):
        pruner.prune(study, running(k, 0.5, (3, 7)[k % 2]))
    # One fit for each rung where trials were pruned, and one for each that is asked about.
    assert n_arranged == 1 and n_fits <= 5 + 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"risk": 0}, "risk=0"),
        ({"risk": math.nan}, "risk=nan"),
        ({"risk": "a"}, "risk='a'"),
        ({"risk": True}, "risk=True"),
        ({"n_startup_trials": 2}, "n_startup_trials=2"),
        ({"n_startup_trials": 3.5}, "n_startup_trials=3.5"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": None}, "seed=None is not an integer of at least 0"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RocketPruner(**options)


def test_only_a_feasible_trial_is_the_level_to_beat() -> None:
    stopped = {}
    for limit in (0.0, 0.5):
        study = optuna.create_study()
        for x in np.random.default_rng(0).random(30):
            study.add_trial(
                optuna.create_trial(
                    value=falling(float(x), 26),
                    intermediate_values={step: falling(float(x), step) for step in range(27)},
                    constraints={"c": limit - float(x)},
                )
            )
        stopped[limit] = verdicts(study, 0.45, 7)
    assert stopped[0.0] > 0.85 and stopped[0.5] == 0  # it would be the best feasible one


def test_the_best_trial_counts_whether_it_reported_or_not() -> None:
    """As in the explanations: baselines and imported trials have a value alone."""
    study = stored_study(30)
    assert verdicts(study, 0.03, 7, n=20) == 0
    study.add_trial(optuna.create_trial(value=5.0))
    study.add_trial(optuna.create_trial(value=-9.0, constraints={"c": 1.0}))
    standings = CurveReader().standings(study)
    assert (standings.best, standings.n_complete) == (-study.best_value, 30)
    study.add_trial(optuna.create_trial(value=-0.2))
    standings = CurveReader().standings(study)
    assert (standings.best, standings.n_complete) == (0.2, 30)
    assert verdicts(study, 0.03, 7, n=20) > 0.8
