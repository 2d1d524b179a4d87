"""Why this configuration? ``explain`` answers for one trial, from what is stored."""

from __future__ import annotations

from dataclasses import fields
from dataclasses import replace
import math
from types import MappingProxyType
from typing import Any

from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import torch
from torch import Tensor

from optuna_rocket import alternatives
from optuna_rocket import bands
from optuna_rocket import constraints
from optuna_rocket import forecasts
from optuna_rocket import fronts
from optuna_rocket import hindsight
from optuna_rocket import instances
from optuna_rocket import retries
from optuna_rocket import suggestions
from optuna_rocket import trials
from optuna_rocket.agent.improvement import RULE_FROM
from optuna_rocket.agent.memory import Reading
from optuna_rocket.agent.policy import Turn
from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.history import History
from optuna_rocket.history import Outcome
from optuna_rocket.quiet import quietly
from optuna_rocket.reasons import Explanation
from optuna_rocket.reasons import ObjectiveOutlook
from optuna_rocket.reasons import Origin
from optuna_rocket.records import Rungs
from optuna_rocket.records import internal_params
from optuna_rocket.records import record_of
from optuna_rocket.rows import finite_scores
from optuna_rocket.suggester import Suggester
from optuna_rocket.suggestions import Suggestion
from optuna_rocket.view import View
from optuna_rocket.wording import paragraph


def explain(study: Study, trial_number: int) -> Explanation:
    """Why a trial has the configuration that it has, and what the agent thought of it.

    Works for trials in every state and by every sampler, with one objective or several; nothing is
    written. A few values are stored with the trial, the others are recomputed from the trials
    before it: ``Explanation`` says which. The agent is that of ``study.sampler`` where this is a
    ``RocketSampler``, else the shipped one, so load a study of another agent with its sampler.

    Example:
        ```python
        print(explain(study, study.best_trial.number))
        ```

    Args:
        study: A study.
        trial_number: Number of one of its trials.

    Raises:
        ValueError: If the study has no such trial.
    """
    return explain_by(None, study, trial_number)


@quietly()
def explain_by(agent: Suggester | None, study: Study, trial_number: int) -> Explanation:
    """``explain`` by an agent from ``hindsight.agent_of``, a new one for None."""
    trial = _find(study, trial_number)
    found = _blank(study, trial)
    if trial.state != TrialState.WAITING:
        found = _look_back(found, study, trial, agent)
    return replace(found, text=paragraph(found))


def _find(study: Study, number: int) -> FrozenTrial:
    stored = study.get_trials(deepcopy=False)
    for trial in stored:
        if trial.number == number and not isinstance(number, bool):
            return trial
    held = f"numbers 0 to {stored[-1].number}" if stored else "no trials yet"
    raise ValueError(
        f"trial_number={number!r} is not in the study, which has {held}. Use the `number` of one "
        "of study.trials."
    )


def _blank(study: Study, trial: FrozenTrial) -> Explanation:
    """What is known of a trial without the agent."""
    names, directions = hindsight.objective_names(study), study.directions
    values = [*(trial.values or ()), *([None] * len(names))][: len(names)]
    is_single = len(names) == 1
    stop = instances.at_stop(study, trial) if is_single else None
    if stop is not None:
        values = [stop.mean]
    return Explanation(
        number=trial.number,
        trial_state=trial.state.name,
        origin="waiting",
        objectives=tuple(
            ObjectiveOutlook(name, direction == StudyDirection.MINIMIZE, value)
            for name, direction, value in zip(names, directions, values, strict=True)
        ),
        constraints=MappingProxyType(constraints.read(trial.system_attrs)),
        forecast=forecasts.forecast_at_stop(study, trial) if is_single else None,
        instances=stop,
    )


def _look_back(
    blank: Explanation, study: Study, trial: FrozenTrial, agent: Suggester | None
) -> Explanation:
    """Add what was known when the trial started."""
    suggestion = trials.stored_suggestion(trial)
    enqueued = tuple(sorted(trials.enqueued_params(trial, trial.distributions)))
    origin: Origin = "unknown" if suggestion is None else "agent"
    if suggestion is None and not trial.params:
        origin = "none"
    elif suggestion is None and set(enqueued) >= set(trial.params):
        origin = "enqueued"
    view = hindsight.look_back(study, trial, agent)
    sources, priors = view.influences()
    n_scored = int(torch.isfinite(view.scores).all(0).sum())
    turn = view.turn
    known = replace(
        blank,
        origin=origin,
        enqueued=enqueued,
        replaced=suggestions.replaced_params(trial),
        earlier_runs=tuple(sorted(retries.retried_numbers(trial.system_attrs))),
        n_finished=sum(record.outcome != Outcome.PENDING for record in view.records),
        n_running=sum(record.outcome == Outcome.PENDING for record in view.records),
        n_scored=n_scored,
        is_start=turn is Turn.START or (n_scored < RULE_FROM and turn is not Turn.GUIDED),
        is_elsewhere=turn is Turn.ELSEWHERE,
        n_best=int(view.counted[view.front].sum()),
        is_best=trial.number in best_numbers(study),
        sources=MappingProxyType(sources),
        priors=MappingProxyType(priors),
    )
    if origin == "none" or not len(view.space):
        return known
    return _consider(known, view, trial, suggestion)


