"""Assignments sent to hosts: soon after they change, and again where a host declined."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from fleet.keys import Epoch
from fleet_controller.agents.link import Link, LinkListener
from fleet_controller.agents.link_table import LinkTable
from fleet_controller.agents.port import AgentConnection, Declined, LinkError, StaleTerm


class Pushes:
    """Over the links of one leadership. Seconds: `call_timeout` of one push; a host that declined
    is asked again after `first_retry`, doubled up to `last_retry`."""

    def __init__(
        self,
        table: LinkTable,
        listener: LinkListener,
        clock: Callable[[], float],
        random: Random,
        call_timeout: float,
        first_retry: float,
        last_retry: float,
    ) -> None:
        self._table = table
        self._listener = listener
        self._clock = clock
        self._random = random
        self._call_timeout = call_timeout
        self._first_retry = first_retry
        self._last_retry = last_retry
        self._due: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()

    def push(self, host_id: str) -> None:
        """The host's assignment is another; tell it as soon as there is a link."""
        link = self._table.get(host_id)
        if link and link.connection and host_id not in self._queued:
            self._queued.add(host_id)
            self._due.put_nowait(host_id)

    async def push_due(self) -> None:
        """One worker, until cancelled: each host is sent its assignment as of then."""
        while True:
            host_id = await self._due.get()
            self._queued.discard(host_id)
            link = self._table.get(host_id)
            if link and link.connection and self._listener.may_act():
                await self._push_to(link, link.connection)

    async def _push_to(self, link: Link, connection: AgentConnection) -> None:
        request = self._listener.assignment_for(link.host_id)
        if request is None:
            return
        try:
            await connection.assign(request, self._call_timeout)
            link.acknowledge(Epoch.of(request.epoch))
        except StaleTerm as error:
            self._listener.outranked(link.host_id, error.heard, str(error))
        except Declined as error:
            share = self._random.uniform(0.75, 1.25)
            link.decline(str(error), self._clock(), self._first_retry, self._last_retry, share)
        except LinkError as error:
            link.error = str(error)
            if link.connection is connection:
                link.end_stream()  # the link is made anew, and the push with it
        self._table.note_declining(link)
