"""The Consoles and Sampler ports over those of two hypervisors."""

from __future__ import annotations

from fleet_agent.core.top import DomainCounters, HostCounters
from fleet_agent.drivers.ports.consoles import Console, Consoles, Feed, NoSuchVm
from fleet_agent.drivers.ports.hypervisor import Sampler


class BothConsoles:
    """`clones` are asked first, which know at once what they have."""

    def __init__(self, boots: Consoles, clones: Consoles) -> None:
        self._boots = boots
        self._clones = clones

    async def open(self, fleet_uid: str, index: int, feed: Feed, last_bytes: int) -> Console:
        try:
            return await self._clones.open(fleet_uid, index, feed, last_bytes)
        except NoSuchVm:
            return await self._boots.open(fleet_uid, index, feed, last_bytes)

    async def last(self, fleet_uid: str, index: int, count: int) -> bytes:
        try:
            return await self._clones.last(fleet_uid, index, count)
        except NoSuchVm:
            return await self._boots.last(fleet_uid, index, count)

    async def close(self) -> None:
        try:
            await self._clones.close()
        finally:
            await self._boots.close()


class BothSamplers:
    def __init__(self, boots: Sampler, clones: Sampler) -> None:
        self._boots = boots
        self._clones = clones

    async def counters(self) -> tuple[HostCounters, tuple[DomainCounters, ...]]:
        host, booted = await self._boots.counters()
        _, cloned = await self._clones.counters()
        return host, (*booted, *cloned)

    async def close(self) -> None:
        try:
            await self._boots.close()
        finally:
            await self._clones.close()
