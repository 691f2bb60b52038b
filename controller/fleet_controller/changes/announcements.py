"""Agents that say where they are: thousands at once become few transactions.

One host cannot make them many: it is heard so often and no more, and what it says changes the
store at once a few times, and is merged with what follows otherwise.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import structlog

from fleet.v1 import types_pb2 as types
from fleet_controller.agents.links import Links
from fleet_controller.batch_queue import BatchQueue
from fleet_controller.core.hosts import announced
from fleet_controller.core.model import HostRecord
from fleet_controller.core.refusals import Reason, Refused, expelled
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.committer import Outdated
from fleet_controller.mirror.records import put_host
from fleet_controller.store.port import StoreError
from fleet_controller.token_bucket import Rate, TokenBuckets

# An honest agent announces itself at its start and when its facts change, and otherwise once a
# minute at most; refused, it waits twice as long each time.
_ANNOUNCEMENTS = Rate(per_second=0.5, burst=30)
# Changes of one host's record for what it announces. A host that starts tells of its limits, and
# then of each image that is imported; whoever imported it waits for that.
CHANGES = Rate(per_second=0.1, burst=4)

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Announcement:
    """`waits`: it was answered, and is to be written later."""

    host_id: str
    address: str
    facts: types.HostFacts
    done: asyncio.Future[None] = field(default_factory=asyncio.Future)
    waits: bool = False

    def answer(self) -> None:
        """Unless the caller has gone away meanwhile."""
        if not self.done.done():
            self.done.set_result(None)

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
        self._queue: BatchQueue[_Announcement] = BatchQueue(memory.clock)
        self._buckets = TokenBuckets(_ANNOUNCEMENTS)  # by host
        self._changes = TokenBuckets(CHANGES)  # of the hosts' records
        self._later: dict[str, _Announcement] = {}  # the newest of each host
        self._some_wait = asyncio.Event()

    async def announce(self, host_id: str, address: str, facts: types.HostFacts) -> None:
        """Returns when the host's record is stored, or will be as soon as CHANGES admits it.
        Raises Refused, StoreError."""
        self._check_rate(host_id)
        announcement = _Announcement(host_id, address, facts)
        self._queue.put(announcement)
        await announcement.done

    async def run(self) -> None:
        """Until cancelled; callers that wait then are cancelled too."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_batches())
            group.create_task(self._take_up_later_ones())

    async def _write_batches(self) -> None:
        batch: list[_Announcement] = []
        try:
            while True:
                batch = await self._queue.take(self._writer.max_writes)
                await self._write(batch)
        finally:
            for announcement in (*batch, *self._queue.left()):
                announcement.done.cancel()

    async def _take_up_later_ones(self) -> None:
        while True:
            await self._some_wait.wait()
            self._some_wait.clear()
            while self._later:
                await asyncio.sleep(min(map(self._due_in, self._later)))
                for host_id in [host for host in self._later if self._due_in(host) <= 0]:
                    self._queue.put(self._later.pop(host_id))

    async def _write(self, batch: list[_Announcement]) -> None:
        async def once() -> list[str]:
            records = self._decided(batch)
            known = [host for host in records if self._memory.state.is_stored(host)]
            await self._writer.write([put_host(record) for record in records.values()])
            return known

        try:
            changed = await self._writer.decide(once, while_frozen=True, attempts=1)
        except Outdated:
            for announcement in batch:  # decided again with the next batch
                if announcement.waits or not announcement.done.done():
                    self._queue.put(announcement)
            return
        except StoreError as error:
            for announcement in batch:
                announcement.fail(error)
                if announcement.waits:
                    self._put_off(announcement)
            return
        self._note_changed(changed)
        for announcement in batch:
            announcement.answer()

    def _decided(self, batch: list[_Announcement]) -> dict[str, HostRecord]:
        """The records that change now, by host; refusals are answered at once."""
        records: dict[str, HostRecord] = {}
        for one in batch:
            have = records.get(one.host_id) or self._memory.state.hosts.get(one.host_id)
            try:
                record = self._announced(have, one)
            except Refused as refused:
                self._note_refusal(one.host_id, refused)
                one.fail(refused)
                continue
            except Exception as error:  # ours: it is of this host alone, and others go on
                _log.exception("an announcement", host=one.host_id)
                one.fail(error)
                continue
            stored = self._memory.state.is_stored(one.host_id)
            too_soon = stored and one.host_id not in records and self._due_in(one.host_id) > 0
            if record != have and too_soon:
                self._put_off(one)
                continue
            self._later.pop(one.host_id, None)  # this one is newer
            if record != have or not stored:
                records[one.host_id] = record
            else:
                self._links.redial(one.host_id)
        return records

    def _announced(self, have: HostRecord | None, one: _Announcement) -> HostRecord:
        """Raises Refused."""
        if self._memory.is_expelled(one.host_id):  # since it called
            raise expelled(one.host_id)
        links, observed = self._memory.links, self._memory.observed
        boot = observed.host(one.host_id).boot_id if links.get(one.host_id) else ""
        live = links.is_reachable(one.host_id)
        joined = self._memory.state.joined.get(one.host_id)
        approved = joined is not None and joined.approved
        approving = self._memory.settings.approve_hosts and not approved
        return announced(have, one.host_id, one.address, one.facts, live, boot, approving)

    def _put_off(self, one: _Announcement) -> None:
        """It is right, and too soon: it waits, in place of one that the host sent before."""
        one.waits = True
        self._later[one.host_id] = one
        self._some_wait.set()
        one.answer()

    def _due_in(self, host_id: str) -> float:
        """Seconds until the host's record may be changed again; 0 where it may."""
        return self._changes.due_in(host_id, self._memory.clock())

    def _note_changed(self, hosts: list[str]) -> None:
        now = self._memory.clock()
        for host in hosts:
            self._changes.take(host, now)

    def _check_rate(self, host_id: str) -> None:
        """Raises Refused for a host that announces itself too often."""
        if wait := self._buckets.take(host_id, self._memory.clock()):
            seconds = math.ceil(wait)
            refused = Refused(
                Reason.TOO_MANY_ANNOUNCEMENTS,
                f"host {host_id} announces itself too often; again in {seconds} s",
                retry_after_seconds=str(seconds),
            )
            self._note_refusal(host_id, refused)
            raise refused

    def _note_refusal(self, host_id: str, refused: Refused) -> None:
        """Told once for each host and reason, and then counted."""
        why = str(refused)
        self._memory.refused.note(host_id, why, self._memory.clock())
        self._memory.events.add("host_refused", why, host=host_id, alike=refused.reason, free=1)
