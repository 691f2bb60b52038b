"""Sets of indices do what sets of numbers do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.ranges import IndexSet

few = st.sets(st.integers(0, 12))
many = st.sets(st.integers(0, 120), min_size=30)


@given(few, few)
def test_index_sets_are_sets(some: set[int], others: set[int]) -> None:
    mine, theirs = IndexSet.of(some), IndexSet.of(others)
    _check(mine, theirs, some, others)
    _check(theirs, mine, others, some)
    assert mine.isdisjoint(theirs) == some.isdisjoint(others)
    assert mine.issubset(theirs) == (some <= others)


@given(few, many, st.integers(0, 110))
def test_a_few_against_many_are_sets_too(some: set[int], others: set[int], begin: int) -> None:
    some = {begin + index for index in some}
    _check(IndexSet.of(some), IndexSet.of(others), some, others)
    _check(IndexSet.of(others), IndexSet.of(some), others, some)


def _check(mine: IndexSet, theirs: IndexSet, some: set[int], others: set[int]) -> None:
    for made, expected in (
        (mine | theirs, some | others),
        (mine & theirs, some & others),
        (mine - theirs, some - others),
    ):
        assert list(made) == sorted(expected)
        assert len(made) == len(expected)
        assert made == IndexSet.of(expected)
    assert all((index in mine) == (index in some) for index in range(max(some, default=0) + 2))
