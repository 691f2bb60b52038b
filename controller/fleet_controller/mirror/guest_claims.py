"""What hosts claim to admit, kept sorted, so that what is usual is known at any time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from fleet_controller.core.host_claims import usual_guests
from fleet_controller.core.model import HostRecord


class GuestClaims:
    """By host. Hosts that admit none, or wait for approval, say nothing of what is usual."""

    def __init__(self) -> None:
        self._claims: dict[str, int] = {}
        self._sorted: list[int] = []

    def note(self, host_id: str, record: HostRecord | None) -> None:
        """The host's record is this one; None: it is known no more."""
        if before := self._claims.pop(host_id, 0):
            del self._sorted[bisect_left(self._sorted, before)]
        if record is None or record.awaits_approval or not record.capacity.guests:
            return
        self._claims[host_id] = record.capacity.guests
        insort(self._sorted, record.capacity.guests)

    def above(self, guests: int) -> Iterator[str]:
        """Hosts that claim more than this. Costs nothing where there are none."""
        if bisect_right(self._sorted, guests) < len(self._sorted):
            yield from (host for host, claim in self._claims.items() if claim > guests)

    @property
    def usual(self) -> int:
        """As core.host_claims.usual_guests says."""
        return usual_guests(self._sorted)
