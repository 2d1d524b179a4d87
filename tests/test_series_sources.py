from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.deep_learning.sources import forecasting
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


def test_half_hours_are_added_to_hours() -> None:
    content = "time,passengers\nnight,1\nnight,2\nday,30\nday,40\n"
    assert forecasting.parse(content, forecasting.SOURCES["taxi"]).tolist() == [[3], [70]]


def test_the_future_of_a_window_stays_in_its_part() -> None:
    table = np.arange(400, dtype=np.float32)[:, None] + np.array([0, 1000], np.float32)
    windows, firsts = forecasting.cut_windows(table, 200, 300, 7)
    assert windows.shape == (2 * 11, forecasting.PAST + forecasting.FUTURE)
    assert firsts.tolist()[:4] == [200, 200, 207, 207]
    futures = windows[:, forecasting.PAST :] % 1000
    assert futures.min() == 200 and futures[:, -1].max() < 300
    assert (np.diff(windows, axis=1) == 1).all()


@needs(forecasting.ETT)
@needs(forecasting.DARTS)
@pytest.mark.parametrize("name", list(forecasting.SOURCES))
def test_the_real_windows(name: str) -> None:
    splits = forecasting.load_forecasting(name)
    counts = {
        "etth1": [5383, 1820, 1820],
        "etth2": [5383, 1820, 1820],
        "exchange_rate": [5856, 1968, 2392],
        "taxi": [2905, 1009, 1009],
    }
    assert sizes(splits) == counts[name]
    assert splits.strata is not None and len(np.unique(splits.strata)) == 12
    assert all(part.inputs.isfinite().all() for part in (splits.train, splits.test))
