"""What happened, in order, for people: a bounded list in the leader's memory.

Cursors grow by one; they begin at the time of the leader's start in microseconds, so that a
reader's cursor from an earlier leader is below all of the next one's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.pulse import Pulse

KEPT = 10_000


class EventLog:
    """`wall` is the wall clock, in seconds since the epoch."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._events: deque[cluster.Event] = deque(maxlen=KEPT)
        self._last = int(wall() * 1_000_000)
        self.pulse = Pulse()

    def now(self) -> float:
        """Seconds since 1970, as events are dated."""
        return self._wall()

    def add(
        self, kind: str, message: str, *, fleet: str = "", host: str = "", actor: str = ""
    ) -> None:
        """Kinds are short and stable: host_live, fleet_scaled, ..."""
        self._last += 1
        self._events.append(
            cluster.Event(
                cursor=self._last,
                time_unix=self._wall(),
                kind=kind,
                fleet=fleet,
                host=host,
                message=message,
                actor=actor,
            )
        )
        self.pulse.beat()

    def after(
        self, cursor: int, limit: int, fleet: str, host: str
    ) -> tuple[list[cluster.Event], bool]:
        """Events past a cursor that match, oldest first; with 0, the newest `limit`. The second
        value: some between the cursor and the first one kept have been dropped."""
        matching = [
            event
            for event in self._events
            if event.cursor > cursor
            and (not fleet or event.fleet == fleet)
            and (not host or event.host == host)
        ]
        full = len(self._events) == KEPT
        dropped = bool(cursor and full and self._events[0].cursor > cursor + 1)
        return (matching[:limit] if cursor else matching[-limit:]), dropped
