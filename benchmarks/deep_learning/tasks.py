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
from benchmarks.deep_learning.forecasting import ETTH1
from benchmarks.deep_learning.forecasting import ETTH2
from benchmarks.deep_learning.forecasting import EXCHANGE_RATE
from benchmarks.deep_learning.forecasting import TAXI
from benchmarks.deep_learning.images import BLOOD_CROPS
from benchmarks.deep_learning.images import DIGITS
from benchmarks.deep_learning.images import LONG_TAILED_DIGITS
from benchmarks.deep_learning.images import MNIST
from benchmarks.deep_learning.segmentation import BLOOD_FOREGROUND
from benchmarks.deep_learning.segmentation import DIGIT_SCENES as DIGIT_SCENE_MASKS
from benchmarks.deep_learning.segmentation import MEMBRANES
from benchmarks.deep_learning.segmentation import SHAPES
from benchmarks.deep_learning.sequences.language import SHAKESPEARE
from benchmarks.deep_learning.sequences.strings import DIGIT_STRINGS
from benchmarks.deep_learning.sequences.tagging import ENTITIES
from benchmarks.deep_learning.sequences.tagging import PART_OF_SPEECH
from benchmarks.deep_learning.series import ARROW_HEAD
from benchmarks.deep_learning.series import ITALY_POWER_DEMAND
from benchmarks.deep_learning.series import JAPANESE_VOWELS
from benchmarks.deep_learning.series import OSU_LEAF
from benchmarks.deep_learning.task import Task
from benchmarks.deep_learning.texts import AG_NEWS
from benchmarks.deep_learning.texts import POLARITY
from benchmarks.deep_learning.texts import SMS_SPAM
from benchmarks.deep_learning.texts import WEB_GENRE


_FAMILIES: tuple[tuple[Task, ...], ...] = (
    (MNIST, DIGITS, BLOOD_CROPS, LONG_TAILED_DIGITS),
    (MEMBRANES, DIGIT_SCENE_MASKS, SHAPES, BLOOD_FOREGROUND),
    (BLOOD_CELLS, RACCOONS, DIGIT_SCENES, SHAPE_SCENES),
    (AG_NEWS, POLARITY, SMS_SPAM, WEB_GENRE),
    (DIGIT_STRINGS, ENTITIES, PART_OF_SPEECH, SHAKESPEARE),
    (ARROW_HEAD, ITALY_POWER_DEMAND, JAPANESE_VOWELS, OSU_LEAF),
    (ETTH1, ETTH2, EXCHANGE_RATE, TAXI),
    (NOISY_DIGITS, SPOKEN_DIGITS, SPEAKERS, INSTRUMENT_NOTES),
)

TASKS: dict[str, Task] = {task.name: task for family in _FAMILIES for task in family}
