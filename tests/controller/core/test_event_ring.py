"""Which events outlive their leader, and where each is kept."""

from __future__ import annotations

from itertools import count

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.events.event_ring import (
    MAX_TEXT,
    MOST_OF_KIND,
    SLOTS,
    EventRecord,
    FreshEvent,
    event_of,
    is_kept,
    placed,
    record_of,
    slot_name,
    slot_of,
)
from fleet_controller.store.codec import decode, encode
from fleet_controller.store.keys import event

cursors = count(1)


def fresh(kind: str, *told_before: int) -> FreshEvent:
    return FreshEvent(EventRecord(next(cursors), 1.0, kind), told_before)


def filled(kinds: int, slots: int = SLOTS) -> dict[int, EventRecord]:
    """A full ring, of so many kinds in turn, the oldest in the first slot."""
    return {slot: fresh(f"kind_{chr(97 + slot % kinds)}").record for slot in range(slots)}


def test_fresh_events_take_free_slots_first_and_then_those_of_the_oldest() -> None:
    ring = filled(20)
    del ring[7]
    assert list(placed(ring, [fresh("new"), fresh("new"), fresh("new")])) == [7, 0, 1]


def test_of_a_kind_that_is_told_in_masses_the_oldest_makes_way() -> None:
    ring = filled(SLOTS // MOST_OF_KIND)
    flood = [fresh("kind_c") for _ in range(MOST_OF_KIND)]
    written = placed(ring, flood)
    assert {ring[slot].kind for slot in written} == {"kind_c"} and len(written) == MOST_OF_KIND
    more = placed({**ring, **written}, [fresh("kind_c")])
    assert list(more) == [2], "the oldest of the flood itself"


def test_an_event_that_is_told_anew_keeps_its_slot() -> None:
    ring = filled(20)
    told = ring[1234].cursor
    assert list(placed(ring, [fresh("kind_o", told)])) == [1234]
    assert list(placed(ring, [fresh("kind_o", 10**9)])) == [0], "it has been pushed out since"
    written_already = FreshEvent(ring[77])
    assert list(placed(ring, [written_already, written_already])) == [77], "its answer was lost"


def test_a_ring_smaller_than_what_is_told_at_once_holds_the_newest() -> None:
    ring: dict[int, EventRecord] = {}
    told = [fresh("kind") for _ in range(11)]
    ring.update(placed(ring, told, slots=4))
    assert {one.cursor for one in ring.values()} == {one.record.cursor for one in told[-4:]}


def test_slots_that_cannot_be_understood_are_left_while_there_are_others() -> None:
    ring = filled(20)
    del ring[3], ring[8]
    assert list(placed(ring, [fresh("new"), fresh("new")], {3})) == [8, 0]
    assert list(placed({}, [fresh("new")], set(range(SLOTS)))) == [0]


def test_an_event_is_recalled_as_it_was_told_with_its_texts_cut() -> None:
    told = cluster.Event(
        cursor=(1 << 52) + 1, time_unix=12.5, kind="vms_failing", fleet="spv", host="h1",
        message="m", actor="operator/me", count=7, last_unix=13.5, change_id="c-1",
    )  # fmt: skip
    assert event_of(record_of(told)) == told
    told.message, told.host = "ä" * 5_000, "h" * 5_000
    record = record_of(told)
    assert len(record.message) == MAX_TEXT and len(record.host) < 500
    assert decode(EventRecord, event("0000"), encode(record)) == record


def test_slots_have_names_and_nothing_else_names_one() -> None:
    assert [slot_of(slot_name(slot)) for slot in (0, 17, SLOTS - 1)] == [0, 17, SLOTS - 1]
    wrong = ("", "17", f"{SLOTS}", "00017", "-001", "x", "\u0660\u0660\u0660\u0661")
    assert [slot_of(name) for name in wrong] == [None] * len(wrong)


def test_openings_of_consoles_are_not_kept() -> None:
    assert not is_kept("console_opened") and is_kept("fleet_scaled") and is_kept("host_lost")
