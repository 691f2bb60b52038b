"""Hosts whose announcement was refused: why, and when last."""

from __future__ import annotations

from collections.abc import Iterator

# An agent that was refused tries again more often than that.
SHOWN_SECONDS = 300.0


class RefusedHosts:
    """By host. Times are of the leader's monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._hosts: dict[str, tuple[float, str]] = {}

    def note(self, host_id: str, why: str, now: float) -> bool:
        """The host was refused; whether that is news, since it announces itself again and
        again."""
        _, before = self._hosts.get(host_id, (0.0, ""))
        self._hosts[host_id] = (now, why)
        return why != before

    def of_late(self, now: float) -> Iterator[tuple[str, str]]:
        """The hosts that were refused not long ago, and why."""
        for host_id, (at, why) in self._hosts.items():
            if now - at < SHOWN_SECONDS:
                yield host_id, why
