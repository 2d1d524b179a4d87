"""All tasks by name: one line per family."""

from __future__ import annotations

from benchmarks.deep_learning.audio import NOISY_DIGITS
from benchmarks.deep_learning.audio import SPOKEN_DIGITS
from benchmarks.deep_learning.images import BLOOD_CROPS
from benchmarks.deep_learning.images import DIGITS
from benchmarks.deep_learning.images import LONG_TAILED_DIGITS
from benchmarks.deep_learning.images import MNIST
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.texts import AG_NEWS


_FAMILIES: tuple[tuple[Task, ...], ...] = (
    (MNIST, DIGITS, BLOOD_CROPS, LONG_TAILED_DIGITS),
    (AG_NEWS,),
    (NOISY_DIGITS, SPOKEN_DIGITS),
)

TASKS: dict[str, Task] = {task.name: task for family in _FAMILIES for task in family}
