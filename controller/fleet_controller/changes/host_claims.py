"""What operators say of what hosts claim about themselves: bounded, pinned, approved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from fleet_controller.core.host_claims import MOST_GUESTS
from fleet_controller.core.hosts import check_labels
from fleet_controller.core.model import HostRecord
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter, beside_their_lines
from fleet_controller.mirror.records import put_host


class HostClaimChanges:
    """Of one leadership. All raise Refused and StoreError."""

    def __init__(self, memory: LeaderMemory, writer: ChangeWriter) -> None:
        self._memory = memory
        self._writer = writer

    async def bound(self, host_id: str, max_guests: int, actor: str) -> None:
        """The host is believed at most so many guests; 0: as many as hosts are without a word."""
        if max_guests > MOST_GUESTS:
            raise Refused(Reason.BAD_QUERY, f"a host is believed at most {MOST_GUESTS:,} guests")

        def bounded(record: HostRecord) -> HostRecord:
            return structs.replace(record, max_guests=max_guests)

        after = f"at most {max_guests:,} guests" if max_guests else "no bound of its own"
        await self._change([host_id], bounded, "bound", after, actor)
        self._event("host_bound", f"{host_id} has {after}", host_id, actor)

    async def pin(self, host_id: str, labels: Mapping[str, str], actor: str) -> None:
        """Labels and capacity as the store has them stay, whatever the host announces. `labels`:
        set beside those that it has; an empty value takes one away."""

        def pinned(record: HostRecord) -> HostRecord:
            merged = {**record.labels, **labels}
            kept = {key: merged[key] for key in sorted(merged) if merged[key]}
            check_labels(kept)
            # A claim that nobody has looked at is not made an operator's word.
            vouched = record if record.max_guests else self._memory.believed(host_id)
            return structs.replace(record, labels=kept, capacity=vouched.capacity, pinned=True)

        after = " ".join(f"{key}={value}" for key, value in sorted(labels.items()))
        await self._change([host_id], pinned, "pin", after, actor)
        text = f"labels and capacity of {host_id} stay, whatever it announces"
        self._event("host_pinned", text, host_id, actor)

    async def unpin(self, host_id: str, actor: str) -> None:
        """What the host announces next counts again."""

        def unpinned(record: HostRecord) -> HostRecord:
            return structs.replace(record, pinned=False)

        await self._change([host_id], unpinned, "unpin", "", actor)
        text = f"labels and capacity of {host_id} are as it announces them"
        self._event("host_unpinned", text, host_id, actor)

    async def approve(self, hosts: Sequence[str], actor: str) -> None:
        """New hosts that wait for it may have VMs; all of them or none."""

        def approved(record: HostRecord) -> HostRecord:
            return structs.replace(record, awaits_approval=False)

        for host_id in await self._change(hosts, approved, "approve", "", actor):
            self._event("host_approved", f"{host_id} is approved", host_id, actor)

    async def _change(
        self,
        hosts: Sequence[str],
        replaced: Callable[[HostRecord], HostRecord],
        action: str,
        after: str,
        actor: str,
    ) -> list[str]:
        """Those whose records have changed."""

        async def once() -> list[str]:
            have = [self._memory.host(host) for host in dict.fromkeys(hosts)]
            pairs = [(record, replaced(record)) for record in have]
            changed = [after for before, after in pairs if after != before]
            lines = [
                self._writer.audited(action, actor, host=one.id, after=after) for one in changed
            ]
            writes = [put_host(record) for record in changed]
            await self._writer.write(beside_their_lines(writes, lines))
            return [record.id for record in changed]

        return await self._writer.decide(once)

    def _event(self, kind: str, message: str, host: str, actor: str) -> None:
        self._memory.events.add(kind, message, host=host, actor=actor)
