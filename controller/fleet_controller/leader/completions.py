"""What a planning pass finds to be over, written and announced: rollouts, rebalances,
drains, deletions."""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import structs

from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.changes import forgettable, without_tombstones
from fleet_controller.core.model import Assignment, HostRecord
from fleet_controller.core.names import counted
from fleet_controller.core.passes import Pass
from fleet_controller.core.rollouts_and_drains.drain_progress import drain_progress_of, is_empty
from fleet_controller.core.rollouts_and_drains.rollout import described, happened
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter, beside_their_lines
from fleet_controller.mirror.records import (
    Write,
    delete_gone,
    delete_orders,
    delete_rebalance,
    delete_rollout,
    delete_schedule,
    delete_spec,
    put_assignments,
    put_fleet,
    put_host,
    put_orders,
    put_rollout,
    replace_fleet_by_gone,
)
from fleet_controller.store import keys


class Completions:
    """Of one leadership. Each is in the store with its line of audit, so there is one event of it,
    whichever replica leads. All raise Outdated, StoreError."""

    def __init__(self, memory: LeaderMemory, writer: ChangeWriter) -> None:
        self._memory = memory
        self._state = memory.state
        self._writer = writer
        self._told = 0  # hosts were told specs up to this revision

    async def rollouts(self, decided: Pass) -> None:
        """Those that have ended or halted, were promoted or undone by themselves, or whose canaries
        were forgotten; each with the record of its fleet where it changes that. It is written
        before anything is decided from it."""
        for record in decided.rollouts:
            writes: list[Write] = [put_rollout(record)]
            fleet = decided.fleets.get(record.fleet)
            if fleet:
                writes.append(put_fleet(fleet))
            known = fleet or self._state.fleet_by_uid(record.fleet)
            name = known.name if known else record.fleet
            have = self._state.rollouts.get(record.fleet)
            kind, what = happened(have, record)
            writes.append(
                self._writer.audited(
                    kind, BY_LEADER, fleet=name,
                    before=have.state if have else "", after=described(record),
                    change=record.change,
                )
            )  # fmt: skip
            await self._writer.write_one(writes)
            target = have.to_generation if have else record.to_generation
            self._memory.events.add(
                kind, f"the rollout of {name} to generation {target} {what}",
                fleet=name, change=record.change,
            )  # fmt: skip

    async def orders(self, decided: Pass) -> None:
        """Those of which nothing is left: for VMs that were to be restarted or made anew."""
        for over in decided.orders_over:
            known = self._state.fleet_by_uid(over.fleet)
            name, count = known.name if known else over.fleet, len(over.order.indices)
            record = put_orders(over.left) if over.left else delete_orders(over.fleet)
            line = self._writer.audited(
                f"vms_{over.action.value}_done", BY_LEADER, fleet=name,
                after=counted(count, "VM"), change=over.order.change,
            )  # fmt: skip
            await self._writer.write_one([record, line])
            text = f"fleet {name}: the {over.action.value} of {counted(count, 'VM')} is done"
            self._memory.events.add(
                f"vms_{over.action.value}_done", text, fleet=name, change=over.order.change
            )

    async def deadlines(self) -> None:
        """Drains that have lasted as long as they were to: they end, or go on beyond budgets."""
        now = self._memory.events.now()
        for host in sorted(self._state.draining):
            record = self._state.hosts[host]
            if not 0 < record.drain_until <= now:
                continue
            left = drain_progress_of(self._memory.host_view(host), {}).left
            if left and record.drain_then == "force":
                await self._end_drain(
                    structs.replace(record, drain_until=0.0, drain_ignores_budget=True),
                    "drain_forced",
                    f"the drain of {host} goes on beyond disruption budgets: its deadline has "
                    f"passed with {counted(left, 'VM')} to move",
                    left,
                )
            elif left:
                await self._end_drain(
                    structs.replace(
                        record, draining=False, drain_until=0.0, drain_then="",
                        drain_ignores_budget=False,
                    ),
                    "drain_stopped",
                    f"the drain of {host} has stopped: its deadline has passed with "
                    f"{counted(left, 'VM')} still there",
                    left,
                )  # fmt: skip

    def seconds_until_deadline(self) -> float:
        """Of the drain that has lasted long enough first."""
        hosts = (self._state.hosts[host] for host in self._state.draining)
        ends = [one.drain_until for one in hosts if one.drain_until and not one.drained]
        return min(ends, default=math.inf) - self._memory.events.now()

    async def _end_drain(self, record: HostRecord, action: str, text: str, left: int) -> None:
        line = self._writer.audited(
            action, BY_LEADER, host=record.id, after=f"{counted(left, 'VM')} left",
            change=record.drain_change,
        )  # fmt: skip
        await self._writer.write_one([put_host(record), line])
        self._memory.events.add(f"host_{action}", text, host=record.id, change=record.drain_change)

    async def rebalances(self, decided: Pass) -> None:
        """Those of which nothing is left. What was to be moved then is in the store."""
        for uid, progress in decided.rebalances.items():
            record, fleet = self._state.rebalances.get(uid), self._state.fleet_by_uid(uid)
            if record is None or fleet is None or not progress.is_over:
                continue
            line = self._writer.audited(
                "rebalanced", BY_LEADER, fleet=fleet.name, change=record.change
            )
            await self._writer.write_one([delete_rebalance(uid), line])
            text = f"fleet {fleet.name} is rebalanced"
            self._memory.events.add("rebalanced", text, fleet=fleet.name, change=record.change)

    async def drains(self) -> None:
        """Draining hosts that have nothing any more: they stay so until they are removed or
        taken back."""
        drained = [
            self._state.hosts[host]
            for host in sorted(self._state.draining)
            if not self._state.hosts[host].drained and is_empty(self._memory.host_view(host))
        ]
        writes = [put_host(structs.replace(record, drained=True)) for record in drained]
        lines = [
            self._writer.audited("drained", BY_LEADER, host=one.id, change=one.drain_change)
            for one in drained
        ]
        await self._writer.write(beside_their_lines(writes, lines))
        for host in drained:
            text = f"{host.id} is drained: it has no VMs left"
            self._memory.events.add("host_drained", text, host=host.id, change=host.drain_change)

    async def deletions(self) -> None:
        """Fleets that are deleted and that no host holds any more; and those that are forgotten,
        since no host has anything left to release of them."""
        observed = self._memory.observed
        for fleet in list(self._state.fleets.values()):
            held = observed.vectors[fleet.uid].placed
            if not fleet.deleting or held or observed.releasing[fleet.uid]:
                continue
            # The record goes last: no agent takes a tombstone of a fleet without a name.
            await self._writer.write(self._last_traces(fleet.uid))
            line = self._writer.audited(
                "fleet_deleted", BY_LEADER, fleet=fleet.name, change=fleet.change
            )
            await self._writer.write_one([*replace_fleet_by_gone(fleet), line])
            observed.forget_fleet(fleet.uid)
            text = f"fleet {fleet.name} is gone"
            self._memory.events.add("fleet_deleted", text, fleet=fleet.name, change=fleet.change)
        if forgotten := forgettable(self._state.gone, self._state.assignments):
            await self._writer.write([delete_gone(uid) for uid in forgotten])

    async def mended(self) -> None:
        """Hosts that were told less than they are to have, since a record could not be understood,
        are told all of it under a new epoch."""
        messages = self._memory.messages
        there = {
            host: one
            for host in sorted(messages.incomplete)
            if (one := self._state.assignments.get(host))
            and all(map(messages.is_known, one.shards))
        }
        await self._writer.write(put_assignments(there))
        messages.incomplete -= there.keys()

    async def retold(self) -> None:
        """Hosts whose assignment is older than a template in it, whose settings were changed since,
        are told the same anew: an epoch names one assignment with all that is in it."""
        state, newest = self._state, self._state.specs_revision
        if newest <= self._told:
            return
        changed = {
            key: revision
            for key in state.specs
            if (revision := state.spec_revision(*key)) > self._told
        }
        behind = {
            host: one
            for host, one in state.assignments.items()
            if _is_behind(one, state.assignment_revision(host), changed)
            and keys.assignment(host) not in state.broken
        }
        last = {fleet.uid: fleet.change for fleet in state.fleets.values()}
        changes = {
            host: next((last[one.fleet] for one in held.shards if last.get(one.fleet)), "")
            for host, held in behind.items()
        }
        await self._writer.write(put_assignments(behind, changes))
        self._told = newest

    def _has_orders(self, uid: str) -> bool:
        """Understood or not."""
        return uid in self._state.orders or keys.orders(uid) in self._state.broken

    def _last_traces(self, uid: str) -> list[Write]:
        # Lost and removed hosts still have to release theirs when they are back.
        there = {
            host: one
            for host, one in self._state.assignments.items()
            if host in self._state.hosts and host not in self._state.lost
        }
        cleared = without_tombstones(there, uid)
        return [
            *put_assignments(cleared),
            *(delete_spec(*key) for key in self._state.specs if key[0] == uid),
            *([delete_rollout(uid)] if uid in self._state.rollouts else []),
            *([delete_orders(uid)] if self._has_orders(uid) else []),
            *([delete_rebalance(uid)] if uid in self._state.rebalances else []),
            *([delete_schedule(uid)] if self._state.mod_revision(keys.schedule(uid)) else []),
        ]


def _is_behind(held: Assignment, told: int, changed: Mapping[tuple[str, int], int]) -> bool:
    """Whether a template in it was written after the host's assignment was."""
    return any(told < changed.get((one.fleet, one.generation), 0) for one in held.shards)
