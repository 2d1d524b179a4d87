from __future__ import annotations

from dataclasses import fields
from dataclasses import replace
from decimal import Decimal
import itertools
import math
from typing import Any

from hypothesis import assume
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
import pytest
import torch
from torch import Tensor

from optuna_rocket import space as space_module
from optuna_rocket.space import INACTIVE_CHOICE
from optuna_rocket.space import INACTIVE_NUMERIC
from optuna_rocket.space import Space
from optuna_rocket.training.tasks import random_units
from optuna_rocket.training.tasks import sample_tasks
from tests.builders import MIXED
from tests.builders import flat_geometry
from tests.builders import generator
from tests.builders import mixed_geometry


numeric = settings(deadline=None, max_examples=60, derandomize=True)
CHOICES = (None, True, "a", "None", 1.5, 3, -2, "")
STEPS = ("0.1", "0.25", "0.001", "2", "7.5")


@st.composite
def float_distributions(draw: st.DrawFn) -> FloatDistribution:
    kind = draw(st.sampled_from(["plain", "log", "step"]))
    if kind == "log":
        low = draw(st.floats(1e-12, 1e3))
        return FloatDistribution(low, low * draw(st.floats(1.001, 1e9)), log=True)
    if kind == "plain":
        low = draw(st.floats(-1e6, 1e6))
        return FloatDistribution(low, low + draw(st.floats(1e-3, 1e6)))
    step = Decimal(draw(st.sampled_from(STEPS)))
    first, count = draw(st.integers(-500, 500)), draw(st.integers(1, 300))
    low, high = float(first * step), float((first + count) * step)
    return FloatDistribution(low, high, step=float(step))


@st.composite
def int_distributions(draw: st.DrawFn) -> IntDistribution:
    if draw(st.booleans()):
        low = draw(st.integers(1, 1000))
        return IntDistribution(low, low + draw(st.integers(1, 10**6)), log=True)
    low, step = draw(st.integers(-(10**9), 10**9)), draw(st.integers(1, 50))
    return IntDistribution(low, low + step * draw(st.integers(1, 2000)), step=step)


@st.composite
def categorical_distributions(draw: st.DrawFn) -> CategoricalDistribution:
    return CategoricalDistribution(
        draw(st.lists(st.sampled_from(CHOICES), min_size=1, max_size=8, unique=True))
    )


any_distribution: st.SearchStrategy[BaseDistribution] = st.one_of(
    float_distributions(), int_distributions(), categorical_distributions()
)
wild_units = st.floats(-0.5, 1.5)


