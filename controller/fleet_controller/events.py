"""What happened, in order, for people: a bounded list in the leader's memory.

Cursors grow by one within a leadership. Each leadership's begin at its term, which grows from
leader to leader, so that a cursor says which leader gave it. What outlives its leader is in the
store too, in a ring; a new leader recalls it, under the cursors that it had. So a reader who comes
with one of a former leader's goes on with what that one told later, as far as it was kept, and is
told that the rest is not here.

What repeats is counted: see AlikeEvents.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.alike_events import FREE, AlikeEvents
from fleet_controller.change_id import change_id
from fleet_controller.core.events.event_ring import EventRecord, event_of
from fleet_controller.pulse import Pulse
from fleet_controller.unsaved_events import UnsavedEvents

KEPT = 10_000
# Hosts of which something is said one by one, when it is said of several at once.
FEW = 5
# Of one kind, where people or their scripts bring it about at will: else it pushes out the rest.
KEPT_OF_KIND = {"console_opened": 1_000}
# Cursors of one leadership. A term times this stays below 2^53, which JSON's readers keep exact,
# for 8 thousand million revisions; what goes beyond a million events is told of the next term,
# and costs clarity no more.
CURSORS = 1 << 20


@dataclass(frozen=True, slots=True)
class Page:
    """`following`: the cursor to go on from. `dropped`: some events after the reader's cursor are
    no longer kept. `former`: the cursor is of another leader."""

    events: list[cluster.Event]
    following: int
    dropped: bool = False
    former: bool = False


class EventLog:
    """`wall` is the wall clock, in seconds since the epoch; `hear` is given each event when it is
    told."""

    def __init__(
        self, wall: Callable[[], float], hear: Callable[[cluster.Event], None] | None = None
    ) -> None:
        self._hear = hear
        self._wall = wall
        self._events: deque[cluster.Event] = deque(maxlen=KEPT)
        self._alike = AlikeEvents()
        self._term = 0
        self._last = self._first = 0  # cursors of this leadership's events: after the one, up to
        self.begins = wall()
        self._leads = False
        self.unsaved = UnsavedEvents()
        self.pulse = Pulse()
        # How often each kind since this process began; and when the store was copied.
        self.told: Counter[str] = Counter()
        self.last_backup = 0.0

    def begin(self, term: int) -> bool:
        """A leadership of this term: a revision of the store, higher than any term before it.
        False, and nothing changes, where it was begun before."""
        self._leads = True
        if term == self._term:
            return False
        self._term = term
        self._last = self._first = max(self._last, term * CURSORS)
        self.begins = self._wall()
        return True

    def end(self) -> None:
        """This controller leads no more: the next leader tells whatever matters from now on."""
        self._leads = False

    def recall(self, records: Iterable[EventRecord]) -> None:
        """What earlier leaders have told, as the store has it: told again, and counted as told by
        none of them. Whatever claims to be of a later one is left out."""
        have = {event.cursor for event in self._events}
        by_cursor = {one.cursor: one for one in records if one.cursor <= self._last}
        former = [event_of(one) for cursor, one in by_cursor.items() if cursor not in have]
        in_order = sorted([*self._events, *former], key=lambda event: event.cursor)
        self._events = deque(in_order, maxlen=KEPT)
        backups = (event.time_unix for event in former if event.kind == "backup_taken")
        self.last_backup = max(self.last_backup, *backups, 0.0)

    def now(self) -> float:
        """Seconds since 1970, as events are dated."""
        return self._wall()

    def add(
        self,
        kind: str,
        message: str,
        *,
        fleet: str = "",
        host: str = "",
        actor: str = "",
        alike: str = "",
        free: int = FREE,
        counted: bool = False,
        change: str = "",
    ) -> None:
        """Kinds are short and stable: host_live, fleet_scaled, ... `alike`: what makes events of
        one kind and host the same, where that is not the message; `free`: how many of them are
        told one by one before they are counted. What people do is told each time, unless it is to
        be `counted`. `change`: the id of the change that it follows from, where that is not the
        call under way of the actor."""
        change = change or (change_id() if actor else "")
        event = cluster.Event(
            time_unix=self._wall(), kind=kind, fleet=fleet, host=host, message=message,
            actor=actor, change_id=change,
        )  # fmt: skip
        self.told[kind] += 1
        if kind == "backup_taken":
            self.last_backup = event.time_unix
        once = bool(actor) and not counted
        told = event if once else self._alike.counted(event, alike or message, free)
        if told is None:
            return
        before = told.cursor
        if before:
            self._take_out(told)
        self._last += 1
        told.cursor = self._last
        self._events.append(told)
        if self._leads or self.unsaved.waits(told, before):
            self.unsaved.told(told, before)
        if self._hear is not None:
            self._hear(told)
        if kind in KEPT_OF_KIND:
            self._bound(kind)
        self.pulse.beat()

    def add_for_hosts(
        self,
        kind: str,
        messages: Mapping[str, str],
        summary: str,
        *,
        actor: str = "",
        alike: str = "",
    ) -> None:
        """The same of several hosts, with a message for each by its id: an event each when they
        are few, and one with the summary when they are many."""
        if len(messages) > FEW:
            self.add(kind, summary, actor=actor)
            return
        for host, message in messages.items():
            self.add(kind, message, host=host, actor=actor, alike=alike)

    def after(
        self, cursor: int, limit: int, fleet: str, host: str
    ) -> tuple[list[cluster.Event], bool]:
        """The events of a page, and whether some after the cursor are not there."""
        page = self.page(cursor, limit, fleet, host)
        return page.events, page.dropped or page.former

    def page(self, cursor: int, limit: int, fleet: str, host: str) -> Page:
        """Events past a cursor that match, oldest first; with 0, the newest `limit`."""
        former = bool(cursor) and not self._first <= cursor <= self._last
        # A higher one is from before the store was set back: all of this leader's are news.
        floor = self._first if cursor > self._last else cursor
        matching = [
            event
            for event in self._events
            if event.cursor > floor
            and (not fleet or event.fleet == fleet)
            and (not host or event.host == host)
        ]
        events = matching[:limit] if cursor else matching[-limit:]
        cut = bool(cursor) and len(events) < len(matching)
        following = events[-1].cursor if cut else self._last
        return Page(events, following, not former and self._dropped(cursor), former)

    def _take_out(self, event: cluster.Event) -> None:
        """It is told anew, as the newest. It may have been dropped before."""
        for position in range(len(self._events) - 1, -1, -1):
            if self._events[position].cursor == event.cursor:
                del self._events[position]
                return

    def _bound(self, kind: str) -> None:
        """Drops the oldest of a kind of which there are too many."""
        of_kind = [event for event in self._events if event.kind == kind]
        if len(of_kind) > KEPT_OF_KIND[kind]:
            self._take_out(of_kind[0])

    def _dropped(self, cursor: int) -> bool:
        full = len(self._events) == KEPT
        return bool(cursor and full and self._events[0].cursor > cursor + 1)
