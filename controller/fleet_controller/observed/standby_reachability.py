"""What standbys have said of hosts that the leader does not hear, and for how long it holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# A host that nobody reaches may be declared lost for so long before it is asked about anew: longer
# than a verdict waits for the store (its calls end within 5 s) and for the plan under way.
CONFIRMED_SECONDS = 15.0
# Of the time after which a host is lost: a host that is only reached by standbys is asked about
# again after so much of it. Whoever dies then is lost no sooner than after the rest.
AGAIN_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Reached:
    """Of one host. Times are of the leader's monotonic clock, in seconds."""

    asked: float
    by: str = ""  # the standby that reached it then; empty: none did
    reached: float | None = None  # when one reached it last


class StandbyReachability:
    """By host; one leadership's."""

    def __init__(self) -> None:
        self._hosts: dict[str, Reached] = {}

    def by(self, host: str) -> str:
        """The standby that reaches the host; empty when none was asked or reaches it."""
        found = self._hosts.get(host)
        return found.by if found else ""

    def all(self) -> list[str]:
        """The hosts that were asked about."""
        return list(self._hosts)

    def reached(self, host: str, otherwise: float) -> float:
        """When a standby has reached it last."""
        found = self._hosts.get(host)
        return otherwise if found is None or found.reached is None else found.reached

    def confirms(self, host: str, now: float) -> bool:
        """Whether standbys were asked of late, and none reached it."""
        found = self._hosts.get(host)
        return found is not None and not found.by and now - found.asked < CONFIRMED_SECONDS

    def to_ask_again(self, now: float, lost_after: float) -> list[str]:
        """Hosts that a standby has reached so long ago that it may be otherwise by now."""
        return [
            host
            for host, one in self._hosts.items()
            if one.reached is not None and now - one.asked >= AGAIN_SHARE * lost_after
        ]

    def note(self, asked: Iterable[str], reached: Mapping[str, str], now: float) -> list[str]:
        """What the answers were. The hosts that are reached and were not when last asked."""
        fresh = []
        for host in asked:
            before = self._hosts.get(host, Reached(now))
            by = reached.get(host, "")
            self._hosts[host] = Reached(now, by, now if by else before.reached)
            if by and not before.by:
                fresh.append(host)
        return fresh

    def forget(self, hosts: Iterable[str]) -> None:
        """They are heard again, lost, or gone."""
        for host in hosts:
            self._hosts.pop(host, None)
