"""What a sampler costs: its time, and the storage calls that it and the rest of Optuna make."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
import functools
import time
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


_READS, _WRITES = ("get_",), ("set_", "create_", "delete_")


@dataclass
class Meter:
    """Counts of one worker.

    Attributes:
        seconds: Wall time in the sampler.
        cpu_seconds: Processor time in the sampler.
        reads: Storage reads, all of them.
        writes: Storage writes, all of them.
        sampler_reads: Those from within the sampler.
        sampler_writes: Those from within the sampler.
        depth: How deep in the sampler this moment is.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    reads: int = 0
    writes: int = 0
    sampler_reads: int = 0
    sampler_writes: int = 0
    depth: int = 0

    @contextmanager
    def in_sampler(self) -> Iterator[None]:
        """Count what happens inside as the sampler's."""
        wall, processor = time.perf_counter(), time.thread_time()
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            if not self.depth:
                self.seconds += time.perf_counter() - wall
                self.cpu_seconds += time.thread_time() - processor

    def watch(self, storage: BaseStorage) -> None:
        """Count the calls of a storage from now on."""
        for name in dir(BaseStorage):
            if name.startswith((*_READS, *_WRITES)):
                counted = self._counted(getattr(storage, name), name.startswith(_WRITES))
                setattr(storage, name, counted)

    def _counted(self, method: Callable[..., Any], is_write: bool) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            inside = int(self.depth > 0)
            if is_write:
                self.writes, self.sampler_writes = self.writes + 1, self.sampler_writes + inside
            else:
                self.reads, self.sampler_reads = self.reads + 1, self.sampler_reads + inside
            return method(*arguments, **options)

        return call


class MeteredSampler(BaseSampler):
    """Another sampler, measured.

    Args:
        sampler: The sampler that does the work.
        meter: Where its cost is added.
    """

    def __init__(self, sampler: BaseSampler, meter: Meter) -> None:
        self._sampler, self._meter = sampler, meter

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As the sampler does."""
        with self._meter.in_sampler():
            return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler does."""
        with self._meter.in_sampler():
            return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As the sampler does."""
        with self._meter.in_sampler():
            return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """As the sampler does."""
        with self._meter.in_sampler():
            self._sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """As the sampler does."""
        with self._meter.in_sampler():
            self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """As the sampler does."""
        self._sampler.reseed_rng()
