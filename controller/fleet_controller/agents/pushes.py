"""Assignments told to hosts: soon after they change, and again where a host declined."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from random import Random

from fleet.keys import Epoch
from fleet_controller.agents.link import Link, Superior
from fleet_controller.agents.port import AgentConnection, Declined, LinkError, StaleTerm


class Pushes:
    """Over the links of one leadership. Seconds: `call_timeout` of one push; a host that declined
    is asked again after `first_retry`, doubled up to `last_retry`."""

    def __init__(
        self,
        links: Mapping[str, Link],
        superior: Superior,
        clock: Callable[[], float],
        random: Random,
        call_timeout: float,
        first_retry: float,
        last_retry: float,
    ) -> None:
        self._links = links
        self._superior = superior
        self._clock = clock
        self._random = random
        self._call_timeout = call_timeout
        self._first_retry = first_retry
        self._last_retry = last_retry
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()
        self.declining: set[str] = set()  # hosts that are there and do not take their assignment

    def push(self, host_id: str) -> None:
        """The host's assignment is another; tell it as soon as there is a link."""
        link = self._links.get(host_id)
        if link and link.connection and host_id not in self._queued:
            self._queued.add(host_id)
            self._due.put_nowait(host_id)

    async def push_due(self) -> None:
        """One worker, until cancelled: each host is told its assignment as of then."""
        while True:
            host_id = await self._due.get()
            self._queued.discard(host_id)
            link = self._links.get(host_id)
            if link and link.connection and self._superior.may_act():
                await self._push_to(link, link.connection)

    async def _push_to(self, link: Link, connection: AgentConnection) -> None:
        request = self._superior.assignment_for(link.host_id)
        if request is None:
            return
        try:
            await connection.assign(request, self._call_timeout)
            link.acknowledged = Epoch.of(request.epoch)
            link.error = ""
            self.settle(link)
        except StaleTerm as error:
            self._superior.outranked(str(error))
        except Declined as error:
            self._put_off_push(link, str(error))
        except LinkError as error:
            link.error = str(error)
            if link.connection is connection and link.reports:
                link.reports.cancel()  # the link is made anew, and the push with it

    def settle(self, link: Link) -> None:
        """The host has taken it, or is not there to be told."""
        link.push_wait, link.push_at = 0.0, math.inf
        self.declining.discard(link.host_id)

    def _put_off_push(self, link: Link, why: str) -> None:
        """The link is good and what was asked of it was not: its reports are still worth having."""
        link.error = why
        link.push_wait = min(max(self._first_retry, link.push_wait * 2), self._last_retry)
        link.push_at = self._clock() + link.push_wait * self._random.uniform(0.75, 1.25)
        self.declining.add(link.host_id)