def draw_value(distribution: BaseDistribution, share: float) -> Any:
    """A value that Optuna itself could have drawn, ``share`` of the way up."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(share * (len(distribution.choices) - 1))]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high = distribution.low, distribution.high
    if distribution.step is not None:
        index = int(share * round((high - low) / distribution.step))
        return type(low)(low + index * distribution.step)
    if distribution.log:
        return min(max(low * (high / low) ** share, low), high)
    return min(low + share * (high - low), high)


def near_edge(distribution: BaseDistribution, space: Space, unit: float) -> bool:
    """Whether a unit lies between two cells, where either of them is right."""
    if isinstance(distribution, CategoricalDistribution):
        edge = unit + 0.5
    elif math.isinf(space.n_configurations) or getattr(distribution, "log", False):
        return False
    else:
        edge = unit * space.n_configurations
    return abs(edge - round(edge)) < 1e-6


@numeric
@given(any_distribution, st.floats(0, 1))
def test_decode_undoes_encode(distribution: BaseDistribution, share: float) -> None:
    space = Space({"p": distribution})
    value = draw_value(distribution, share)
    unit = space.encode(0, distribution.to_internal_repr(value))
    decoded = space.decode([unit])["p"]

    assert type(decoded) is type(value)
    if isinstance(distribution, FloatDistribution):
        width = distribution.high - distribution.low
        tolerance = 1e-9 * (abs(value) if distribution.log else width + abs(value))
        assert decoded == pytest.approx(value, rel=0, abs=tolerance)
    else:
        assert decoded == value
    if not isinstance(distribution, CategoricalDistribution):
        assert 0 <= unit <= 1


@numeric
@given(any_distribution, wild_units)
def test_decoded_value_is_in_the_distribution(distribution: BaseDistribution, unit: float) -> None:
    if isinstance(distribution, CategoricalDistribution):
        unit = unit * len(distribution.choices)
    value = Space({"p": distribution}).decode([unit])["p"]

    assert distribution._contains(distribution.to_internal_repr(value))
    assert type(value) in (bool, int, float, str, type(None))


@numeric
@given(any_distribution, st.lists(wild_units, min_size=1, max_size=10))
def test_snap_is_idempotent_and_agrees_with_decode(
    distribution: BaseDistribution, row: list[float]
) -> None:
    space = Space({"p": distribution})
    geometry = space.geometry({}, has_gaps=False)
    units = torch.tensor(row, dtype=torch.float64)[None, :, None]
    snapped = geometry.snap(units)

    again = geometry.snap(snapped)
    torch.testing.assert_close(again, snapped, atol=1e-12, rtol=0)
    assert torch.equal(geometry.keys(again), geometry.keys(snapped))
    for unit, moved in zip(row, snapped.flatten().tolist(), strict=True):
        if near_edge(distribution, space, unit):
            continue
        before, after = space.decode([unit])["p"], space.decode([moved])["p"]
        assert after == (pytest.approx(before) if isinstance(before, float) else before)


@numeric
@given(int_distributions())
def test_every_integer_of_a_log_scale_has_a_cell(distribution: IntDistribution) -> None:
    assume(distribution.high - distribution.low <= 3000)
    space = Space({"p": distribution})
    count = int(space.n_configurations)
    units = torch.from_numpy(space.enumerate_units())[None]
    snapped = space.geometry({}, has_gaps=False).snap(units)

    decoded = [space.decode(row)["p"] for row in snapped[0].tolist()]
    assert decoded == list(range(distribution.low, distribution.high + 1, distribution.step))
    assert len(decoded) == count


def test_units_grow_with_values_and_use_the_whole_interval() -> None:
    space = Space({"p": FloatDistribution(1e-4, 1.0, log=True)})
    assert space.encode(0, 1e-4) == pytest.approx(0)
    assert space.encode(0, 1e-2) == pytest.approx(0.5)
    assert space.encode(0, 1.0) == pytest.approx(1)
    grid = Space({"p": IntDistribution(0, 9)})
    assert [grid.encode(0, k) for k in range(10)] == pytest.approx(
        [k / 10 + 0.05 for k in range(10)]
    )


def test_values_outside_of_a_changed_range_are_extrapolated() -> None:
    space = Space({"p": FloatDistribution(0.0, 1.0), "q": FloatDistribution(0.1, 1.0, log=True)})
    assert space.encode(0, 1.25) == pytest.approx(1.25)
    assert space.encode(0, -0.5) == pytest.approx(-0.5)
    assert math.isfinite(space.encode(0, 1e30)) and space.encode(0, 1e30) > 1
    assert math.isfinite(space.encode(1, -3.0))
    assert space.encode(1, 10.0) == pytest.approx(2.0)


def test_the_widest_range_is_modelled_and_a_wider_one_is_not() -> None:
    space = Space({"p": FloatDistribution(-1.7e308, 1.7e308)})
    assert space.decode([0.0])["p"] == -1.7e308 and space.decode([1.0])["p"] == 1.7e308
    assert space.decode([space.encode(0, 1e308)])["p"] == pytest.approx(1e308)
    with pytest.raises((ArithmeticError, ValueError)):
        Space({"p": IntDistribution(-(10**400), 10**400)})
    with pytest.raises(ValueError, match="cannot tell its values apart"):
        Space({"p": IntDistribution(2**60, 2**60 + 3)})
    with pytest.raises(ValueError, match="cannot tell its values apart"):
        Space({"p": FloatDistribution(0.0, 5e-324)})


@pytest.mark.parametrize(
    "distribution", [IntDistribution(-(2**62), 2**62), IntDistribution(1, 2**40, log=True)]
)
def test_huge_integer_ranges_decode_into_themselves(distribution: IntDistribution) -> None:
    space = Space({"p": distribution})
    for k in range(101):
        value = space.decode([k / 100])["p"]
        assert distribution.low <= value <= distribution.high and type(value) is int


def test_keys_are_equal_for_equal_rows_alone() -> None:
    geometry = mixed_geometry()
    units = random_units(geometry, 3000, generator())
    keys = geometry.keys(units)[0].tolist()
    rows = [tuple(row) for row in units[0].tolist()]

    by_row: dict[tuple[float, ...], int] = dict(zip(rows, keys, strict=True))
    assert all(by_row[row] == key for row, key in zip(rows, keys, strict=True))
    assert len(set(keys)) == len(set(rows))
    assert len(set(rows)) > 1000


def test_keys_do_not_depend_on_the_batch() -> None:
    geometry = flat_geometry()
    units = random_units(geometry, 50, generator())
    assert torch.equal(geometry.keys(units)[:, 7:9], geometry.keys(units[:, 7:9]))


def nested_space(
    root: str, middle: str, leaf: str
) -> tuple[Space, dict[int, tuple[int, list[bool]]]]:
    """``middle`` exists under the first choice of ``root``, ``leaf`` from its second value on."""
    space = Space(
        {
            root: CategoricalDistribution(["x", "y"]),
            middle: IntDistribution(1, 3),
            leaf: FloatDistribution(0.0, 1.0),
        }
    )
    column = {name: j for j, name in enumerate(space.names)}
    return space, {
        column[middle]: (column[root], [True, False]),
        column[leaf]: (column[middle], [False, True, True]),
    }


@pytest.mark.parametrize("names", list(itertools.permutations(("a", "b", "c"))))
def test_nested_conditions_whatever_the_order_of_names(names: tuple[str, str, str]) -> None:
    space, conditions = nested_space(*names)
    geometry = space.geometry(conditions, has_gaps=True)
    column = [space.names.index(name) for name in names]

    def activity(root: float, middle: float) -> list[bool]:
        row = torch.zeros(1, 1, 3, dtype=torch.float64)
        row[0, 0, column[0]], row[0, 0, column[1]] = root, middle
        return [bool(x) for x in geometry.activity(row)[0, 0, column]]

    assert activity(0, 0.1) == [True, True, False]
    assert activity(0, 0.5) == [True, True, True]
    assert activity(1, 0.1) == [True, False, False]
    assert activity(1, 0.5) == [True, False, False]


def test_unconditional_parameters_are_always_active() -> None:
    geometry = flat_geometry()
    assert bool(geometry.activity(random_units(geometry, 20, generator())).all())


def test_the_batch_is_in_front_of_every_tensor() -> None:
    one = mixed_geometry()
    one = replace(one, held=torch.full_like(one.n_cells, torch.nan))
    several = one.take(torch.zeros(3, dtype=torch.long))
    values = [(getattr(one, x.name), getattr(several, x.name)) for x in fields(one)]
    tensors = [pair for pair in values if isinstance(pair[0], Tensor)]
    assert len(tensors) == len(values) - 1 and one.has_gaps is several.has_gaps
    for mine, theirs in tensors:
        assert theirs.shape == (3, *mine.shape[1:])


def test_what_one_geometry_alone_has_is_not_lost() -> None:
    one = flat_geometry()
    other = replace(one, held=torch.full(one.present.shape, torch.nan))
    for space, more in ((one, other), (other, one)):
        with pytest.raises(ValueError, match="held is None in some"):
            space.each(lambda *tensors: torch.cat(tensors), more)


def test_fill_inactive_neutralises_only_what_is_inactive() -> None:
    geometry = mixed_geometry()
    rng = generator()
    units = geometry.snap(torch.rand(1, 200, 6, generator=rng, dtype=torch.float64) * 3)
    active = geometry.activity(units)
    filled = geometry.fill_inactive(units, active)

    assert torch.equal(filled[active], units[active])
    assert not bool(active.all())
    neutral = torch.where(geometry.is_categorical, INACTIVE_CHOICE, INACTIVE_NUMERIC)
    expected: Tensor = neutral[:, None].expand(units.shape)[~active].double()
    assert torch.equal(filled[~active], expected)


def test_enumeration_holds_every_configuration_once() -> None:
    space = Space(
        {
            "c": CategoricalDistribution([None, "a", 3]),
            "f": FloatDistribution(-0.3, 0.3, step=0.1),
            "i": IntDistribution(-4, 4, step=4),
            "n": IntDistribution(2, 5, log=True),
        }
    )
    rows = space.enumerate_units()
    decoded = [tuple(space.decode(row).values()) for row in rows.tolist()]
    floats = [round(-0.3 + 0.1 * k, 6) for k in range(7)]
    expected = set(itertools.product([None, "a", 3], floats, [-4, 0, 4], [2, 3, 4, 5]))

    assert len(rows) == space.n_configurations == len(expected)
    assert {(c, round(f, 6) + 0.0, i, n) for c, f, i, n in decoded} == expected
    snapped = space.geometry({}, has_gaps=False).snap(torch.from_numpy(rows)[None])[0]
    torch.testing.assert_close(snapped, torch.from_numpy(rows), atol=1e-12, rtol=0)


def test_continuous_spaces_have_infinitely_many_configurations() -> None:
    assert Space(MIXED).n_configurations == math.inf


def test_number_of_active_parameters_is_the_mean_over_the_space() -> None:
    assert flat_geometry().n_active.tolist() == [6.0]
    # Three that always exist, momentum in 2 of 3, rate in 1 of 3, width in 3 of 4.
    assert mixed_geometry().n_active.tolist() == pytest.approx([3 + 2 / 3 + 1 / 3 + 3 / 4])
    space, conditions = nested_space("a", "b", "c")
    nested = space.geometry(conditions, has_gaps=True)
    assert nested.n_active.tolist() == pytest.approx([1 + 1 / 2 + 1 / 2 * 2 / 3])


def test_number_of_active_parameters_in_padded_batches() -> None:
    for seed in range(6):
        geometry = sample_tasks(10, generator(seed)).geometry
        active = geometry.activity(random_units(geometry, 4000, generator()))
        counted = active.sum(-1).double().mean(-1)
        torch.testing.assert_close(geometry.n_active, counted, atol=0.15, rtol=0)


def test_keys_are_the_same_in_every_process() -> None:
    """Whatever the state of torch's generator is, and leaving that alone."""
    units = torch.tensor([[[0.25, 2.0, 0.5], [0.25, 2.0, 0.5 + 1e-8]]], dtype=torch.float64)
    geometry = nested_space("a", "b", "c")[0].geometry({}, has_gaps=False)
    known = geometry.keys(units)
    assert known[0, 0] != known[0, 1]
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        space_module._odd_factors.cache_clear()
        assert torch.equal(geometry.keys(units), known)
        assert torch.equal(torch.get_rng_state(), state)
    for d in (1, 3, 100):
        assert bool((space_module._odd_factors(d) % 2 == 1).all())


def test_numbers_beyond_all_floats_are_counted() -> None:
    names = [f"x{i:03d}" for i in range(110)]
    integers: dict[str, BaseDistribution] = dict.fromkeys(names, IntDistribution(0, 999))
    assert Space(integers).n_configurations == 1000**110
    assert Space(integers | {"z": FloatDistribution(0, 1)}).n_configurations == math.inf
