"""Loads made level over arrays: as placement has it, and with the fewest moves."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fleet_controller.core.placement.leveling import level, pack
from fleet_controller.core.rebalance.filling import fill, first_of, packed

hosts = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12
)  # (load, room)


@given(hosts, st.integers(0, 200))
def test_it_is_as_level_as_placement_makes_it(shape: list[tuple[int, int]], amount: int) -> None:
    loads, rooms = map(list, zip(*shape, strict=True))
    nothing = np.zeros(len(loads), np.int64)
    filled = fill(np.array(loads), np.array(rooms), nothing, amount)
    assert list(filled) == level(loads, rooms, amount)


@given(hosts, st.integers(0, 200))
def test_it_packs_as_placement_does(shape: list[tuple[int, int]], amount: int) -> None:
    loads, rooms = map(list, zip(*shape, strict=True))
    order = sorted(range(len(loads)), key=lambda i: (-loads[i], i))
    expected = dict(zip(order, pack([rooms[i] for i in order], amount), strict=True))
    shares = packed(np.array(rooms), np.array(loads), amount)
    assert dict(enumerate(shares)) == expected


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_what_is_level_stays_and_each_move_is_downhill(
    shape: list[tuple[int, int, int]],
) -> None:
    base, have, room = (np.array(column) for column in zip(*shape, strict=True))
    total = int(have.sum())
    after = fill(base, have + room, have, total)
    assert after.sum() == total and (after <= have + room).all()
    assert list(fill(base, have + room, after, total)) == list(after), "it is level as it is"
    gives, takes = after < have, after > have
    if gives.any():  # whoever gives has more before than whoever takes has afterwards
        assert (base + have)[gives].min() > (base + after)[takes].max()


def test_the_first_ones_are_counted_first() -> None:
    assert list(first_of(np.array([3, 0, 4, 5]), 5)) == [3, 0, 2, 0]
