"""Events that are to outlive their leader, and are not in the store yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.events.event_ring import (
    MOST_OF_KIND,
    SLOTS,
    FreshEvent,
    is_kept,
    record_of,
)


@dataclass(frozen=True, slots=True)
class _Unsaved:
    event: cluster.Event
    told_before: tuple[int, ...]


class UnsavedEvents:
    """Of a leader. While the store takes none, the newest: as many as the ring holds, and of one
    kind as many as it holds of one."""

    def __init__(self) -> None:
        # By kind, and of that by cursor, in their order.
        self._events: defaultdict[str, dict[int, _Unsaved]] = defaultdict(dict)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def told(self, event: cluster.Event, before: int) -> None:
        """An event has been told; `before`: under which cursor it was told already, else 0."""
        if not is_kept(event.kind):
            return
        waiting = self._taken(event.kind, before)
        # Under any of these it may be in the store by the time that this one is written.
        earlier = (*(waiting.told_before if waiting else ()), *((before,) if before else ()))
        alike = self._events[event.kind]
        alike[event.cursor] = _Unsaved(event, earlier)
        self._count += 1
        if len(alike) > MOST_OF_KIND:
            self._taken(event.kind, next(iter(alike)))
        elif self._count > SLOTS:
            cursor, kind = min((next(iter(some)), kind) for kind, some in self._events.items())
            self._taken(kind, cursor)

    def waits(self, event: cluster.Event, before: int) -> bool:
        """Whether the event waits under a cursor that it was told by."""
        return before in self._events.get(event.kind, {})

    def first(self, most: int) -> list[FreshEvent]:
        """The oldest of them, as they are to be written."""
        waiting = chain.from_iterable(alike.items() for alike in self._events.values())
        chosen = sorted(waiting, key=lambda item: item[0])[:most]
        return [FreshEvent(record_of(one.event), one.told_before) for _, one in chosen]

    def saved(self, written: Iterable[FreshEvent]) -> None:
        """These are in the store. What was told anew meanwhile waits under its new cursor."""
        for one in written:
            self._taken(one.record.kind, one.record.cursor)

    def _taken(self, kind: str, cursor: int) -> _Unsaved | None:
        """It waits no more; None where it does not wait."""
        alike = self._events.get(kind, {})
        taken = alike.pop(cursor, None)
        self._count -= taken is not None
        if not alike:
            self._events.pop(kind, None)
        return taken
