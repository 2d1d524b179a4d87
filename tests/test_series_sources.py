from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.deep_learning.sources import series
from benchmarks.deep_learning.sources.archives import DATA_VARIABLE
from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import is_offline
from benchmarks.deep_learning.sources.splits import Splits


def needs(archive: Archive) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        DATA_VARIABLE not in os.environ or not is_offline(archive),
        reason=f"the data are not there: {DATA_VARIABLE} is to name their folder",
    )


def sizes(splits: Splits) -> list[int]:
    return [len(part) for part in (splits.train, splits.validation, splits.test)]


def test_series_have_channels_and_a_class() -> None:
    header = "# a comment\n@problemName made up\n@classLabel true 7 b\n@data\n"
    rows, classes = series.parse(header + "1,2,3:4,5,6:b\n0.5,1:2,-1:7\n\n")
    assert classes.tolist() == [1, 0]
    assert [row.tolist() for row in rows] == [[[1, 2, 3], [4, 5, 6]], [[0.5, 1], [2, -1]]]
    assert series.padded(rows)[1].tolist() == [[0.5, 1, 0], [2, -1, 0]]


@needs(series.ARCHIVE)
@pytest.mark.parametrize("name", list(series._SIZES))
def test_the_real_series(name: str) -> None:
    splits = series.load_series(name)
    counts = {
        "ArrowHead": ([81, 65, 65], (1, 251), 3),
        "ItalyPowerDemand": ([96, 500, 500], (1, 24), 2),
        "JapaneseVowels": ([160, 240, 240], (12, 29), 9),
        "OSULeaf": ([182, 130, 130], (1, 427), 6),
    }
    parts, shape, n_classes = counts[name]
    assert sizes(splits) == parts and splits.train.inputs.shape[1:] == shape
    assert len(np.unique(splits.validation.labels)) == n_classes
    assert splits.train.inputs.isfinite().all()
    assert abs(float(splits.train.inputs.mean())) < 0.1
