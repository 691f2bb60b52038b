"""Which events outlive their leader, and the place of each in the store's ring.

The ring has a fixed number of slots, so it never grows. A fresh event takes the slot of the oldest;
where there are many of its kind, of the oldest of that kind: so no kind pushes out the others.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Annotated

import msgspec

from fleet.v1 import cluster_pb2 as cluster

# Slots. At some 300 bytes each it is less than 1 MB of the store.
SLOTS = 2_000
# Of one kind at once: hosts, guests and scripts bring some kinds about at will.
MOST_OF_KIND = 250
# Characters of one text.
MAX_TEXT = 500
_MAX_NAME = 256
_DIGITS = 4
# What people do on consoles, as often as they like, and what is so at the moment: the next leader
# hears anew which hosts are there.
FLEETING = frozenset({"console_opened", "host_live", "hosts_unheard"})

_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_Name = Annotated[str, msgspec.Meta(max_length=_MAX_NAME)]
_Kind = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}\Z")]
# Within what JSON's readers keep exact.
_Cursor = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_Time = Annotated[float, msgspec.Meta(ge=0, le=2**40)]


class EventRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event as the store has it. Times are in seconds since 1970; `last` and `count` as in
    fleet.v1.Event."""

    cursor: _Cursor
    time: _Time
    kind: _Kind
    message: _Text = ""
    fleet: _Name = ""
    host: _Name = ""
    actor: _Name = ""
    change: _Name = ""
    count: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    last: _Time = 0.0


class FreshEvent(msgspec.Struct, frozen=True):
    """One that the ring does not have yet. `told_before`: cursors under which it was told, and may
    be in the ring."""

    record: EventRecord
    told_before: tuple[int, ...] = ()


def slot_name(slot: int) -> str:
    """The last part of its key."""
    return f"{slot:0{_DIGITS}}"


def slot_of(name: str) -> int | None:
    """None for the name of no slot."""
    digits = len(name) == _DIGITS and name.isascii() and name.isdigit()
    return int(name) if digits and int(name) < SLOTS else None


def is_kept(kind: str) -> bool:
    """Whether events of the kind outlive their leader."""
    return kind not in FLEETING


def record_of(event: cluster.Event) -> EventRecord:
    """Cut to what a record may hold."""
    names = (event.fleet, event.host, event.actor, event.change_id)
    fleet, host, actor, change = (name[:_MAX_NAME] for name in names)
    return EventRecord(
        event.cursor, event.time_unix, event.kind, _clipped(event.message), fleet, host, actor,
        change, event.count, event.last_unix,
    )  # fmt: skip


def event_of(record: EventRecord) -> cluster.Event:
    """As it was told."""
    return cluster.Event(
        cursor=record.cursor,
        time_unix=record.time,
        kind=record.kind,
        message=record.message,
        fleet=record.fleet,
        host=record.host,
        actor=record.actor,
        change_id=record.change,
        count=record.count,
        last_unix=record.last,
    )


def placed(
    ring: Mapping[int, EventRecord],
    fresh: Iterable[FreshEvent],
    broken: Set[int] = frozenset(),
    slots: int = SLOTS,
) -> dict[int, EventRecord]:
    """The slots that are written, given what is in the ring by slot, and what each holds then.
    Those that cannot be understood are left for somebody to look at, while there are others."""
    after, written = dict(ring), dict[int, EventRecord]()
    of_kind = Counter(record.kind for record in after.values())
    empty = [slot for slot in range(slots) if slot not in after]
    sound = [slot for slot in empty if slot not in broken]
    free = iter(sound if sound or after else empty)
    oldest, of = _oldest_first(after), dict[str, Iterator[int]]()  # of all, and of a kind
    slots_of = {record.cursor: slot for slot, record in after.items()}
    for event in fresh:
        record = event.record
        # It may be there itself: a write whose answer was lost is made again.
        known = (*event.told_before, record.cursor)
        slot = next((slots_of[one] for one in known if one in slots_of), None)
        if slot is None and of_kind[record.kind] >= min(MOST_OF_KIND, slots):
            slot = next(of.setdefault(record.kind, _oldest_first(after, record.kind)))
        if slot is None:
            slot = next(free, None)
        if slot is None:
            slot = next(oldest)
        if slot in after:
            of_kind[after[slot].kind] -= 1
            slots_of.pop(after[slot].cursor, None)
        of_kind[record.kind] += 1
        slots_of[record.cursor] = slot
        after[slot] = written[slot] = record
    return written


def _oldest_first(ring: Mapping[int, EventRecord], kind: str = "") -> Iterator[int]:
    """Slots by the age of what they hold when they are asked for: `ring` may change meanwhile.
    `kind`: only of this one."""
    ages: list[tuple[int, int]] = []
    while True:
        if not ages:  # or all are written: whatever is oldest by now
            ages = [(one.cursor, at) for at, one in ring.items() if kind in ("", one.kind)]
            heapq.heapify(ages)
        cursor, slot = heapq.heappop(ages)
        if ring[slot].cursor == cursor:
            yield slot


def _clipped(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."
