"""Agents that say where they are: thousands at once become few transactions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fleet.v1 import types_pb2 as types
from fleet_controller.agents.links import Links
from fleet_controller.core.hosts import announced
from fleet_controller.core.model import HostRecord
from fleet_controller.core.refusals import Refused
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.committer import Outdated
from fleet_controller.mirror.records import put_host
from fleet_controller.store.port import StoreError


@dataclass(slots=True, eq=False)
class _Announcement:
    host_id: str
    address: str
    facts: types.HostFacts
    done: asyncio.Future[None] = field(default_factory=asyncio.Future)

    def fail(self, error: Exception) -> None:
        """Unless the caller has gone away meanwhile."""
        if not self.done.done():
            self.done.set_exception(error)


class Announcements:
    """One leadership's queue of announcements; `run` writes them in batches. They are taken while
    changes are frozen, too."""

    def __init__(self, memory: LeaderMemory, writer: ChangeWriter, links: Links) -> None:
        self._memory = memory
        self._writer = writer
        self._links = links
        self._queue: asyncio.Queue[_Announcement] = asyncio.Queue()

    async def announce(self, host_id: str, address: str, facts: types.HostFacts) -> None:
        """Returns when the host's record is stored. Raises Refused, StoreError."""
        announcement = _Announcement(host_id, address, facts)
        self._queue.put_nowait(announcement)
        await announcement.done

    async def run(self) -> None:
        """Until cancelled; callers that wait then are cancelled too."""
        batch: list[_Announcement] = []
        try:
            while True:
                batch = [await self._queue.get()]
                while not self._queue.empty() and len(batch) < self._writer.max_writes:
                    batch.append(self._queue.get_nowait())
                await self._write(batch)
        finally:
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            for announcement in batch:
                announcement.done.cancel()

    async def _write(self, batch: list[_Announcement]) -> None:
        async def once() -> None:
            records = self._decided(batch)
            await self._writer.write([put_host(record) for record in records.values()])

        try:
            await self._writer.decide(once, while_frozen=True, attempts=1)
        except Outdated:
            for announcement in batch:  # decided again with the next batch
                if not announcement.done.done():
                    self._queue.put_nowait(announcement)
            return
        except StoreError as error:
            for announcement in batch:
                announcement.fail(error)
            return
        for announcement in batch:
            if not announcement.done.done():
                announcement.done.set_result(None)

    def _decided(self, batch: list[_Announcement]) -> dict[str, HostRecord]:
        """The records that change, by host; refusals are answered at once."""
        records: dict[str, HostRecord] = {}
        for one in batch:
            have = records.get(one.host_id) or self._memory.state.hosts.get(one.host_id)
            try:
                record = self._announced(have, one)
            except Refused as refused:
                self._note_refusal(one.host_id, str(refused))
                one.fail(refused)
                continue
            if record != have or not self._memory.state.is_stored(one.host_id):
                records[one.host_id] = record
            else:
                self._links.redial(one.host_id)
        return records

    def _announced(self, have: HostRecord | None, one: _Announcement) -> HostRecord:
        """Raises Refused."""
        links, observed = self._memory.links, self._memory.observed
        boot = observed.host(one.host_id).boot_id if links.get(one.host_id) else ""
        live = links.is_reachable(one.host_id)
        return announced(have, one.host_id, one.address, one.facts, live, boot)

    def _note_refusal(self, host_id: str, why: str) -> None:
        if self._memory.refused.note(host_id, why, self._memory.clock()):
            self._memory.events.add("host_refused", why, host=host_id)
