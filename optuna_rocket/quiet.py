"""Computing without leaving a trace in the user's process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import nullcontext
import threading

import torch


class _OneThread:
    """Torch's number of threads, 1 while any thread of the process is inside.

    Torch keeps one number for the process, which a thread takes over at its first call. So what
    the first one found on its way in is what all of them leave behind.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._before = 1

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._before = torch.get_num_threads()
            self._n_inside += 1
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            torch.set_num_threads(self._before)


_one_thread = _OneThread()


@contextmanager
def quietly() -> Iterator[None]:
    """Compute on the CPU, without gradients, in one thread; the user's settings come back.

    Waiting for each other made torch's threads seven times slower than one on a busy machine.
    """
    # The device's context slows every call of torch, so it is entered only where needed.
    on_cpu = torch.get_default_device().type == "cpu"
    with nullcontext() if on_cpu else torch.device("cpu"), torch.inference_mode(), _one_thread:
        yield
