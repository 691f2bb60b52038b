"""Changes of hosts that people ask for: cordoned, drained, given up, removed."""

from __future__ import annotations

import msgspec

from fleet_controller.change_id import change_id
from fleet_controller.core.model import DrainEnd, HostRecord
from fleet_controller.core.names import counted
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains import drain_progress
from fleet_controller.core.rollouts_and_drains.drain_progress import DrainProgress
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import (
    Write,
    delete_assignment,
    delete_host,
    delete_joined,
    put_assignment,
    put_host,
)


class DrainDeadline(msgspec.Struct, frozen=True):
    """How a drain is bounded. `seconds`: how long it may last; 0: for ever. Then it ends, or with
    `force` goes on beyond disruption budgets. `ignore_budget`: it does so from the beginning."""

    seconds: float = 0.0
    force: bool = False
    ignore_budget: bool = False

    @property
    def in_words(self) -> str:
        """For the trail of changes, behind what is to move."""
        then = "beyond budgets" if self.force else "stop"
        told = f", within {self.seconds:.0f} s, then {then}" if self.seconds else ""
        return f"{told}, beyond budgets" if self.ignore_budget else told


class HostChanges:
    """Of one leadership. All raise Refused and StoreError."""

    def __init__(
        self, memory: LeaderMemory, writer: ChangeWriter, wake: PlannerWake, off_loop: OffLoop
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._wake = wake
        self._off_loop = off_loop

    async def cordon(self, host_id: str, cordoned: bool, actor: str) -> HostRecord:
        """Whether the host gets further VMs; what runs there stays."""

        async def once() -> HostRecord:
            have = self._memory.host(host_id)
            record = msgspec.structs.replace(have, cordoned=cordoned)
            if record != have:
                action = "cordon" if cordoned else "uncordon"
                line = self._writer.audited(action, actor, host=host_id)
                await self._writer.write_one([put_host(record), line])
            return record

        record = await self._writer.decide(once)
        verb = "cordoned" if cordoned else "uncordoned"
        self._event(f"host_{verb}", f"{host_id} is {verb}", host_id, actor)
        return record

    async def drain(self, host_id: str, actor: str, end: DrainDeadline | None = None) -> None:
        """Move everything off a host. The planning passes do it. `end`: None: as it was asked for
        before, if it was."""
        record = self._memory.host(host_id)
        if record.lost:
            raise Refused(
                Reason.HOST_LOST,
                f"{host_id} is declared lost: its VMs are placed elsewhere without it; --force "
                "gives up those that wait for it",
            )
        await self._set_draining(host_id, True, actor, end)
        if not record.draining:
            self._event("host_draining", f"{host_id} is being drained", host_id, actor)
        self._wake.urge()

    async def cancel_drain(self, host_id: str, actor: str) -> None:
        """What has moved stays where it is; the host takes VMs again."""
        was_draining = self._memory.host(host_id).draining
        await self._set_draining(host_id, False, actor)
        if was_draining:
            text = f"{host_id} is drained no more"
            self._event("host_drain_cancelled", text, host_id, actor)
        self._wake.urge()

    async def give_up(self, host_id: str, actor: str) -> None:
        """All that a lost host has is placed elsewhere, what would have waited for it too."""

        async def once() -> None:
            record = self._memory.host(host_id)
            _check_lost(record)
            drained = msgspec.structs.replace(record, draining=True, drain_change=change_id())
            after = f"{counted(self._given_up_count(host_id), 'VM')} given up"
            line = self._writer.audited("drain", actor, host=host_id, after=after)
            await self._writer.write_one([put_host(drained), self._given_up(host_id), line])

        await self._writer.decide(once)
        self._event("host_given_up", f"all VMs of {host_id} are given up", host_id, actor)
        self._wake.urge()

    async def remove(self, host_id: str, force: bool, actor: str) -> int:
        """The host is known no more; how many VMs may still run there."""

        async def once() -> int:
            view, count = self._memory.host_view(host_id), self._given_up_count(host_id)
            writes: list[Write] = [delete_host(host_id)]
            if host_id in self._memory.state.joined:
                writes.append(delete_joined(host_id))
            if count and force:
                drain_progress.check_may_be_given_up(host_id, view)
                writes.append(self._given_up(host_id))
            else:
                drain_progress.check_removable(host_id, view)
                if host_id in self._memory.state.assignments:
                    writes.append(delete_assignment(host_id))
            after = f"{counted(count, 'VM')} given up" if count else ""
            writes.append(self._writer.audited("remove", actor, host=host_id, after=after))
            await self._writer.write_one(writes)
            return count

        count = await self._writer.decide(once)
        left = f"; {count:,} VMs may still run there" if count else ""
        self._event("host_removed", f"{host_id} is removed{left}", host_id, actor)
        self._wake.urge()
        return count

    async def planned_drain(self, host_id: str, force: bool) -> DrainProgress:
        """What a drain would do; nothing is written."""
        record = self._memory.host(host_id)
        if force:
            _check_lost(record)
        view = self._memory.view()
        return await self._off_loop.run(lambda: drain_progress.planned_drain(view, host_id))

    async def _set_draining(
        self, host_id: str, draining: bool, actor: str, end: DrainDeadline | None = None
    ) -> None:
        async def once() -> None:
            have = self._memory.host(host_id)
            if have.draining == draining and end is None:
                return
            record = msgspec.structs.replace(
                have, draining=draining, drained=False, drain_change=change_id(), drain_until=0.0,
                drain_then="", drain_ignores_budget=False,
            )  # fmt: skip
            if end is not None:
                record = self._until(record, end)
            left = drain_progress.drain_progress_of(self._memory.host_view(host_id), {}).left
            action, after = ("drain", "to move") if draining else ("undrain", "still there")
            line = self._writer.audited(
                action, actor, host=host_id,
                after=f"{counted(left, 'VM')} {after}{end.in_words if end else ''}",
            )  # fmt: skip
            await self._writer.write_one([put_host(record), line])

        await self._writer.decide(once)

    def _until(self, record: HostRecord, end: DrainDeadline) -> HostRecord:
        until = self._memory.events.now() + end.seconds if end.seconds else 0.0
        then: DrainEnd = ("force" if end.force else "stop") if end.seconds else ""
        return msgspec.structs.replace(
            record, drain_until=until, drain_then=then, drain_ignores_budget=end.ignore_budget
        )

    def _given_up_count(self, host_id: str) -> int:
        view = self._memory.host_view(host_id)
        return drain_progress.count_given_up(view.assignment, view.released)

    def _given_up(self, host_id: str) -> Write:
        view = self._memory.host_view(host_id)
        stamp = self._memory.state.stamp
        return put_assignment(
            host_id, drain_progress.released_for_good(view.assignment, view.released, stamp)
        )

    def _event(self, kind: str, message: str, host: str, actor: str) -> None:
        self._memory.events.add(kind, message, host=host, actor=actor)


def _check_lost(record: HostRecord) -> None:
    if not record.lost:
        raise Refused(
            Reason.HOST_NOT_LOST,
            f"{record.id} is not declared lost, so its VMs may run: only a lost host is drained by "
            "force",
        )
