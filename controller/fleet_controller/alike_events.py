"""Events that are said again and again: counted in one, and told ever more seldom.

The first few are events of their own, so that nobody misses what happens now and then. Those after
them are counted in the last one, which is told anew, as the newest event, at intervals that double.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.v1 import cluster_pb2 as cluster

# As many are told one by one, where nothing else is said.
FREE = 3
# Seconds: between two tellings, at first and at most; and without another, until all is forgotten.
FIRST_INTERVAL = 10.0
LAST_INTERVAL = 640.0
FORGOTTEN = 900.0
# Remembered at once. Where there are more, counting begins anew.
_MOST = 20_000

_Key = tuple[str, str, str, str]


@dataclass(slots=True)
class _Told:
    """`event`: the one in which others are counted. Times are seconds since 1970."""

    event: cluster.Event
    free: int
    told: float
    seen: float
    interval: float = FIRST_INTERVAL


class AlikeEvents:
    """Of one log of events."""

    def __init__(self) -> None:
        self._told: dict[_Key, _Told] = {}

    def counted(self, event: cluster.Event, alike: str, free: int) -> cluster.Event | None:
        """What to tell of this event: itself, one told before that counts it, or nothing yet.
        `alike`: what it has in common with others of its kind, host and fleet; `free`: how
        many are told one by one."""
        key = (event.kind, event.host, event.fleet, alike)
        now, known = event.time_unix, self._told.get(key)
        if known is None or now - known.seen > FORGOTTEN:
            if len(self._told) >= _MOST:
                self._told.clear()
            self._told[key] = _Told(event, free - 1, now, now)
            return event
        known.seen = now
        if known.free:
            known.free -= 1
            known.event, known.told = event, now
            return event
        return _count(known, event)


def _count(known: _Told, event: cluster.Event) -> cluster.Event | None:
    """One more of those that are counted; the event that counts them where it is due."""
    one, now = known.event, event.time_unix
    one.count = max(one.count, 1) + 1
    one.last_unix, one.message = now, event.message
    if now - known.told < known.interval:
        return None
    one.time_unix = known.told = now
    known.interval = min(2 * known.interval, LAST_INTERVAL)
    return one
