"""Sets of indices do what sets of numbers do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.ranges import IndexSet

few = st.sets(st.integers(0, 12))


@given(few, few)
def test_index_sets_are_sets(some: set[int], others: set[int]) -> None:
    mine, theirs = IndexSet.of(some), IndexSet.of(others)
    for made, expected in (
        (mine | theirs, some | others),
        (mine & theirs, some & others),
        (mine - theirs, some - others),
    ):
        assert list(made) == sorted(expected)
        assert len(made) == len(expected)
        assert made == IndexSet.of(expected)
    assert mine.isdisjoint(theirs) == some.isdisjoint(others)
    assert mine.issubset(theirs) == (some <= others)
