"""Changes people and agents ask for: decided by pure functions, written by the leader.

Each is decided under the reign's lock from the state as it is; where the store turns out to
have moved on, it is decided again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from fleet.v1 import types_pb2 as types
from fleet_controller.change_deadline import check_change_deadline
from fleet_controller.core import changes
from fleet_controller.core.model import FleetRecord, Health, HostRecord
from fleet_controller.core.refusals import known_host, named_fleet
from fleet_controller.leader.reign import Reign
from fleet_controller.mirror.committer import Outdated, Write, parts
from fleet_controller.store import keys
from fleet_controller.store.codec import encode, encode_spec
from fleet_controller.store.port import Put

Answer = TypeVar("Answer")
_ATTEMPTS = 5


class Operations:
    """What may be asked of the leader. All raise Refused and StoreError."""

    def __init__(self, reign: Reign, new_uid: Callable[[], str]) -> None:
        self._reign = reign
        self._new_uid = new_uid

    async def apply(self, name: str, spec: types.FleetSpec, actor: str) -> changes.Application:
        """Make the fleet, or a new generation of it."""

        async def once() -> changes.Application:
            state = self._reign.state
            live = self._reign.links.by_health[Health.LIVE]
            decided = changes.apply_fleet(
                state.fleets, state.specs, state.meta, name, spec, actor,
                self._new_uid(), live == len(state.hosts),
            )  # fmt: skip
            fleet = decided.fleet
            if decided.spec is not None:
                writes: list[Write] = [
                    Put(keys.fleet(name), encode(fleet)),
                    Put(keys.spec(fleet.uid, fleet.generation), encode_spec(spec)),
                ]
                if decided.meta:
                    writes.append(Put(keys.META, encode(decided.meta)))
                writes.append(
                    self._reign.audit.entry(
                        "apply", actor, fleet=name, after=f"generation {fleet.generation}"
                    )
                )
                await self._reign.committer.write_one(writes)
            return decided

        decided = await self.until_written(once)
        if decided.spec is not None:
            what = "created" if decided.created else f"has generation {decided.fleet.generation}"
            self._event("fleet_applied", f"fleet {name} {what}", name, actor)
        return decided

    async def plan(self, name: str, total: int, actor: str) -> changes.Scaling:
        """What a scale would do; nothing is written."""
        view = self._reign.view()
        return await self._reign.in_executor(lambda: changes.scale(view, name, total, actor))

    async def scale(
        self, name: str, total: int, actor: str, *, partial: bool = False, token: str = ""
    ) -> changes.Scaling:
        """Set the total. The first transaction carries it, and as much of the division as fits;
        the loop writes the rest."""

        async def once() -> changes.Scaling:
            revision = self._reign.state.revision
            scaling = await self.plan(name, total, actor)
            changes.check_scale(scaling, partial, token)
            self._reign.committer.refuse_if_past(revision)
            fleet = scaling.fleet
            writes: list[Write] = [
                Put(keys.fleet(fleet.name), encode(fleet)),
                self._reign.audit.entry(
                    "scale", actor, fleet=fleet.name,
                    before=str(scaling.before.total), after=str(total),
                ),
            ]  # fmt: skip
            if self._reign.plans_freely:
                writes += self._reign.assignment_writes(scaling.placement)
            await self._reign.committer.write_one(parts(writes)[0])
            self._reign.plans = scaling.placement.fleets
            return scaling

        scaling = await self.until_written(once)
        text = f"fleet {scaling.fleet.name}: {scaling.before.total:,} -> {total:,} VMs"
        self._event("fleet_scaled", text, scaling.fleet.name, actor)
        self._reign.wake()
        return scaling

    async def delete(self, name: str, actor: str) -> FleetRecord:
        """Take every VM away, then the fleet."""

        async def once() -> FleetRecord:
            fleet = named_fleet(self._reign.state.fleets, name)
            gone = msgspec.structs.replace(fleet, total=0, deleting=True, changed_by=actor)
            told = self._reign.audit.entry(
                "delete", actor, fleet=fleet.name, before=str(fleet.total), after="0"
            )
            await self._reign.committer.write_one([Put(keys.fleet(fleet.name), encode(gone)), told])
            return gone

        fleet = await self.until_written(once)
        self._event("fleet_deleting", f"fleet {fleet.name} is being deleted", fleet.name, actor)
        self._reign.wake()
        return fleet

    async def cordon(self, host_id: str, cordoned: bool, actor: str) -> HostRecord:
        """Whether the host gets further VMs; what runs there stays."""

        async def once() -> HostRecord:
            have = known_host(self._reign.state.hosts, host_id)
            record = msgspec.structs.replace(have, cordoned=cordoned)
            if record != have:
                action = "cordon" if cordoned else "uncordon"
                told = self._reign.audit.entry(action, actor, host=host_id)
                await self._reign.committer.write_one(
                    [Put(keys.host(host_id), encode(record)), told]
                )
            return record

        record = await self.until_written(once)
        verb = "cordoned" if cordoned else "uncordoned"
        self._reign.events.add(f"host_{verb}", f"{host_id} is {verb}", host=host_id, actor=actor)
        return record

    async def until_written(self, once: Callable[[], Awaitable[Answer]]) -> Answer:
        """Decided and written under the lock; decided again where the store has moved on. Not
        begun once the call comes late: it may have waited for the lock, in a stopped process."""
        async with self._reign.changing:
            check_change_deadline(self._reign.now())
            self._reign.raise_if_frozen()
            for _ in range(_ATTEMPTS - 1):
                try:
                    return await once()
                except Outdated:
                    continue
            return await once()

    def _event(self, kind: str, message: str, fleet: str, actor: str) -> None:
        self._reign.events.add(kind, message, fleet=fleet, actor=actor)
