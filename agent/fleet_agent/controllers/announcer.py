"""Makes the host known to the controllers, and is silent while one of them watches it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import structlog

from fleet.v1 import types_pb2 as types
from fleet_agent.alarm import Alarm

log = structlog.get_logger()


class NotLeader(Exception):
    """The replica does not lead; `leader` is the address of the one that does, or empty."""

    def __init__(self, leader: str) -> None:
        super().__init__(f"not the leader; the leader is {leader or 'not known'}")
        self.leader = leader


class ControllerUnreachable(Exception):
    """Nobody answers there; one sentence."""


class AnnounceRefused(Exception):
    """The controller does not want this host; one sentence."""


class OwnAddress(Protocol):
    """Where this host is reached by those at an endpoint."""

    async def __call__(self, endpoint: str) -> str:
        """Raises ControllerUnreachable where no address of this host leads there, or nobody knows
        where that is."""


class ControllerClient(Protocol):
    """The controllers, as an agent sees them."""

    async def announce(self, endpoint: str, address: str, facts: types.HostFacts) -> float:
        """In how many seconds to announce again if no controller has called by then.

        Raises NotLeader, ControllerUnreachable, AnnounceRefused.
        """


@dataclass(frozen=True, slots=True)
class AnnounceSettings:
    """Seconds: the first and the longest wait after a failure, and where the controller does
    not say when to announce again."""

    first: float = 0.5
    longest: float = 30.0
    again: float = 60.0
    # The first announcements of many hosts are spread over so long.
    spread: float = 0.0


class Announcer:
    """Announces at the start, when the facts have changed, and when nobody has watched for long."""

    def __init__(
        self,
        client: ControllerClient,
        endpoints: Sequence[str],
        address: str,
        facts: Callable[[], types.HostFacts],
        *,
        jitter: Callable[[], float],
        gate: AbstractAsyncContextManager[object],
        settings: AnnounceSettings,
        own_address: OwnAddress | None = None,
    ) -> None:
        """`endpoints` is not empty. `gate` bounds how many announce at once. `own_address` is asked
        for each announcement in place of `address`, and from time to time whether it is another."""
        self._client = client
        self._endpoints = list(endpoints)
        self._address = address
        self._facts = facts
        self._jitter = jitter
        self._gate = gate
        self._settings = settings
        self._own_address = own_address
        self._announced_to = ""
        self._alarm = Alarm()
        self._watched = False
        self._stale = True  # what was announced last is not what is true
        self._changed = False  # and that has come up since the last look
        self._again = settings.again
        self._next = int(jitter() * len(self._endpoints))
        self._leader = ""
        self._failures = 0

    def on_watched(self, watched: bool) -> None:
        self._watched = watched
        self._alarm.ring()

    def announce_anew(self, address: str | None = None) -> None:
        """Facts or the address have changed."""
        self._address = address or self._address
        self._stale = self._changed = True
        self._alarm.ring()

    def use(self, endpoints: Sequence[str]) -> None:
        """From the next announcement on. Not empty."""
        self._endpoints = list(endpoints)

    async def run(self) -> None:
        """Until cancelled."""
        wait = self._settings.spread * self._jitter()
        self._changed = False
        while True:
            if self._changed:
                wait, self._changed = 0.0, False
            if self._watched and not self._stale:
                await self._stay_silent()
                wait = self._again
            elif wait > 0:
                wait = wait if await self._alarm.sleep(wait) else 0.0
            else:
                wait = await self._announce()

    async def _stay_silent(self) -> None:
        """Until there is something to say. The stream that watches may be of an address that this
        host had: it ends late, or never."""
        rung = False
        while not rung:
            rung = await self._alarm.sleep(self._again if self._own_address else None)
            before = self._address
            with contextlib.suppress(ControllerUnreachable):
                await self._look_up(self._announced_to)
            if self._address != before:
                log.info("this host's address is another", address=self._address, before=before)
                self._stale = self._changed = True
                return

    async def _look_up(self, endpoint: str) -> None:
        """Raises ControllerUnreachable."""
        if self._own_address is not None:
            self._address = await self._own_address(endpoint)

    async def _announce(self) -> float:
        """One try; seconds until the next."""
        endpoint = self._leader or self._endpoints[self._next % len(self._endpoints)]
        was_stale, self._stale = self._stale, False
        try:
            async with self._gate:
                await self._look_up(endpoint)
                again = await self._client.announce(endpoint, self._address, self._facts())
        except NotLeader as error:
            self._stale = was_stale or self._stale
            return self._redirected(error.leader)
        except (ControllerUnreachable, AnnounceRefused) as error:
            self._stale = was_stale or self._stale
            return self._failed(str(error))
        self._failures = 0
        self._announced_to = endpoint
        self._again = (again or self._settings.again) * (1.0 + self._jitter() / 4)
        return self._again

    def _redirected(self, leader: str) -> float:
        """Go to the leader at once, but not in circles."""
        self._next += 1
        at_once = bool(leader) and not self._failures
        self._leader = leader
        back_off = self._back_off()
        return 0.0 if at_once else back_off

    def _failed(self, message: str) -> float:
        self._leader = ""
        self._next += 1
        wait = self._back_off()
        log.warning(
            "announce failed", address=self._address, error=message, again_in=round(wait, 1)
        )
        return wait

    def _back_off(self) -> float:
        whole = min(self._settings.longest, self._settings.first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return whole * (1.0 - self._jitter() / 2)
