"""All tasks by name."""

from __future__ import annotations

from benchmarks.deep_learning.audio import NOISY_DIGITS
from benchmarks.deep_learning.audio import SPOKEN_DIGITS
from benchmarks.deep_learning.images import MNIST
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.texts import AG_NEWS


TASKS: dict[str, Task] = {
    task.name: task for task in (MNIST, NOISY_DIGITS, AG_NEWS, SPOKEN_DIGITS)
}
