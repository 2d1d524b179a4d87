"""Stored trials and what is read of them, for the tests of the storage's readers."""

from __future__ import annotations

from typing import Any
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_rocket.records import Record
from optuna_rocket.trials import TrialReader


Direction = Literal["minimize", "maximize"]
X: dict[str, BaseDistribution] = {"x": FloatDistribution(0.0, 1.0)}


def new_study(
    direction: Direction = "minimize", seed: int = 0, storage: BaseStorage | None = None
) -> Study:
    """A study that draws at random."""
    return optuna.create_study(
        storage=storage, direction=direction, sampler=optuna.samplers.RandomSampler(seed=seed)
    )


def add(study: Study, state: TrialState = TrialState.COMPLETE, **options: Any) -> None:
    """Add a trial of one parameter, where nothing else is said."""
    options.setdefault("params", {"x": 0.5})
    options.setdefault("distributions", X)
    study.add_trial(create_trial(state=state, **options))


def records_of(study: Study, reader: TrialReader | None = None) -> list[Record]:
    """What a sampler would read when it is asked for the next trial."""
    study.ask()
    return (reader or TrialReader()).read(study, study.get_trials(deepcopy=False)[-1])
