"""Sharing an amount: nothing lost, no room exceeded, and as level as rooms allow."""

from hypothesis import given
from hypothesis import strategies as st

from fleet_controller.core.placement.leveling import level, pack

places = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12)


def test_the_emptiest_is_filled_first() -> None:
    assert level([10, 0, 4], [99, 99, 99], 10) == [0, 7, 3]


def test_what_does_not_divide_goes_to_the_earliest() -> None:
    assert level([0, 0, 0], [9, 9, 9], 8) == [3, 3, 2]


def test_a_full_place_leaves_its_share_to_the_others() -> None:
    assert level([0, 0], [2, 99], 10) == [2, 8]


@given(places, st.integers(0, 800))
def test_all_that_fits_is_shared_and_no_room_is_exceeded(
    places: list[tuple[int, int]], amount: int
) -> None:
    loads, rooms = [p[0] for p in places], [p[1] for p in places]
    shares = level(loads, rooms, amount)
    assert sum(shares) == min(amount, sum(rooms))
    assert all(0 <= share <= room for share, room in zip(shares, rooms, strict=True))


@given(places, st.integers(0, 800))
def test_nobody_who_got_something_is_above_one_who_could_have_had_it(
    places: list[tuple[int, int]], amount: int
) -> None:
    loads, rooms = [p[0] for p in places], [p[1] for p in places]
    shares = level(loads, rooms, amount)
    after = [load + share for load, share in zip(loads, shares, strict=True)]
    highest_given = max((a for a, share in zip(after, shares, strict=True) if share), default=0)
    lowest_open = min(
        (a for a, share, room in zip(after, shares, rooms, strict=True) if share < room),
        default=highest_given,
    )
    assert highest_given <= lowest_open + 1


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(0, 400))
def test_packing_fills_one_before_the_next(rooms: list[int], amount: int) -> None:
    shares = pack(rooms, amount)
    assert sum(shares) == min(amount, sum(rooms))
    opened = [i for i, share in enumerate(shares) if share]
    assert all(shares[i] == rooms[i] for i in opened[:-1])
