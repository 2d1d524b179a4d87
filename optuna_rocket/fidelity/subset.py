"""Nested subsets of a data set: one seeded order of the examples; a subset is a prefix of it.

Two subsets of one data set share all that the smaller one has, so that results at different sizes
differ by the size alone and not by the luck of the draw.

Notation: ``n`` examples, in ``S`` strata of ``n_s`` examples each, ``k`` examples in a prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
import math
from typing import Any
from typing import Literal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from optuna_rocket.arguments import check_integer
from optuna_rocket.arguments import is_number
from optuna_rocket.fidelity.labels import Indices
from optuna_rocket.fidelity.labels import as_floats
from optuna_rocket.fidelity.labels import examples
from optuna_rocket.fidelity.labels import group_numbers
from optuna_rocket.fidelity.labels import n_missing


Stratify = Literal["classes", "quantiles", "blocks", False] | None

_N_QUANTILES = 10
# Blocks in the smallest subset: fewer would see one stretch of a series only.
_N_BLOCKS = 4
# Integers with fewer examples than this per distinct number are a measurement, not a class.
_MIN_PER_CLASS = 3
# Among more classes than this a few are rare in any data: they are not counted.
_MOST_COUNTED = 20
_MODES = (None, "classes", "quantiles", "blocks", False)


class ClassCount(NamedTuple):
    """How many examples of a class there are, in all and in the smallest subset."""

    name: str
    in_all: int
    in_smallest: int


@dataclass(frozen=True)
class NestedSubsets:
    """One order of the examples and the sizes at which it is cut.

    Attributes:
        order: ``(n,)`` every example once.
        sizes: Numbers of examples, strictly rising; the last one is ``n``.
        classes: Of each class, where stratified by twenty at most; else none.
    """

    order: Indices
    sizes: tuple[int, ...]
    classes: tuple[ClassCount, ...] = ()

    def indices(self, rung: int) -> Indices:
        """Examples of a subset ``(k,)`` in the order of the data, so the last is ``arange(n)``."""
        return self._pieces[rung].copy()

    @cached_property
    def _pieces(self) -> list[Indices]:
        return [np.sort(self.order[:size]) for size in self.sizes]


def nested_subsets(
    data: Sequence[Any] | NDArray[Any] | int,
    *,
    min_fraction: float,
    reduction_factor: float = 3,
    stratify: Stratify = None,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    min_examples: int = 10,
    seed: int = 0,
) -> NestedSubsets:
    """Order the examples and choose the sizes.

    Args:
        data: Labels or targets ``(n,)``, or the number of examples.
        min_fraction: Size of the smallest subset, a share in (0, 1].
        reduction_factor: Ratio of neighbouring sizes, above 1; see ``grid``.
        stratify: How each prefix is made to resemble the whole:

            - ``"classes"``: by label. Of every class a prefix of ``k`` examples has
              ``k * n_s / n`` with an error of at most ``max(1, S * n_s / n)``, and every class
              comes among the first ``S`` examples.
            - ``"quantiles"``: the same with tenths of a continuous target as classes.
            - ``"blocks"``: contiguous blocks, for series and text whose neighbours belong
              together. The blocks of a prefix are spread over the whole length.
            - False: a plain permutation.
            - None: quantiles for fractions and for integers that hardly repeat, classes for all
              other labels, plain for a number of examples.
        groups: ``(n,)`` group of every example (a patient, a speaker). Whole groups enter a
            subset, ordered so that their main class (mean target) is stratified; sizes move to
            the nearest end of a group.
        min_examples: Examples that the smallest subset must have per class or tenth on average
            (in all, where there are none). Below this, rankings follow luck.
        seed: Seed of the order.

    Returns:
        The order and its sizes.

    Raises:
        ValueError: If an argument makes no sense, or the smallest subset would be meaningless.
    """
    _check(min_fraction, reduction_factor, stratify, min_examples, seed)
    n, labels = examples(data)
    rng = np.random.default_rng(seed)
    sizes = grid(n, min_fraction, reduction_factor)
    mode = _mode(labels, stratify)
    if mode == "blocks":
        if groups is not None:
            raise ValueError("groups= and stratify='blocks' exclude each other: leave one out.")
        length = max(1, sizes[0] // _N_BLOCKS)
        order, ends = _grouped_order(np.arange(n, dtype=np.float64), np.arange(n) // length, rng)
        n_strata = 1
    else:
        strata = _strata(data, labels, mode, n)
        n_strata = int(strata.max()) + 1
        if groups is None:
            order, ends = stratified_order(strata, rng), None
        else:
            values = strata.astype(np.float64) if mode != "quantiles" else as_floats(labels)
            identity = group_numbers(groups, n)
            order, ends = _grouped_order(values, identity, rng, classes=mode != "quantiles")
    if ends is not None:
        sizes = _at_ends(sizes, ends)
    are_numbers = stratify is None and labels is not None and labels.dtype.kind in "iuf"
    floor = _Floor(n, n_strata, min_examples, mode == "classes", are_numbers)
    floor.check(sizes[0], min_fraction)
    if mode != "classes" or labels is None:
        return NestedSubsets(order, sizes)
    return NestedSubsets(order, sizes, _class_counts(labels, strata, order[: sizes[0]]))


def grid(n: int, min_fraction: float, reduction_factor: float) -> tuple[int, ...]:
    """Numbers of examples from ``n * min_fraction`` to ``n``, strictly rising.

    The ratio of neighbours is the same all along and as close to ``reduction_factor`` as a whole
    number of steps allows.
    """
    if min_fraction == 1:
        return (n,)
    ratio = math.log(1 / min_fraction)
    n_steps = max(1, round(ratio / math.log(reduction_factor)))
    if n_steps > n * ratio:  # neighbours would be less than one example apart
        return tuple(range(max(1, round(n * min_fraction)), n + 1))
    sizes = {max(1, round(n * min_fraction ** (i / n_steps))) for i in range(n_steps + 1)}
    return tuple(sorted(sizes))


def stratified_order(strata: Indices, rng: np.random.Generator) -> Indices:
    """A random order ``(n,)`` whose prefixes hold all strata in proportion.

    The ``j``-th example of a stratum has its turn at ``j / n_s`` (Adams' rule of apportionment,
    which rounds up and so begins with one example of every stratum); turns that coincide are
    taken at random.
    """
    shuffled = rng.permutation(len(strata))
    by_stratum = shuffled[np.argsort(strata[shuffled], kind="stable")]
    counts = np.bincount(strata)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    turn = (np.arange(len(strata)) - first) / np.repeat(counts, counts)
    return by_stratum[np.lexsort((rng.random(len(strata)), turn))].astype(np.int64)


def _grouped_order(
    values: NDArray[np.float64],
    identity: Indices,
    rng: np.random.Generator,
    *,
    classes: bool = False,
) -> tuple[Indices, Indices]:
    """Order whole groups, stratified by the main class or the mean of their values.

    Returns:
        The examples in order ``(n,)`` and the sizes at which a group ends.
    """
    counts = np.bincount(identity)
    if classes:
        main = _main_classes(identity, values.astype(np.int64))
        _, strata = np.unique(main, return_inverse=True)
    else:
        strata = _tenths(np.bincount(identity, weights=values) / counts)
    turn = np.empty(len(counts), dtype=np.int64)
    turn[stratified_order(strata.astype(np.int64), rng)] = np.arange(len(counts))
    order = np.argsort(turn[identity], kind="stable")
    return order.astype(np.int64), np.cumsum(counts[np.argsort(turn)])


def _main_classes(identity: Indices, classes: Indices) -> Indices:
    """The class that most examples of each group have, the lowest one of several."""
    # Most pairs of a group and a class have no example: a table of all may not fit in memory.
    n_classes = int(classes.max()) + 1
    pairs, counts = np.unique(identity * n_classes + classes, return_counts=True)
    group, main = np.divmod(pairs, n_classes)
    order = np.lexsort((main, -counts, group))
    _, first = np.unique(group[order], return_index=True)
    return np.asarray(main[order][first])


def _at_ends(sizes: Sequence[int], ends: Indices) -> tuple[int, ...]:
    """Sizes moved to the nearest end of a group; those that meet become one."""
    nearest = {int(ends[np.abs(ends - size).argmin()]) for size in sizes}
    return tuple(sorted(nearest))


def _mode(labels: NDArray[Any] | None, stratify: Stratify) -> Stratify:
    if labels is None:
        if stratify in ("classes", "quantiles"):
            raise ValueError(
                f"stratify={stratify!r} needs labels, but data is a number of examples. Pass the "
                "labels as data, or stratify=False."
            )
        return stratify or False
    if stratify is not None:
        return stratify
    if labels.dtype.kind not in "iuf":
        return "classes"
    repeats = len(np.unique(labels)) * _MIN_PER_CLASS <= len(labels)
    return "classes" if repeats and (labels == np.round(labels)).all() else "quantiles"


def _strata(data: Any, labels: NDArray[Any] | None, mode: Stratify, n: int) -> Indices:
    """Stratum of every example ``(n,)``, numbered from 0; ``labels`` are ``data`` as an array."""
    if labels is None or mode is False:
        return np.zeros(n, dtype=np.int64)
    if mode == "quantiles":
        return _tenths(as_floats(labels))
    if n_missing(data, labels, none_is_name=True):
        raise ValueError("data has NaN among its labels. Drop these examples first.")
    if labels.dtype.kind == "O":
        labels = labels.astype(str)  # None and mixed types have no order of their own
    classes, strata = np.unique(labels, return_inverse=True)
    if len(classes) == 1:
        raise ValueError(
            f"data holds one class only ({classes[0]!r}). Check the labels, or pass "
            "stratify=False to sample without them."
        )
    return strata.astype(np.int64)


def _tenths(values: NDArray[np.float64]) -> Indices:
    """Tenths by rank ``(n,)``; equal values may part, as a target's ties carry no class."""
    rank = np.empty(len(values), dtype=np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    return rank * min(_N_QUANTILES, len(values)) // len(values)


def _check(
    min_fraction: float, reduction_factor: float, stratify: object, min_examples: int, seed: int
) -> None:
    if not is_number(min_fraction) or not 0 < min_fraction <= 1:
        raise ValueError(
            f"min_fraction={min_fraction!r} is not a share of the data. Use a number in (0, 1], "
            "for example 1 / 9."
        )
    if not is_number(reduction_factor) or not reduction_factor > 1:
        raise ValueError(
            f"reduction_factor={reduction_factor!r} does not make subsets smaller. Use a number "
            "above 1, for example 3."
        )
    named = isinstance(stratify, str) and stratify in _MODES
    if not (named or stratify is None or stratify is False):
        known = ", ".join(map(repr, _MODES))
        raise ValueError(f"stratify={stratify!r} is none of {known}. Labels go into data.")
    check_integer("min_examples", min_examples, least=1, fix="Use 10, or 1 to allow any subset.")
    check_integer("seed", seed, least=0, fix="Use 0, or leave it out.")


def _class_counts(
    labels: NDArray[Any], strata: Indices, smallest: Indices
) -> tuple[ClassCount, ...]:
    in_all = np.bincount(strata)
    if len(in_all) > _MOST_COUNTED:
        return ()
    in_smallest = np.bincount(strata[smallest], minlength=len(in_all))
    _, first = np.unique(strata, return_index=True)
    names = [str(labels[i]) for i in first]
    return tuple(map(ClassCount, names, in_all.tolist(), in_smallest.tolist()))


class _Floor(NamedTuple):
    """What the smallest subset needs: ``least`` examples of each stratum on average."""

    n: int
    n_strata: int
    least: int
    are_classes: bool
    may_be_target: bool

    def check(self, size: int, min_fraction: float) -> None:
        n, n_strata = self.n, self.n_strata
        needed = self.least * n_strata
        if size >= min(needed, n):
            return
        if self.are_classes and n_strata == n > 1:
            raise ValueError(
                f"data holds another label for each of {n} examples. Pass their classes, or the "
                f"number of examples, {n}."
            )
        each = f", {size / n_strata:.1f} for each of {n_strata} strata" if n_strata > 1 else ""
        raise ValueError(
            f"min_fraction={min_fraction:.4g} leaves {size} of {n} examples in the smallest "
            f"subset{each}; min_examples={self.least} asks for {needed}. {self._advice(needed)}"
        )

    def _advice(self, needed: int) -> str:
        are_numbers = self.are_classes and self.may_be_target
        if needed < self.n:
            fraction = math.ceil(1e4 * needed / self.n) / 1e4
            or_else = ", or stratify='quantiles' if data is a target." if are_numbers else "."
            return f"Use min_fraction of at least {fraction:.4g}, or a lower min_examples{or_else}"
        too_few = "subsets make no sense for so few examples: evaluate all (min_fraction=1)"
        if are_numbers:
            return f"Use stratify='quantiles' if data is a target. If it holds classes, {too_few}."
        or_plain = ", or stratify=False" if self.are_classes else ""
        return f"Here {too_few}. If you know better, use a lower min_examples{or_plain}."
