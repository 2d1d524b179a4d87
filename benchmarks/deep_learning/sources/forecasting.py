"""Four sets of series to forecast, as windows of 168 past and 24 future values.

*ETTh1*, *ETTh2*: load and oil temperature of two electricity transformers, 7 hourly series each;
12 months for training, 4 for validation, 4 for test, as published. *Exchange rate*: 8 currencies
a day; 70, 10 and 20 % as published. *Taxi*: passengers in New York, half hours added to hours;
60, 20 and 20 %.

The parts follow each other in time. Every series is standardised by its training part and is
forecast from its own past. The future of a window lies in its part; the past of a part's first
windows reaches back into the part before. Windows start some hours (days) apart, and that
distance has no factor in common with a day's hours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch

from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import read_archive
from benchmarks.deep_learning.sources.splits import Part
from benchmarks.deep_learning.sources.splits import Splits


ETT = Archive(
    name="ETDataset",
    repository="zhouhaoyi/ETDataset",
    commit="1d16c8f4f943005d613b5bc962e9eeb06058cf07",
    files=r"ETT-small/ETTh[12]\.csv",
    digest="f16398d5bbf28651f5894ab47a5e8ee68bf28ece5eede6cf3df7e2d6de8a0791",
    licence="CC BY-ND 4.0",
)
DARTS = Archive(
    name="darts-series",
    repository="unit8co/darts",
    commit="2be8e43fbdc1265209f33bbe8bae81f3e4d9146f",
    files=r"datasets/(exchange_rate|taxi_new_york_passengers)\.csv",
    digest="a6f14ca8f4e7e6124d39957f21932cc02c290910f57b54328745aa334ebc4c2c",
    licence="Apache-2.0",
)
PAST, FUTURE = 168, 24
_N_BLOCKS = 12  # of training time, of which every subset has its share

Table = NDArray[np.float32]


@dataclass(frozen=True)
class Source:
    """Where series are and how they are cut.

    Args:
        archive: The archive.
        path: Of the table in it.
        first_column: Columns before it are no series.
        per_row: So many lines of the table are added to a row.
        ends: Rows at which the training, the validation and the test part end.
        steps: Rows between two windows, in the training part and in the others.
    """

    archive: Archive
    path: str
    first_column: int
    per_row: int
    ends: tuple[int, int, int]
    steps: tuple[int, int, int]


_MONTH = 30 * 24
_ETT = {"ends": (12 * _MONTH, 16 * _MONTH, 20 * _MONTH), "steps": (11, 11, 11)}
SOURCES = {
    "etth1": Source(ETT, "ETT-small/ETTh1.csv", 1, 1, **_ETT),
    "etth2": Source(ETT, "ETT-small/ETTh2.csv", 1, 1, **_ETT),
    "exchange_rate": Source(
        DARTS, "datasets/exchange_rate.csv", 0, 1, (5311, 6070, 7588), (7, 3, 5)
    ),
    "taxi": Source(
        DARTS, "datasets/taxi_new_york_passengers.csv", 1, 2, (3096, 4128, 5160), (1, 1, 1)
    ),
}


def load_forecasting(name: str) -> Splits:
    """Return windows: inputs ``(n, PAST)`` and labels ``(n, FUTURE)``.

    Args:
        name: One of ``SOURCES``.

    Raises:
        DataError: If the archive is not to be had.
    """
    source = SOURCES[name]
    table = parse(read_archive(source.archive)[source.path].decode(), source)
    trained = table[: source.ends[0]]
    table = (table - trained.mean(0)) / trained.std(0)
    starts = (PAST, *source.ends[:-1])
    parts = []
    for start, end, step in zip(starts, source.ends, source.steps, strict=True):
        windows, firsts = cut_windows(table, start, end, step)
        parts.append(Part(torch.as_tensor(windows[:, :PAST]), torch.as_tensor(windows[:, PAST:])))
        if start == PAST:
            strata = (firsts - PAST) * _N_BLOCKS // (end - PAST)
    train, validation, test = parts
    return Splits(train, validation, test, strata)


def parse(content: str, source: Source) -> Table:
    """Return ``(rows, series)`` of a table with a line of names."""
    lines = content.splitlines()[1:]
    fields = [line.split(",")[source.first_column :] for line in lines]
    table = np.array(fields, dtype=np.float32)
    return np.asarray(table.reshape(-1, source.per_row, table.shape[1]).sum(1))


def cut_windows(table: Table, start: int, end: int, step: int) -> tuple[Table, NDArray[np.int64]]:
    """Return windows whose future lies within two rows, earliest first.

    Args:
        table: ``(rows, series)``.
        start: First row of the first future, at least ``PAST``.
        end: Row after the last future.
        step: Rows between two windows.

    Returns:
        ``(n, PAST + FUTURE)`` values and ``(n,)`` first rows of the futures.
    """
    rows = np.arange(start, end - FUTURE + 1, step)
    around = rows[:, None] + np.arange(-PAST, FUTURE)
    windows = table[around].swapaxes(1, 2).reshape(-1, PAST + FUTURE)
    return np.ascontiguousarray(windows), np.repeat(rows, table.shape[1])
