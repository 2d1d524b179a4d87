from __future__ import annotations

from itertools import pairwise
import math
from typing import Any

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch

from optuna_rocket import SubsetEvaluator
from optuna_rocket.fidelity import subset
from optuna_rocket.fidelity.subset import grid
from optuna_rocket.fidelity.subset import nested_subsets
from optuna_rocket.fidelity.subset import stratified_order
from tests.support import package_log


@st.composite
def labels(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    counts = draw(st.lists(st.integers(1, 40), min_size=2, max_size=8))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return rng.permutation(np.repeat(np.arange(len(counts)), counts))


@given(labels(), st.integers(0, 2**32), st.floats(0.05, 1), st.floats(1.2, 8))
@settings(max_examples=60, deadline=None)
def test_subsets_are_nested_and_the_last_is_the_data(
    y: np.ndarray[Any, Any], seed: int, min_fraction: float, factor: float
) -> None:
    if round(len(y) * min_fraction) < len(np.unique(y)):
        min_fraction = 1
    subsets = nested_subsets(
        y,
        min_fraction=min_fraction,
        reduction_factor=factor,
        stratify="classes",
        min_examples=1,
        seed=seed,
    )
    assert list(subsets.sizes) == sorted(set(subsets.sizes))
    pieces = [subsets.indices(rung) for rung in range(len(subsets.sizes))]
    for smaller, larger in pairwise(pieces):
        assert set(smaller) < set(larger)
    assert np.array_equal(pieces[-1], np.arange(len(y)))


@given(labels(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_every_prefix_is_stratified(y: np.ndarray[Any, Any], seed: int) -> None:
    order = stratified_order(y, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(y)))
    counts = np.bincount(y)
    n, n_strata = len(y), len(counts)
    seen = np.cumsum(np.eye(n_strata)[y[order]], axis=0)
    expected = np.arange(1, n + 1)[:, None] * counts / n
    bound = np.maximum(1, n_strata * counts / n)
    assert (np.abs(seen - expected) <= bound + 1e-9).all()
    assert (seen[n_strata - 1] == 1).all(), "every class comes as early as possible"


@given(st.integers(1, 10**6), st.floats(1e-3, 1), st.floats(1.1, 100))
@settings(max_examples=100, deadline=None)
def test_grid_rises_from_the_smallest_to_all(n: int, min_fraction: float, factor: float) -> None:
    sizes = grid(n, min_fraction, factor)
    assert sizes[0] == max(1, round(n * min_fraction))
    assert sizes[-1] == n
    assert all(a < b for a, b in pairwise(sizes))


def test_grid_of_powers() -> None:
    assert grid(2700, 1 / 27, 3) == (100, 300, 900, 2700)
    assert grid(1000, 0.8, 3) == (800, 1000)
    assert grid(1000, 1, 3) == (1000,)


@pytest.mark.parametrize("factor", [math.nextafter(1, 2), 1 + 1e-9, 1.001])
@pytest.mark.parametrize("n", [1, 7, 100])
def test_grid_holds_every_size_at_most(n: int, factor: float) -> None:
    """Steps far smaller than one example took as long as there are of them: without end."""
    assert grid(n, 0.1, factor) == tuple(range(max(1, round(n * 0.1)), n + 1))


def test_the_seed_decides_the_order() -> None:
    y = np.arange(90) % 3
    orders = [nested_subsets(y, min_fraction=0.5, seed=seed).order for seed in (0, 0, 1)]
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_classes_of_any_kind() -> None:
    names = np.array([None, "b", 3] * 40, dtype=object)
    for data in (
        names,
        [str(x) for x in names],
        (np.arange(120) % 2).astype(bool),
        np.arange(120) % 3.0,
    ):
        subsets = nested_subsets(data, min_fraction=0.25)
        part = np.array([str(x) for x in data])[subsets.indices(0)]
        counts = np.unique(part, return_counts=True)[1]
        assert counts.max() - counts.min() <= 1


def test_continuous_targets_are_stratified_by_tenths() -> None:
    rng = np.random.default_rng(0)
    for target in (rng.lognormal(size=2000), rng.permutation(2000)):
        subsets = nested_subsets(target, min_fraction=0.05)
        part = np.sort(target[subsets.indices(0)])
        edges = np.quantile(target, np.linspace(0, 1, 11)[1:-1])
        counts = np.bincount(np.searchsorted(edges, part, side="right"), minlength=10)
        assert counts.min() >= 9
        assert counts.max() <= 11


def test_groups_stay_together() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([f"speaker {i}" for i in range(60)], rng.integers(1, 20, 60))
    y = np.repeat(np.arange(60) % 3, np.unique(groups, return_counts=True)[1].clip(1)[:60])
    y = np.resize(y, len(groups))
    for target in (y, y + rng.normal(size=len(y)), len(y)):
        subsets = nested_subsets(target, min_fraction=0.2, groups=groups)
        assert subsets.sizes[-1] == len(groups)
        for rung in range(len(subsets.sizes)):
            inside = np.zeros(len(groups), dtype=bool)
            inside[subsets.indices(rung)] = True
            for group in np.unique(groups):
                assert len(set(inside[groups == group])) == 1


def test_groups_are_stratified_by_their_main_class() -> None:
    groups = np.arange(1000) // 10
    y = (groups % 4 == 0).astype(int)
    subsets = nested_subsets(y, min_fraction=0.1, groups=groups)
    assert abs(y[subsets.indices(0)].mean() - 0.25) <= 0.1


@given(labels(), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_main_class_of_a_group_is_that_of_a_table(y: np.ndarray[Any, Any], seed: int) -> None:
    groups = np.random.default_rng(seed).integers(0, max(1, len(y) // 3), len(y))
    groups = np.unique(groups, return_inverse=True)[1]
    table = np.zeros((groups.max() + 1, y.max() + 1), dtype=np.int64)
    np.add.at(table, (groups, y), 1)
    assert np.array_equal(subset._main_classes(groups, y), table.argmax(1))


def test_as_many_groups_and_classes_as_examples_fit_in_memory() -> None:
    n = 100_000
    subsets = nested_subsets(
        np.arange(n) // 2,
        min_fraction=0.5,
        stratify="classes",
        groups=np.arange(n),
        min_examples=1,
    )
    assert subsets.sizes == (n // 2, n)


def test_blocks_are_contiguous_and_spread() -> None:
    subsets = nested_subsets(10_000, min_fraction=0.1, stratify="blocks")
    smallest = subsets.indices(0)
    gaps = np.flatnonzero(np.diff(smallest) > 1)
    assert len(smallest) == 1000
    assert len(gaps) <= 3
    assert smallest[0] < 5000 < smallest[-1]


class Unknown:
    """As ``pandas.NA``: not even whether it equals itself is known."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Series:
    """A column of another library, as NumPy knows it."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._values, dtype=object)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"min_fraction": 1.5}, "min_fraction=1.5"),
        ({"min_fraction": 0}, "min_fraction=0"),
        ({"min_fraction": float("nan")}, "min_fraction=nan"),
        ({"min_fraction": "a"}, "min_fraction='a'"),
        ({"reduction_factor": 1}, "reduction_factor=1"),
        ({"stratify": "class"}, "stratify='class'"),
        ({"stratify": np.zeros(90)}, "Labels go into data"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": None}, "seed=None"),
        ({"min_examples": 0}, "min_examples=0"),
        ({"data": np.zeros((3, 2))}, r"shape \(3, 2\)"),
        ({"data": []}, r"shape \(0,\)"),
        ({"data": 0}, "data=0"),
        ({"data": np.zeros(90, dtype=int)}, "one class only"),
        ({"data": np.array([1.0, np.nan] * 45)}, "NaN"),
        ({"data": np.array([1.0, np.nan] * 45), "stratify": "classes"}, "NaN"),
        ({"data": ["a", math.nan, "b"] * 30}, "NaN"),
        ({"data": np.array(["a", math.nan, "b"] * 30, dtype=object)}, "NaN"),
        ({"data": Series(["a", Unknown(), "b"] * 30)}, "NaN"),
        ({"data": np.array(["nat", "2020-01-01"] * 45, "M8[D]")}, "NaN"),
        ({"data": ["a", "b"] * 45, "stratify": "quantiles"}, "needs numbers"),
        ({"data": 90, "stratify": "classes"}, "needs labels"),
        ({"groups": np.zeros(89)}, "do not match 90 examples"),
        ({"groups": np.zeros(90), "stratify": "blocks"}, "exclude each other"),
        ({"min_fraction": 0.1}, "Use min_fraction of at least 0.3334"),
        ({"data": [f"text {k}" for k in range(90)]}, "another label for each of 90 examples"),
        ({"data": [0.1, 0.5, 0.2], "min_fraction": 0.4}, "subsets make no sense for so few"),
        ({"data": 8}, r"evaluate all \(min_fraction=1\)\. If you know better"),
        ({"data": list("abcdefghi") * 10}, "or stratify=False"),
        ({"groups": [0.0, np.nan, np.nan] * 30}, "groups has NaN or None for 60 of 90 examples"),
        ({"groups": ["a", None, "b"] * 30}, "groups has NaN or None for 30 of 90"),
        ({"groups": ["a", math.nan, "b"] * 30}, "groups has NaN or None for 30 of 90"),
        ({"groups": np.array(["nat", "2020-01-01"] * 45, "M8[D]")}, "NaN or None for 45 of 90"),
        ({"groups": Series(["a", Unknown(), "b"] * 30)}, "NaN or None for 30 of 90"),
        ({"data": [[0], [1, 2]] * 45}, "cannot be read as labels"),
        ({"data": np.array([[0], (1, 2), "a"] * 30, dtype=object)}, "holds a list where"),
        ({"data": None}, "data is a NoneType, not labels"),
        ({"data": "90"}, "data is a str"),
        ({"data": {"label": [0, 1]}}, "data is a dict"),
        ({"data": [{"label": 0}] * 90}, "holds a dict where a label should be"),
        ({"data": [(0, 1), (1,)] * 45}, "cannot be read as labels"),
        ({"data": torch.zeros(90, requires_grad=True)}, "cannot be read as labels"),
    ],
)
def test_nonsense_is_refused(changed: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"data": np.arange(90) % 3, "min_fraction": 0.5, **changed}
    with pytest.raises(ValueError, match=message):
        nested_subsets(arguments.pop("data"), **arguments)


class Images:
    """A data set as PyTorch knows it, whose examples take long to read."""

    def __len__(self) -> int:
        return 90

    def __getitem__(self, index: int) -> tuple[int, int]:
        raise AssertionError("an example was read")


def test_a_data_set_is_refused_before_it_is_read() -> None:
    with pytest.raises(ValueError, match=r"data is a Images.*len\(dataset\)"):
        nested_subsets(Images(), min_fraction=0.5)  # type: ignore[arg-type]


def test_the_fix_that_a_refusal_names_works() -> None:
    assert nested_subsets(np.arange(90) % 3, min_fraction=0.3334).sizes == (30, 90)


def test_many_whole_numbers_may_be_a_target() -> None:
    years = np.random.default_rng(0).integers(0, 1000, 5000)
    with pytest.raises(ValueError, match=r"Use stratify='quantiles' if data is a target\. If it"):
        nested_subsets(years, min_fraction=1 / 9)
    nested_subsets(years, min_fraction=1 / 9, stratify="quantiles")
    with pytest.raises(ValueError, match=r"a lower min_examples, or stratify=False\.$"):
        nested_subsets(years, min_fraction=1 / 9, stratify="classes")
    with pytest.raises(ValueError, match=r"at least 0\.4, .*, or stratify='quantiles' if data"):
        nested_subsets(years % 200, min_fraction=1 / 9)


def test_names_that_look_missing_are_groups() -> None:
    names = ["nan", "None", "c"] * 300
    sizes = nested_subsets([0, 1] * 450, min_fraction=1 / 3, groups=names).sizes
    assert sizes == (300, 900)


def test_a_class_that_hardly_comes_in_the_smallest_subset_is_told_of() -> None:
    labels = ["yes"] * 22 + ["no"] * 978
    with package_log("evaluator") as messages:
        SubsetEvaluator(labels, min_fraction=1 / 9)
    (message,) = messages
    assert "111 examples, holds 3 of the 22 examples of class yes" in message
    assert "A min_fraction of 0.2273 holds 5." in message
    with package_log("evaluator") as messages:
        SubsetEvaluator(labels, min_fraction=0.2273)
        SubsetEvaluator(labels, min_fraction=1 / 9, min_examples=3)  # who asked for less
        SubsetEvaluator(["yes"] * 4 + ["no"] * 996, min_fraction=1 / 9)  # all data have no more
        SubsetEvaluator(np.minimum(np.arange(5000) // 10, 200), min_fraction=0.5)  # many classes
    assert not messages


def test_groups_that_are_too_large_are_told_of() -> None:
    labels, uneven = [0, 1] * 450, [0] * 800 + [1] * 100
    with package_log("evaluator") as messages:
        SubsetEvaluator(labels, min_fraction=1 / 9, groups=list(range(90)) * 10)
        assert not messages
        SubsetEvaluator(labels, min_fraction=1 / 9, groups=uneven)
    assert len(messages) == 1 and "89% of the data instead of min_fraction=0.111" in messages[0]
