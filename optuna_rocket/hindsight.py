"""The agent's view of a study, now or as it was for an earlier trial, recomputed from storage.

A suggestion is a function of the trials that were stored when it was made, so what the agent
believed then can be computed again at any time. What had finished by then is told by the stored
times: clocks of workers that differ, and trials that were copied in from other studies, blur it.
The agent is that of ``study.sampler`` where this is a ``RocketSampler``, else the shipped one.
Nothing is written to the storage. ``m`` is the number of the study's objectives.
"""

from __future__ import annotations

from collections.abc import Sequence
import copy

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_rocket import suggester
from optuna_rocket import suggestions
from optuna_rocket import trials
from optuna_rocket.agent import many_goals
from optuna_rocket.agent import memory
from optuna_rocket.agent import policy
from optuna_rocket.agent import weights_file
from optuna_rocket.agent.many_goals import Beliefs
from optuna_rocket.agent.policy import Belief
from optuna_rocket.moments import may_precede
from optuna_rocket.quiet import quietly
from optuna_rocket.records import Record
from optuna_rocket.records import latest_distributions
from optuna_rocket.sampler import RocketSampler
from optuna_rocket.space import Space
from optuna_rocket.space import modelled
from optuna_rocket.suggester import Suggester
from optuna_rocket.view import View


def agent_of(study: Study) -> Suggester:
    """An agent of its own, so that the sampler's caches stay as they are.

    Several looks at one study by one agent are quicker: what it believed of the first trials, it
    need not work out again.
    """
    sampler, _ = trials.unwrapped(study.sampler)
    if isinstance(sampler, RocketSampler):
        return suggester.load(sampler.checkpoint, sampler.n_trials, sampler.experience())
    return suggester.load(weights_file.SHIPPED, None)


@quietly()
def look(study: Study, agent: Suggester | None = None, *, with_controls: bool = True) -> View:
    """The view that the next trial's suggestion would have.

    Args:
        study: The study.
        agent: From ``agent_of``, a new one for None.
        with_controls: Whether it leaves experience aside where that suggestion would.
    """
    stored = study.get_trials(deepcopy=False)
    records = trials.records_of(study, stored, len(stored))
    return _view(study, records, {}, agent, with_controls)


@quietly()
def look_back(study: Study, trial: FrozenTrial, agent: Suggester | None = None) -> View:
    """The view that the agent had when ``trial`` started; ``agent`` as for ``look``."""
    stored = [
        _as_of(other, trial)
        for other in study.get_trials(deepcopy=False)
        if _was_there(other, trial)
    ]
    records = trials.records_of(study, stored, trial.number)
    own = trial.distributions
    if suggestions.of_trial(trial).kind >= 0:
        # As a whole it was suggested before it had any range: over those of earlier trials.
        own = own | latest_distributions(record.trial for record in records)
    return _view(study, records, own, agent)


def require_single_objective(study: Study, what: str, why: str) -> None:
    """Raise ``ValueError`` in studies of several objectives, with the reason."""
    if len(study.directions) > 1:
        raise ValueError(
            f"{what} is for studies of one objective and this one has {len(study.directions)}: "
            f"{why}."
        )


def objective_names(study: Study) -> list[str]:
    """What the study or, without ``set_metric_names``, Optuna's plots call the objectives."""
    if study.metric_names:
        return list(study.metric_names)
    if len(study.directions) == 1:
        return ["Objective Value"]
    return [f"Objective {k}" for k in range(len(study.directions))]


def _view(
    study: Study,
    records: Sequence[Record],
    own: dict[str, BaseDistribution],
    agent: Suggester | None,
    with_controls: bool = True,
) -> View:
    """The agent's view of some records; ``own`` are the ranges of the trial that it is for."""
    known = latest_distributions(record.trial for record in records)
    # A parameter that no earlier trial had was asked for by itself, later.
    space = Space(modelled({name: own.get(name, known[name]) for name in known} or own))
    suggester = agent_of(study) if agent is None else agent
    history, geometry, beliefs, goals = suggester.believe(records, space)
    guide, names = suggester.guidance(records, space, goals)
    if len(study.directions) > 1:
        guide, names = None, ()  # before the first trial nothing else tells that there are several
    several = None
    if goals is not None and isinstance(beliefs, Beliefs):
        several = many_goals.remember(history, goals, geometry, beliefs)
        remembered = several.objectives
    else:
        assert isinstance(beliefs, Belief)
        heeded = policy.heeded(guide, history, geometry) if with_controls else guide
        context = memory.context(history, geometry)
        remembered = memory.condition(context, geometry, beliefs.weights, heeded)
    return View(
        study,
        records,
        space,
        history,
        geometry,
        goals,
        beliefs,
        remembered,
        several,
        suggester,
        guide,
        names,
    )


def _was_there(other: FrozenTrial, trial: FrozenTrial) -> bool:
    """Whether ``other`` had started when ``trial`` did, which itself had."""
    if other.number == trial.number:
        return True
    if other.state == TrialState.WAITING:
        return False
    if other.number > trial.number and not trials.has_waited(trial):
        return False  # numbers are given out in order, unless a trial waited in the queue
    return may_precede(other.datetime_start, trial.datetime_start)


def _as_of(other: FrozenTrial, trial: FrozenTrial) -> FrozenTrial:
    """A trial as it was when ``trial`` started: still running where it ended later."""
    had_ended = may_precede(other.datetime_complete, trial.datetime_start)
    if not other.state.is_finished() or (had_ended and other.number != trial.number):
        return other
    earlier = copy.copy(other)
    earlier.state, earlier.values, earlier.intermediate_values = TrialState.RUNNING, None, {}
    return earlier
