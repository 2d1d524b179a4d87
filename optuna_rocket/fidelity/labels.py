"""Labels and groups of examples, as they are passed: read, and refused where they mean nothing."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


Indices = NDArray[np.int64]

_WHAT_TO_PASS = (
    "Pass a list of one label or target per example, for example list(dataset['label']), or the "
    "number of examples, len(dataset)."
)


def examples(data: Sequence[Any] | NDArray[Any] | int) -> tuple[int, NDArray[Any] | None]:
    """Number of examples, and their labels or targets where there are some."""
    if isinstance(data, (int, np.integer)) and not isinstance(data, bool):
        if data < 1:
            raise ValueError(f"data={data} is no number of examples. {_WHAT_TO_PASS}")
        return int(data), None
    labels = _labels(data)
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(
            f"data of shape {labels.shape} is not one label per example. {_WHAT_TO_PASS}"
        )
    return len(labels), labels


def _labels(data: Any) -> NDArray[Any]:
    """Labels as an array; data sets, which would be read item by item, are refused."""
    is_sequence = isinstance(data, Sequence) and not isinstance(data, (str, bytes))
    if not is_sequence and not hasattr(data, "__array__"):
        raise ValueError(f"data is a {type(data).__name__}, not labels. {_WHAT_TO_PASS}")
    try:
        labels = np.asarray(data)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"data cannot be read as labels: {str(error).splitlines()[0]} {_WHAT_TO_PASS}"
        ) from error
    if labels.dtype.kind == "O":
        for label in labels.flat:
            if isinstance(label, (Mapping, list, tuple, np.ndarray)):
                kind = type(label).__name__
                raise ValueError(f"data holds a {kind} where a label should be. {_WHAT_TO_PASS}")
    return labels


def as_floats(labels: NDArray[Any] | None) -> NDArray[np.float64]:
    """Labels as a target."""
    try:
        values = np.asarray(labels, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            "stratify='quantiles' needs numbers as data. Use stratify='classes' for labels."
        ) from None
    if not np.isfinite(values).all():
        raise ValueError("data has NaN or infinite targets. Drop these examples first.")
    return values


def group_numbers(groups: Sequence[Any] | NDArray[Any], n: int) -> Indices:
    """Group of every example ``(n,)``, numbered from 0."""
    names = np.asarray(groups)
    if names.shape != (n,):
        raise ValueError(
            f"groups of shape {names.shape} do not match {n} examples. Pass one group each."
        )
    without = n_missing(groups, names)
    if without:
        raise ValueError(
            f"groups has NaN or None for {without} of {n} examples, which would make one group "
            "of them. Drop these examples first, or give each a group of its own."
        )
    if names.dtype.kind == "O":
        names = names.astype(str)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def n_missing(given: Any, names: NDArray[Any], *, none_is_name: bool = False) -> int:
    """How many names are NaN, NaT or the like, or None where that is no name.

    Args:
        given: The names as they were passed: as an array a list of names and NaN has the name
            "nan".
        names: The same as an array.
        none_is_name: Whether None is a name like others.
    """
    if names.dtype.kind in "fc":
        return int(np.isnan(names).sum())
    if names.dtype.kind in "mM":
        return int(np.isnat(names).sum())
    if names.dtype.kind not in "OUS":
        return 0
    told = names if hasattr(given, "__array__") else given
    return sum(not none_is_name if name is None else _is_nan(name) for name in told)


def _is_nan(name: Any) -> bool:
    """Whether it is nothing that equals itself."""
    try:
        return not name == name
    except TypeError:  # whether ``pandas.NA`` equals itself is not known
        return True