def best_numbers(study: Study) -> list[int]:
    """Numbers of the best trials today: one, or those on the front, the best compromise first.

    As ``study.best_trials``, but for attributes of others that make no sense.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    feasible = torch.tensor([constraints.is_feasible(x.system_attrs) for x in complete])
    allowed = feasible.nonzero()[:, 0]
    if not len(allowed):
        return []
    signs = torch.tensor(trials.score_signs(study), dtype=torch.float64)
    scores = signs[:, None] * torch.tensor([x.values for x in complete], dtype=torch.float64).T
    if len(signs) == 1:
        return [complete[int(allowed[scores[0, allowed].argmax()])].number]
    front = fronts.final_front(scores, feasible)
    # As the agent reads them: beside an infinite one all others of an objective would be alike.
    finite = [torch.from_numpy(finite_scores(row.numpy())) for row in scores]
    first = fronts.compromise(torch.stack(finite), front)
    return [complete[i].number for i in [first, *(i for i in front if i != first)]]


def _consider(
    known: Explanation, view: View, trial: FrozenTrial, suggestion: Suggestion | None
) -> Explanation:
    """Add what the agent thinks of the trial's configuration."""
    record = record_of(trial, trials.score_signs(view.study), Rungs())
    if suggestion is not None and record.may_have_stopped:  # what it did not come to
        record = replace(record, params={**suggestion.params, **record.params})
    units, active = view.encode(record)
    reading, feasibility = view.read(units, active)
    is_stored = suggestion is not None and math.isfinite(suggestion.mean + suggestion.std)
    if suggestion is not None and is_stored:
        reading.mean[0], reading.std[0] = suggestion.mean, suggestion.std
    bounds = _bounds(view, is_stored)
    outlooks = [_outlook(x, view, reading, k, bounds) for k, x in enumerate(known.objectives)]
    kind = suggestion.kind if suggestion is not None else -1
    nearest, distance = view.nearest(units, view.front)
    return replace(
        known,
        objectives=tuple(outlooks),
        kind=PROPOSAL_KINDS[kind] if 0 <= kind < len(PROPOSAL_KINDS) else None,
        is_recomputed=not is_stored,
        failure=float(reading.failure[0]),
        feasibility=float(feasibility),
        incumbent=view.records[nearest].number if nearest is not None else None,
        distance=distance,
        hypervolume_gain=view.hypervolume_gain(reading),
        **_standing(view, trial, units, active, kind),
    )


def _bounds(view: View, is_suggested: bool) -> Tensor:
    """Bounds ``(2,)`` of ``bands``; only with one free objective is the latter's past known."""
    if not is_suggested:
        return bands.function(view.history.n_trials)[0]
    past = _with_what_ran(view) if view.goals is None else view.history.first(0)
    return bands.outcome(bands.errors(past, view.geometry))[0]


def _with_what_ran(view: View) -> History:
    """The history, without what was expected of suggestions of which something else ran."""
    stale = [i for i, x in enumerate(view.records) if suggestions.replaced_params(x.trial)]
    predicted = view.history.predicted.clone()
    predicted[0, stale] = math.nan
    return replace(view.history, predicted=predicted)


def _outlook(
    of: ObjectiveOutlook, view: View, reading: Reading, k: int, bounds: Tensor
) -> ObjectiveOutlook:
    """Add what was expected of objective ``k``; ``bounds`` are those of ``bands``."""
    mean, std = float(reading.mean[k]), float(reading.std[k])
    (expected,) = view.values(reading.mean[k], k)
    return replace(
        of,
        mean=mean,
        std=std,
        expected=expected,
        interval=view.interval(mean + std * bounds, k),
        told_apart=view.told_apart(k),
        relevance=MappingProxyType(view.relevance(k)),
    )


def _standing(
    view: View, trial: FrozenTrial, units: Tensor, active: Tensor, kind: int
) -> dict[str, Any]:
    """The configuration among others: what ``Explanation`` says of it, by name."""
    held = trials.unwrapped(view.study.sampler)[1]  # as the trial ran it, if it did
    own = {name: x for name, x in trial.params.items() if name in held and x == held[name]}
    enqueued = internal_params(own, view.space.distributions)
    enqueued |= trials.enqueued_params(trial, view.space.distributions)
    if set(enqueued) >= set(view.space.names):
        return {}
    known = kind if 0 <= kind < len(PROPOSAL_KINDS) else PROPOSAL_KINDS.index("random")
    standing = alternatives.compare(view, units, active, known, enqueued, seed=trial.number)
    return {field.name: getattr(standing, field.name) for field in fields(standing)}


@quietly()
def influence(study: Study) -> dict[str, float]:
    """How much each earlier study counts for the next trial: name to influence, greatest first.

    See ``Explanation.sources``; those with a negative influence are read turned round. Empty where
    ``study.sampler`` has none that this study's parameters have anything in common with.

    Args:
        study: A study of one objective.

    Raises:
        ValueError: If the study has several objectives.
    """
    hindsight.require_single_objective(
        study, "influence", "source_studies are left out where there are several"
    )
    return hindsight.look(study, with_controls=False).influences()[0]
