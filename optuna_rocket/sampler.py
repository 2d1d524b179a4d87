"""RocketSampler: Optuna's sampler interface over the agent. Nothing numeric happens here.

One trial's life: ``TrialReader.read`` (storage to records) → ``rows.history`` →
``features.tokens`` → ``policy.believe`` (recurrent state, memory) → ``policy.decide`` (logits over
proposals) → ``Space.decode``. Torch is imported when the first suggestion needs it.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import random
import threading
from typing import TYPE_CHECKING
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from optuna_rocket import seeds
from optuna_rocket.agent import weights_file
from optuna_rocket.arguments import check_integer
from optuna_rocket.axes import n_values
from optuna_rocket.once import Once
from optuna_rocket.random_values import random_value


if TYPE_CHECKING:
    from optuna_rocket.experience import Experience
    from optuna_rocket.priors import Prior
    from optuna_rocket.records import Record
    from optuna_rocket.source_studies import Given
    from optuna_rocket.suggester import Suggester
    from optuna_rocket.suggestions import Suggestion
    from optuna_rocket.trials import TrialReader


# Parameters of the very first trial from which on each is chosen by itself.
_MANY = 32
_logger = optuna.logging.get_logger(f"optuna.{__name__}")


@dataclass(frozen=True)
class _Asked:
    """What one suggestion is about: see ``Suggester.suggest``.

    ``only`` is the parameter that is asked for by itself, None where all are at once.
    """

    distributions: Mapping[str, BaseDistribution]
    imposed: Mapping[str, float]
    wanted: Collection[str]
    only: str | None = None

    @property
    def wanted_distributions(self) -> dict[str, BaseDistribution]:
        return {name: self.distributions[name] for name in self.wanted}


class RocketSampler(BaseSampler):
    """Sampler with a recurrent agent that was meta-trained by self-play.

    After "Automated deep learning by recurrent hyperparameter optimization" (Nature
    Communications 2026, doi 10.1038/s41467-026-72413-9); an independent implementation.

    The agent reads all trials of the study (complete, pruned, failed, running), remembers their
    scores with a kernel regression, and chooses the next configuration among some hundred
    proposals. All parameters are its work: conditional ones, ones that appear late, and ones whose
    range has changed. A suggestion is a function of the stored trials, the seed and the
    checkpoint, so a resumed study goes on as if it had not been interrupted.

    With several objectives it seeks the trials that add most hypervolume. Constraints
    (``trial.set_constraint``, and what a ``constraints_func`` of another sampler stored) are
    learned too: a suggestion weighs what it may gain by its chance to be feasible.

    In a space of finitely many configurations hardly any is suggested twice before all were
    tried.

    Example:
        ```python
        import optuna
        from optuna_rocket import RocketSampler

        study = optuna.create_study(sampler=RocketSampler(seed=0))
        study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=20)
        ```

    Args:
        seed: Seed of the suggestions, an integer of at least 0. Workers that share a study may
            share the seed: the trial's number enters too.
        checkpoint: File of an agent's weights; None is the agent that ships with the package.
        n_trials: How many trials the study will have in all, if known; a hint.
        source_studies: Earlier studies to learn from: ``optuna.Study`` objects or (storage, study
            name) pairs, by any sampler, in any direction, with one objective. Parameters meet by
            name and by their true values, so ranges and choices may differ. They are read once,
            when the first suggestion needs them, and never written to. A source keeps its
            influence as long as it foretells which trials are better; one bad surprise can be
            enough to lose it. Every third trial is a control that leaves experience aside.
            ``influence(study)`` tells how much each counts. A study is no source of itself. Not
            used in studies with several objectives or constraints.
        priors: Parameter name to a guess of good values: a value, a ``(low, high)`` range,
            ``{"mean": m, "spread": s}`` in the parameter's own units, or ``{choice: weight}``.
            Guesses are trusted and dropped as sources are.

    Raises:
        ValueError: If an argument makes no sense, or the checkpoint cannot be used
            (``CheckpointError``, which names the file and the fix).
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        n_trials: int | None = None,
        source_studies: Sequence[Given] | None = (),
        priors: Mapping[str, Any] | None = None,
    ) -> None:
        if seed is not None:
            check_integer("seed", seed, least=0, fix="Use 0, or None, which draws one.")
        if n_trials is not None:
            check_integer("n_trials", n_trials, least=1, fix="Use None if it is not known.")
        if checkpoint is not None and not isinstance(checkpoint, (str, os.PathLike)):
            raise ValueError(
                f"checkpoint={checkpoint!r} is not a path. Use None for the shipped agent."
            )
        self._path = Path(checkpoint) if checkpoint is not None else weights_file.SHIPPED
        self._n_trials = n_trials
        self._entropy = seeds.fresh_entropy() if seed is None else int(seed)
        self._lock = threading.RLock()
        self._suggester: Suggester | None = None
        self._reader: TrialReader | None = None
        self._told = Once()
        self._experience: Experience | None = None
        self._given: tuple[Given, ...] = ()
        self._priors: Mapping[str, Prior] = {}
        if priors is not None or source_studies not in ((), [], None):
            from optuna_rocket import priors as guesses
            from optuna_rocket import source_studies as sources

            self._given = sources.check(source_studies)
            self._priors = guesses.parse(priors)
        weights_file.read(self._path)
        if checkpoint is not None:
            self._load()  # the network is checked too, before any trial depends on it

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the lock and what can be rebuilt; sources as what was read of them."""
        self.experience()
        return {**self.__dict__, "_lock": None, "_suggester": None, "_reader": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or copied sampler."""
        self.__dict__.update(state)
        self._lock = threading.RLock()

    @property
    def checkpoint(self) -> Path:
        """File of the agent's weights."""
        return self._path

    def experience(self) -> Experience | None:
        """What was read of the source studies, and the priors; None where none were given."""
        if not self._given and not self._priors:
            return self._experience
        from optuna_rocket.experience import Experience
        from optuna_rocket.source_studies import read_sources

        with self._lock:
            if self._experience is None:
                self._experience = Experience(read_sources(self._given), self._priors)
                self._given = ()  # no connection is kept, nor copied
            return self._experience

    @property
    def n_trials(self) -> int | None:
        """How many trials the study will have in all, None if nobody said so."""
        return self._n_trials

    def reseed_rng(self) -> None:
        """Draw a new seed from the operating system (Optuna calls this for parallel threads)."""
        self._entropy = seeds.fresh_entropy()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Every parameter that any trial of the study has had, with its latest distribution."""
        with self._lock:
            reader = self._reading()
            return self._modelled(reader.distributions(reader.read(study, trial)))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All parameters of ``search_space`` that exist together, at once."""
        if not search_space:
            return {}
        from optuna_rocket import trials

        distributions = {**self._modelled(trial.distributions), **search_space}
        with self._lock:
            reader = self._reading()
            records = reader.read(study, trial, fresh=not reader.is_latest_of(trial))
            if held := trials.unwrapped(study.sampler)[1]:
                known = reader.distributions(records)
                held_ones = self._modelled({x: known[x] for x in known if x in held})
                distributions = {**held_ones, **distributions}
            imposed = trials.imposed_params(study, trial, distributions)
            asked = _Asked(distributions, imposed, search_space)
            # The lock is held until it is written: another thread may read then.
            return self._claim(study, trial, records, asked)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """One parameter that the relative space did not hold, given all others of the trial."""
        if not self._modelled({param_name: param_distribution}):
            return self._random(trial.number, {param_name: param_distribution})[param_name]
        from optuna_rocket import trials

        with self._lock:
            reader = self._reading()
            # Where values can repeat, others may have set theirs since this trial's first read.
            can_repeat = n_values(param_distribution) is not None
            records = reader.read(study, trial, fresh=can_repeat)
            known = {**reader.distributions(records), **trial.distributions}
            if not records and len(study.directions) == 1:
                value = self._first(trial, param_name, param_distribution)
                if value is not None:
                    return value
            if not records and len(known) >= _MANY:
                known = {}  # without trials they tell nothing of each other, but take time
            distributions = self._modelled({**known, param_name: param_distribution})
            imposed = trials.imposed_params(study, trial, distributions)
            imposed.pop(param_name, None)
            asked = _Asked(distributions, imposed, (param_name,), param_name)
            return self._claim(study, trial, records, asked)[param_name]

    def _claim(
        self, study: Study, trial: FrozenTrial, records: Sequence[Record], asked: _Asked
    ) -> dict[str, Any]:
        """Suggest and store it; again if another worker has come to the same meanwhile."""
        from optuna_rocket import claims
        from optuna_rocket import suggestions
        from optuna_rocket import trials

        for among in claims.ROUNDS:
            params, suggestion = self._suggest(trial.number, records, asked, among)
            if suggestion is None:
                return params
            if asked.only is not None:
                if not claims.may_collide(records, asked.distributions):
                    return params
                suggestion = suggestions.with_one_more(
                    trial.system_attrs, suggestion, asked.imposed, asked.only
                )
            trials.write_suggestion(study, trial, suggestion)
            now = self._reading().read(study, trial, fresh=True)
            if not claims.rivals(records, now, suggestion.params, asked.distributions):
                return params
            records = now
        return params

    def _suggest(
        self, number: int, records: Sequence[Record], asked: _Asked, among: int
    ) -> tuple[dict[str, Any], Suggestion | None]:
        """Ask the agent; a failure of the agent costs a warning, never the user's trial."""
        try:
            return self._load().suggest(
                records,
                asked.distributions,
                asked.imposed,
                asked.wanted,
                seeds.seed_of(self._entropy, number, asked.only),
                among,
            )
        except Exception as error:
            self._report(
                number, error, f"its parameters {sorted(asked.wanted)} are drawn at random"
            )
            return self._random(number, asked.wanted_distributions), None

    def _first(self, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        """What experience says of one parameter before any trial, None where it says nothing."""
        experience = self.experience()
        if experience is None:
            return None
        try:
            return experience.first_value(name, distribution)
        except Exception as error:
            self._report(trial.number, error, f"nothing is taken from experience for {name!r}")
            return None

    def _report(self, number: int, error: Exception, consequence: str) -> None:
        _logger.warning(
            f"The agent failed on trial {number} ({type(error).__name__}: {error}); "
            f"{consequence} instead. Please report this.",
            exc_info=self._told.is_first(type(error)),  # the traceback once is enough
        )

    def _random(
        self, number: int, distributions: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Uniform values, for what the agent cannot model."""
        return {
            name: random_value(x, random.Random(seeds.seed_of(self._entropy, number, name)))
            for name, x in distributions.items()
        }

    def _reading(self) -> TrialReader:
        from optuna_rocket.trials import TrialReader

        if self._reader is None:
            self._reader = TrialReader()
        return self._reader

    def _modelled(
        self, distributions: Mapping[str, BaseDistribution]
    ) -> dict[str, BaseDistribution]:
        """Parameters that have a choice and that the agent can model; others are logged once."""
        from optuna_rocket.space import modelled

        return modelled(distributions, self._tell)

    def _tell(self, name: str, error: Exception) -> None:
        if self._told.is_first(name):
            _logger.warning(f"Parameter {name!r} is drawn at random: {error}")

    def _load(self) -> Suggester:
        from optuna_rocket import suggester

        with self._lock:
            if self._suggester is None:
                self._suggester = suggester.load(self._path, self._n_trials, self.experience())
            return self._suggester
