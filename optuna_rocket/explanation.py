"""Why this configuration? ``explain`` answers for one trial, from what is stored."""

from __future__ import annotations

from dataclasses import replace
import math
from types import MappingProxyType
from typing import NamedTuple

from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import torch
from torch import Tensor

from optuna_rocket import constraints
from optuna_rocket import forecasts
from optuna_rocket import hindsight
from optuna_rocket import trials
from optuna_rocket.agent.policy import RULE_FROM
from optuna_rocket.features import PROPOSAL_KINDS
from optuna_rocket.features import row_distance
from optuna_rocket.hindsight import View
from optuna_rocket.history import Outcome
from optuna_rocket.reasons import Explanation
from optuna_rocket.reasons import Origin
from optuna_rocket.suggest import quietly
from optuna_rocket.suggestions import Suggestion


class _Choice(NamedTuple):
    """How the policy sees a configuration among others: see ``Explanation``."""

    share: float = math.nan
    rank: int = 0
    n_candidates: int = 0
    entropy: float = math.nan


@quietly()
def explain(study: Study, trial_number: int) -> Explanation:
    """Why a trial has the configuration that it has, and what the agent thought of it.

    Works for trials in every state and by every sampler; nothing is written. A few values are
    stored with the trial, the others are recomputed from the trials before it: ``Explanation``
    says which. The agent is that of ``study.sampler`` where this is a ``RocketSampler``, else the
    shipped one, so load a study of another agent with its sampler.

    Example:
        ```python
        print(explain(study, study.best_trial.number))
        ```

    Args:
        study: A study of one objective.
        trial_number: Number of one of its trials.

    Raises:
        ValueError: If the study has no such trial or several objectives.
    """
    hindsight.require_single_objective(study, "explain")
    trial = _find(study, trial_number)
    if trial.state == TrialState.WAITING:
        return _blank(study, trial, "waiting")
    suggestion = trials.stored_suggestion(trial)
    enqueued = tuple(sorted(trials.enqueued_params(trial, trial.distributions)))
    origin: Origin = "unknown" if suggestion is None else "agent"
    if suggestion is None and enqueued and set(enqueued) >= set(trial.params):
        origin = "enqueued"
    view = hindsight.look_back(study, trial)
    sources, priors = view.influences()
    known = replace(
        _blank(study, trial, origin),
        enqueued=enqueued,
        n_finished=sum(record.outcome != Outcome.PENDING for record in view.records),
        n_running=sum(record.outcome == Outcome.PENDING for record in view.records),
        is_start=int(view.history.scored.sum()) < RULE_FROM,
        relevance=MappingProxyType(view.relevance()),
        sources=MappingProxyType(sources),
        priors=MappingProxyType(priors),
    )
    return _consider(known, view, trial, suggestion) if len(view.space) else known


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


def _blank(study: Study, trial: FrozenTrial, origin: Origin) -> Explanation:
    """What is known of a trial without the agent."""
    return Explanation(
        number=trial.number,
        trial_state=trial.state.name,
        origin=origin,
        enqueued=(),
        value=trial.value if trial.values else None,
        is_minimized=study.direction == StudyDirection.MINIMIZE,
        constraints=MappingProxyType(constraints.read(trial.system_attrs)),
        n_finished=0,
        n_running=0,
        is_start=False,
        kind=None,
        mean=math.nan,
        std=math.nan,
        is_recomputed=True,
        expected=math.nan,
        interval=(math.nan, math.nan),
        failure=0.0,
        incumbent=None,
        distance=math.nan,
        **_Choice()._asdict(),
        relevance=MappingProxyType({}),
        forecast=forecasts.forecast_at_stop(study, trial),
    )


def _consider(
    known: Explanation, view: View, trial: FrozenTrial, suggestion: Suggestion | None
) -> Explanation:
    """Add what the agent thinks of the trial's configuration."""
    (record,) = trials.records_of(view.study, [trial], trial.number)
    units, active = view.encode(record)
    reading = view.read(units, active)
    mean, std = float(reading.mean), float(reading.std)
    is_stored = suggestion is not None and math.isfinite(suggestion.mean + suggestion.std)
    if suggestion is not None and is_stored:
        mean, std = suggestion.mean, suggestion.std
    kind = suggestion.kind if suggestion is not None else -1
    steps = torch.tensor([0.0, -hindsight.HALF_WIDTH, hindsight.HALF_WIDTH], dtype=torch.float64)
    expected, low, high = view.values(mean + std * steps)
    incumbent, distance = view.incumbent, math.nan
    if incumbent is not None:
        best = view.history.units[:, [incumbent]]
        distance = float(row_distance(units, best, view.geometry))
    return replace(
        known,
        kind=PROPOSAL_KINDS[kind] if 0 <= kind < len(PROPOSAL_KINDS) else None,
        mean=mean,
        std=std,
        is_recomputed=not is_stored,
        expected=expected,
        interval=(min(low, high), max(low, high)),
        failure=float(reading.failure),
        incumbent=view.records[incumbent].number if incumbent is not None else None,
        distance=distance,
        **_choose(view, trial, units, active, kind)._asdict(),
    )


def _choose(view: View, trial: FrozenTrial, units: Tensor, active: Tensor, kind: int) -> _Choice:
    enqueued = trials.enqueued_params(trial, view.space.distributions)
    if set(enqueued) >= set(view.space.names):
        return _Choice()
    known_kind = kind if 0 <= kind < len(PROPOSAL_KINDS) else PROPOSAL_KINDS.index("random")
    logits = view.reconsider(units, active, known_kind, enqueued, seed=trial.number).logits[0]
    probabilities = logits.softmax(-1)
    return _Choice(
        share=float(probabilities[-1]),
        rank=int((logits > logits[-1]).sum()) + 1,
        n_candidates=len(logits),
        entropy=float(torch.special.entr(probabilities).sum()),
    )


@quietly()
def influence(study: Study) -> dict[str, float]:
    """How much each earlier study counts for the next trial: name to influence, greatest first.

    See ``Explanation.sources``. Empty where ``study.sampler`` has none that this study's
    parameters have anything in common with.

    Args:
        study: A study of one objective.

    Raises:
        ValueError: If the study has several objectives.
    """
    hindsight.require_single_objective(study, "influence")
    return hindsight.look(study, with_controls=False).influences()[0]
