"""Worker processes that keep to one thread each, so that times can be compared."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import as_completed
from contextlib import contextmanager
import multiprocessing
import os
from typing import TypeVar
import warnings

from tqdm import tqdm  # type: ignore[import-untyped]


_THREAD_VARIABLES = (
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_workers(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int
) -> Iterator[Result]:
    """Yield the function's results as they come, in any order, with a progress bar.

    Args:
        function: A function of a module.
        items: Its arguments, one per call.
        jobs: The number of processes, of one thread each.
    """
    with single_threaded_workers(jobs) as pool, tqdm(total=len(items), unit="cell") as bar:
        for future in as_completed([pool.submit(function, item) for item in items]):
            bar.update()
            yield future.result()


@contextmanager
def single_threaded_workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of fresh processes.

    Numerical libraries read their thread limits when they are imported. The processes are
    therefore spawned, not forked, and inherit the limits from the environment.

    Args:
        jobs: The number of processes.
    """
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        with ProcessPoolExecutor(
            max_workers=jobs,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_quiet_single_thread,
        ) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        for name, content in before.items():
            if content is None:
                del os.environ[name]
            else:
                os.environ[name] = content


def _quiet_single_thread() -> None:
    import optuna
    import torch

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
