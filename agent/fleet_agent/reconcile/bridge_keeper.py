"""Keeps the bridges that VMs of an assignment are in: makes those of the agent's own, says which
are missing, and has VMs join again what was gone while they ran."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass

import structlog

from fleet.template.bridges import joined_bridge, networks_of
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import Assignment, WantedShard
from fleet_agent.core.bridges import (
    HostBridge,
    WantedBridge,
    joined_by,
    plan_bridges,
    wanted_bridges,
)
from fleet_agent.drivers.ports.bridges import BridgeError, Bridges, Interface
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors

log = structlog.get_logger()

Interfaces = Callable[[], Awaitable[Sequence[Interface]]]


@dataclass(frozen=True, slots=True)
class Kept:
    """`appeared`: a bridge that VMs are in is there, and was not at the last look: what failed for
    want of it is worth another try."""

    problems: tuple[wire.Problem, ...] = ()
    appeared: bool = False


class BridgeKeeper:
    """Of one host. `keep` before VMs are started, `sweep` once others are gone."""

    def __init__(self, bridges: Bridges, interfaces: Interfaces) -> None:
        """`interfaces`: of the VMs of ours that run."""
        self._bridges = bridges
        self._interfaces = interfaces
        # Joined by VMs, and known to be there with them in it. What an agent finds at its start
        # may have been made anew while nobody looked.
        self._known: dict[str, int] = {}  # with the index of each
        # Why each of the agent's own could not be made.
        self._failed: dict[str, str] = {}
        # Whether there may be some to be removed: an earlier agent may have left them.
        self._may_have_made = True
        self._warned: set[str] = set()

    async def keep(self, assignment: Assignment) -> Kept:
        """Never raises for a bridge: VMs that need it fail by themselves, and say so."""
        specs = _specs(assignment)
        wanted, joined = wanted_bridges(specs), joined_by(specs)
        if not joined:
            self._known = {}
            return Kept()
        try:
            with as_driver_errors("bridges", BridgeError):
                found = await self._made(wanted)
                usable = joined - self._failed.keys()
                there = {one.name: one.index for one in found if one.name in usable}
                appeared = dict(there.items() - self._known.items()).keys()
                if appeared:
                    await self._join(appeared)
        except DriverError as error:
            log.warning("bridges cannot be looked at", error=str(error))
            return Kept((wire.Problem(kind="network", count=1, example_message=str(error)),))
        self._known = there
        problems = [
            problem
            for bridge in sorted(joined - there.keys())
            for problem in missing_bridge(assignment, bridge, self._failed.get(bridge, ""))
        ]
        return Kept(tuple(problems), bool(appeared))

    async def sweep(self, assignment: Assignment) -> None:
        """Remove those of the agent's own that no VM of the assignment is to be in."""
        if not self._may_have_made:
            return
        try:
            with as_driver_errors("bridges", BridgeError):
                found = await self._bridges.listing()
                unwanted = plan_bridges(wanted_bridges(_specs(assignment)), found).remove
                for name in reversed(unwanted):  # br0-v100 before br0
                    await self._remove(name)
        except DriverError as error:
            self._warn("bridges cannot be looked at", str(error))
            return
        self._may_have_made = any(bridge.ours for bridge in found)

    async def _remove(self, name: str) -> None:
        """Raises DriverError."""
        try:
            if await self._bridges.remove(name):
                log.info("bridge removed", bridge=name)
        except BridgeError as error:
            self._warn("a bridge that nobody needs cannot be removed", str(error))

    def _warn(self, what: str, error: str) -> None:
        """Once of what stays as it is: a look comes every minute."""
        if error not in self._warned:
            self._warned.add(error)
            log.warning(what, error=error)

    async def _made(self, wanted: Sequence[WantedBridge]) -> tuple[HostBridge, ...]:
        """All bridges, once those are made that can be."""
        found = await self._bridges.listing()
        plan = plan_bridges(wanted, found)
        self._failed = {}
        for one in plan.make:
            try:
                await self._bridges.make(one)
            except BridgeError as error:
                self._failed[one.name] = str(error)
                log.warning("a bridge cannot be made", bridge=one.name, error=str(error))
            else:
                log.info("bridge made", bridge=one.name, mtu=one.mtu, over=one.over, vlan=one.vlan)
        if not plan.make:
            return found
        self._may_have_made = True
        return await self._bridges.listing()

    async def _join(self, appeared: Set[str]) -> None:
        for interface in await self._interfaces():
            if interface.bridge in appeared:
                try:
                    await self._bridges.join(interface)
                except BridgeError as error:  # its VM may have ended meanwhile
                    log.warning("an interface is in no bridge", error=str(error))


def missing_bridge(assignment: Assignment, bridge: str, why: str) -> list[wire.Problem]:
    """For each fleet that has VMs in it. `why`: it could not be made."""
    message = why or f"the bridge {bridge} is not on this host: its VMs reach nobody until it is"
    return [
        wire.Problem(
            kind="bridge_missing",
            fleet_uid=shard.kin.fleet_uid,
            count=len(shard.indices),
            example_index=shard.indices.first,
            example_message=message,
        )
        for shard in assignment.shards
        if shard.indices and bridge in map(joined_bridge, networks_of(_spec_of(assignment, shard)))
    ]


def _spec_of(assignment: Assignment, shard: WantedShard) -> types.FleetSpec:
    return assignment.specs[shard.kin.fleet_uid, shard.kin.generation]


def _specs(assignment: Assignment) -> list[types.FleetSpec]:
    """Of what is to exist, each once."""
    keys = {(shard.kin.fleet_uid, shard.kin.generation) for shard in assignment.shards}
    return [assignment.specs[key] for key in sorted(keys)]
