"""Agents that say where they are: thousands at once become few transactions."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fleet.v1 import types_pb2 as types
from fleet_controller.core.hosts import announced
from fleet_controller.core.model import Health, HostRecord
from fleet_controller.core.refusals import Refused
from fleet_controller.leader.reign import Reign
from fleet_controller.mirror.committer import MAX_WRITES, Outdated, Write
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import Put, StoreError


@dataclass(slots=True, eq=False)
class _Announcement:
    host_id: str
    address: str
    facts: types.HostFacts
    done: asyncio.Future[None] = field(default_factory=asyncio.Future)

    def fail(self, error: Exception) -> None:
        """Unless whoever announced has gone away meanwhile."""
        if not self.done.done():
            self.done.set_exception(error)


class Announcements:
    """One leadership's queue of announcements; `run` writes them in batches."""

    def __init__(self, reign: Reign) -> None:
        self._reign = reign
        self._queue: asyncio.Queue[_Announcement] = asyncio.Queue()

    async def announce(self, host_id: str, address: str, facts: types.HostFacts) -> None:
        """Returns when the host's record is stored. Raises Refused, StoreError."""
        announcement = _Announcement(host_id, address, facts)
        self._queue.put_nowait(announcement)
        await announcement.done

    async def run(self) -> None:
        """Until cancelled; whoever waits then is cancelled too."""
        batch: list[_Announcement] = []
        try:
            while True:
                batch = [await self._queue.get()]
                while not self._queue.empty() and len(batch) < MAX_WRITES:
                    batch.append(self._queue.get_nowait())
                await self._write(batch)
        finally:
            while not self._queue.empty():
                batch.append(self._queue.get_nowait())
            for announcement in batch:
                announcement.done.cancel()

    async def _write(self, batch: list[_Announcement]) -> None:
        try:
            async with self._reign.changing:
                writes = self._decided(batch)
                await self._reign.committer.write(list(writes.values()))
        except Outdated:
            for announcement in batch:  # decided anew with the next batch
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

    def _note_refusal(self, host_id: str, why: str) -> None:
        """Said once: it is tried again and again."""
        refused = self._reign.refused
        if refused.get(host_id, (0.0, ""))[1] != why:
            self._reign.events.add("host_refused", why, host=host_id)
        refused[host_id] = (self._reign.now(), why)

    def _decided(self, batch: list[_Announcement]) -> dict[str, Write]:
        """One write for each host whose record changes; refusals are answered at once."""
        writes: dict[str, Write] = {}
        records: dict[str, HostRecord] = {}
        for one in batch:
            have = records.get(one.host_id) or self._reign.state.hosts.get(one.host_id)
            link = self._reign.links.links.get(one.host_id)
            live = link is not None and (link.health is Health.LIVE or not link.tried)
            try:
                boot = self._reign.observed.host(one.host_id).boot_id if link else ""
                record = announced(have, one.host_id, one.address, one.facts, live, boot)
            except Refused as refused:
                self._note_refusal(one.host_id, str(refused))
                one.fail(refused)
                continue
            if record != have:
                records[one.host_id] = record
                writes[one.host_id] = Put(keys.host(one.host_id), encode(record))
            elif link and link.health is not Health.LIVE:
                link.redial.set()
        return writes
