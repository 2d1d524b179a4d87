"""Samplers of other packages: AutoSampler of OptunaHub, HEBO and SMAC3.

No environment of this project holds these packages; section "Other peers" of the README says how
to install them. They are imported when a sampler is made.
"""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
import importlib
import os
import tempfile
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
import torch


Space = Mapping[str, BaseDistribution]
Codes = dict[str, int]

REGISTRY_VARIABLE = "OPTUNAHUB_REGISTRY"


def auto_sampler(seed: int) -> BaseSampler:
    """Return OptunaHub's AutoSampler.

    It is loaded over the network, or from a copy of the registry's folder `package` to which the
    environment variable `OPTUNAHUB_REGISTRY` points.

    Args:
        seed: The seed of the replication.
    """
    hub = _required("optunahub", "optunahub")
    registry = os.environ.get(REGISTRY_VARIABLE)
    if registry:
        loaded = hub.load_local_module("samplers/auto_sampler", registry_root=registry)
    else:
        loaded = hub.load_module("samplers/auto_sampler")
    sampler = loaded.AutoSampler(seed=seed)
    assert isinstance(sampler, BaseSampler)
    return sampler


class AskTellSampler(BaseSampler, ABC):
    """An optimiser that proposes one configuration at a time and is told its value.

    The first trial is random, because a sampler knows the search space only after it; the
    optimiser is told its value as well. Optimisers meet whole numbers alone: those of an integer
    parameter, and the index of a choice of a categorical one. Failed trials are not told. The
    state lies in the sampler: one study, one worker, values are minimised.

    Args:
        seed: The seed of the replication.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = RandomSampler(seed=seed)
        self._intersection = IntersectionSearchSpace()
        self._space: Space = {}

    @abstractmethod
    def _open(self, space: Space) -> None:
        """Start the optimiser on a search space."""

    @abstractmethod
    def _ask(self, number: int) -> Codes:
        """Return the configuration of the trial of that number."""

    @abstractmethod
    def _tell(self, codes: Codes, loss: float) -> None:
        """Take the value of a configuration."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the parameters that all finished trials have."""
        return self._intersection.calculate(study)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what the optimiser proposes, nothing as long as the space is unknown."""
        if not search_space:
            return {}
        if not self._space:
            _check_supported(study, search_space)
            self._space = search_space
            self._open(search_space)
            for earlier in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                self._tell_trial(earlier, earlier.values)
        codes = self._ask(trial.number)
        return {
            name: distribution.to_external_repr(codes[name])
            for name, distribution in search_space.items()
        }

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a random value: the first trial."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Tell the optimiser the value of a completed trial."""
        if self._space and state == TrialState.COMPLETE and values is not None:
            self._tell_trial(trial, values)

    def _tell_trial(self, trial: FrozenTrial, values: Sequence[float]) -> None:
        codes = {
            name: int(distribution.to_internal_repr(trial.params[name]))
            for name, distribution in self._space.items()
        }
        self._tell(codes, float(values[0]))


class HeboSampler(AskTellSampler):
    """HEBO with its default arguments.

    Integers are of its type `int`, the others of `cat`. HEBO draws from the global generators of
    NumPy and PyTorch, which are seeded before each proposal.

    Args:
        seed: The seed of the replication.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._hebo = _required("hebo.optimizers.hebo", "HEBO")
        self._frames = _required("pandas", "HEBO")
        self._spaces = _required("hebo.design_space.design_space", "HEBO")
        self._optimizer: Any = None

    def _open(self, space: Space) -> None:
        design = [
            {"name": name, "type": "cat", "categories": list(range(high + 1))}
            if is_categorical
            else {"name": name, "type": "int", "lb": low, "ub": high}
            for name, low, high, is_categorical in _bounds(space)
        ]
        self._optimizer = self._hebo.HEBO(
            self._spaces.DesignSpace().parse(design), scramble_seed=self._seed
        )

    def _ask(self, number: int) -> Codes:
        fixed = np.random.SeedSequence([self._seed, number]).generate_state(2)
        np.random.seed(fixed[0])
        torch.manual_seed(int(fixed[1]))
        proposal = self._optimizer.suggest(n_suggestions=1)
        return {name: int(proposal[name].iloc[0]) for name in self._space}

    def _tell(self, codes: Codes, loss: float) -> None:
        self._optimizer.observe(self._frames.DataFrame([codes]), np.array([[loss]]))


class SmacSampler(AskTellSampler):
    """SMAC3's `HyperparameterOptimizationFacade` (random forest) with its default arguments.

    The scenario is deterministic: each configuration is evaluated once.

    Args:
        seed: The seed of the replication.
        n_trials: The length of the study. SMAC spends up to a quarter of it on its initial design.
    """

    def __init__(self, seed: int, n_trials: int = 100) -> None:
        super().__init__(seed)
        self._smac = _required("smac", "smac")
        self._records = _required("smac.runhistory.dataclasses", "smac")
        self._config_space = _required("ConfigSpace", "smac")
        self._n_trials = n_trials
        self._asked: dict[tuple[int, ...], Any] = {}
        self._facade: Any = None
        # SMAC keeps its own files, although it is never told to save.
        self._folder = tempfile.TemporaryDirectory(prefix="smac")

    def _open(self, space: Space) -> None:
        self._configurations = self._config_space.ConfigurationSpace(seed=self._seed)
        for name, low, high, is_categorical in _bounds(space):
            self._configurations.add(
                self._config_space.Categorical(name, list(range(high + 1)))
                if is_categorical
                else self._config_space.Integer(name, (low, high))
            )
        scenario = self._smac.Scenario(
            self._configurations,
            deterministic=True,
            n_trials=self._n_trials - 1,  # the first one has passed
            seed=self._seed,
            output_directory=self._folder.name,
        )
        self._facade = self._smac.HyperparameterOptimizationFacade(
            scenario, target_function=None, logging_level=False, overwrite=True
        )

    def _ask(self, number: int) -> Codes:
        asked = self._facade.ask()
        codes = {name: int(asked.config[name]) for name in self._space}
        self._asked[tuple(codes.values())] = asked
        return codes

    def _tell(self, codes: Codes, loss: float) -> None:
        asked = self._asked.pop(tuple(codes.values()), None)
        if asked is None:
            config = self._config_space.Configuration(self._configurations, values=codes)
            asked = self._records.TrialInfo(config, seed=0)
        self._facade.tell(asked, self._records.TrialValue(cost=loss), save=False)


def _required(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"This method needs the package {package!r} (`pip install {package}`); see section "
            f"'Other peers' of benchmarks/README.md. Not found: {error.name!r}.",
            name=error.name,
        ) from error


def _check_supported(study: Study, space: Space) -> None:
    if study.directions != [StudyDirection.MINIMIZE]:
        raise ValueError("This sampler minimises one objective.")
    for name, distribution in space.items():
        is_plain_int = (
            isinstance(distribution, IntDistribution)
            and distribution.step == 1
            and not distribution.log
        )
        if not is_plain_int and not isinstance(distribution, CategoricalDistribution):
            raise ValueError(f"This sampler does not support {name!r}: {distribution}.")


def _bounds(space: Space) -> list[tuple[str, int, int, bool]]:
    """Return name, lowest and highest code, and whether categorical, of every parameter."""
    found = []
    for name, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            found.append((name, 0, len(distribution.choices) - 1, True))
        else:
            assert isinstance(distribution, IntDistribution)
            found.append((name, distribution.low, distribution.high, False))
    return found
