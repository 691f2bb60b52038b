"""Certificates that end soon, of hosts and of this controller: for status, and told by events."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fleet.certificates.certificate_dates import CertificateFile
from fleet.transport import Peer, Role
from fleet_controller.core.model import HostRecord
from fleet_controller.events import EventLog
from fleet_controller.observed.reports import Observed

# Days before the end at which an event tells it, once each; the last is the end itself.
DAYS = (30, 7, 1, 0)
_DAY = 86_400
# Between two looks. Nothing of this is urgent.
_SECONDS = 60.0
_SHOWN = 20
_LATE = 1 / 6


@dataclass(frozen=True, slots=True)
class Expiring:
    """`holder`: role/name, or what it is to this controller; `file`: of the controller's own."""

    holder: str
    expires: int  # seconds since 1970
    file: str = ""
    host: str = ""


class ExpiringCertificates:
    """Of one leadership. `soon`: the first that end within 30 days, the soonest first. `told`: the
    least number of days that was told of each; it outlives a leadership, as events do."""

    def __init__(
        self,
        own: Callable[[], Sequence[CertificateFile]],
        observed: Observed,
        hosts: Mapping[str, HostRecord],
        events: EventLog,
        told: dict[str, int],
        host_days: float = math.inf,
    ) -> None:
        """`own`: as they are now. `host_days`: how long the certificates are good that hosts renew
        by themselves; inf: they do not."""
        self._host_seconds = host_days * _DAY
        self._own = own
        self._observed = observed
        self._hosts = hosts
        self._events = events
        self._told = told
        self.soon: tuple[Expiring, ...] = ()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_SECONDS)

    def look(self) -> None:
        """Once: all certificates as they are now."""
        now = self._events.now()
        bound = now + DAYS[0] * _DAY
        soon = sorted(
            (one for one in self._all() if one.expires <= bound),
            key=lambda one: (one.expires, one.holder),
        )
        self.soon = tuple(soon[:_SHOWN])
        ending = {_key(one) for one in soon}
        for key in self._told.keys() - ending:
            del self._told[key]  # there is another certificate by now
        for days in DAYS:
            self._tell(days, [one for one in soon if _days_left(one, now) == days])

    def _all(self) -> Iterator[Expiring]:
        for own in self._own():
            yield Expiring(own.what, own.expires, str(own.file))
        bound = self.hosts_bound
        for host, seen in self._observed.hosts.items():
            if 0 < seen.certificate_expires <= bound and host in self._hosts:
                holder = str(Peer(Role.AGENT, host))
                yield Expiring(holder, seen.certificate_expires, host=host)

    @property
    def hosts_bound(self) -> float:
        """Seconds since 1970: of a host whose certificate ends later nothing is said. One that
        renews does so with a third of its life left; with half of that gone it has failed to."""
        return self._events.now() + self._host_seconds * _LATE

    def _tell(self, days: int, expiring: list[Expiring]) -> None:
        """Those that were not told with so few days yet."""
        fresh = [one for one in expiring if self._told.get(_key(one), DAYS[0] + 1) > days]
        for one in fresh:
            self._told[_key(one)] = days
            if not one.host:
                where = f" ({one.file})" if one.file else ""
                self._events.add("certificate_expires", f"{one.holder}{where} {_when(days)}")
        messages = {
            one.host: f"the certificate of {one.host} {_when(days)}" for one in fresh if one.host
        }
        summary = f"the certificates of {len(messages):,} hosts {_when(days, many=True)}"
        self._events.add_for_hosts("certificate_expires", messages, summary)


def _key(one: Expiring) -> str:
    return f"{one.holder} {one.file}"


def _days_left(one: Expiring, now: float) -> int:
    """The least of DAYS that is not yet past."""
    return min((days for days in DAYS if one.expires <= now + days * _DAY), default=DAYS[0])


def _when(days: int, *, many: bool = False) -> str:
    if not days:
        return "have ended" if many else "has ended"
    ends = "end" if many else "ends"
    return f"{ends} within {days} {'day' if days == 1 else 'days'}: make another"
