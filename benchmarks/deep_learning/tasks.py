"""All tasks by name: one line per family."""

from __future__ import annotations

from benchmarks.deep_learning.audio import INSTRUMENT_NOTES
from benchmarks.deep_learning.audio import NOISY_DIGITS
from benchmarks.deep_learning.audio import SPEAKERS
from benchmarks.deep_learning.audio import SPOKEN_DIGITS
from benchmarks.deep_learning.detection import BLOOD_CELLS
from benchmarks.deep_learning.detection import DIGIT_SCENES
from benchmarks.deep_learning.detection import RACCOONS
from benchmarks.deep_learning.detection import SHAPE_SCENES
from benchmarks.deep_learning.images import BLOOD_CROPS
from benchmarks.deep_learning.images import DIGITS
from benchmarks.deep_learning.images import LONG_TAILED_DIGITS
from benchmarks.deep_learning.images import MNIST
from benchmarks.deep_learning.segmentation import BLOOD_FOREGROUND
from benchmarks.deep_learning.segmentation import DIGIT_SCENES as DIGIT_SCENE_MASKS
from benchmarks.deep_learning.segmentation import MEMBRANES
from benchmarks.deep_learning.segmentation import SHAPES
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.texts import AG_NEWS


_FAMILIES: tuple[tuple[Task, ...], ...] = (
    (MNIST, DIGITS, BLOOD_CROPS, LONG_TAILED_DIGITS),
    (MEMBRANES, DIGIT_SCENE_MASKS, SHAPES, BLOOD_FOREGROUND),
    (BLOOD_CELLS, RACCOONS, DIGIT_SCENES, SHAPE_SCENES),
    (AG_NEWS,),
    (NOISY_DIGITS, SPOKEN_DIGITS, SPEAKERS, INSTRUMENT_NOTES),
)

TASKS: dict[str, Task] = {task.name: task for family in _FAMILIES for task in family}
