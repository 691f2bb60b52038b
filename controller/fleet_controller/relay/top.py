"""What the domains of one host, of a fleet's hosts or of all use, once an interval."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core import top
from fleet_controller.core.refusals import named_fleet
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.relay.relay import Relay
from fleet_controller.relay.samples import HostSamples

# Seconds that a first sample may take beside its interval: a host that needs longer is silent.
FIRST_SAMPLE_GRACE = 3.0


class TopRelay:
    """One operator's `top`."""

    def __init__(
        self,
        relay: Relay,
        memory: LeaderMemory,
        off_loop: OffLoop,
        request: cluster.ClusterTopRequest,
    ) -> None:
        """Raises Refused."""
        top.checked(request)
        self._relay = relay
        self._memory = memory
        self._off_loop = off_loop
        self._request = request
        self._rows = top.rows_of(request)
        fleets = self._memory.state.fleets
        self._fleet = named_fleet(fleets, request.fleet).uid if request.fleet else ""
        self._host = relay.host(request.host) if request.host else ""
        vms = [self._vms(host_id) for host_id in self._hosts()]
        self.interval = top.interval_for(request.interval_seconds, vms, self._rows)
        asked = wire.TopRequest(
            interval_seconds=self.interval,
            fleet_uid=self._fleet,
            limit=self._rows,
            order=request.order,
            samples=1 if request.samples == 1 else 0,
        )
        self._samples = HostSamples(relay, asked, self.interval * top.MISSED_INTERVALS)

    @property
    def first_seconds(self) -> float:
        """How long the first sample may take."""
        return self.interval + FIRST_SAMPLE_GRACE

    async def run(
        self, send: Callable[[cluster.ClusterTopSample], Awaitable[None]], first_seconds: float
    ) -> None:
        """Until as many samples were sent as were asked for."""
        try:
            await self._follow()
            await self._samples.answered(first_seconds)
            sent = 0
            while True:
                await send(await self._merged())
                sent += 1
                if sent == self._request.samples:
                    return
                await asyncio.sleep(self.interval)
                await self._follow()
        finally:
            await self._samples.close()

    async def _follow(self) -> None:
        """Ask again the hosts that have come back. Raises Refused when the one host that was
        named is away."""
        self._relay.raise_if_over()
        if self._host:
            self._relay.questions(self._host)
        await self._samples.follow(self._hosts())

    async def _merged(self) -> cluster.ClusterTopSample:
        self._relay.raise_if_over()
        hosts, samples = self._hosts(), self._samples.fresh()
        samples = {host: samples[host] for host in hosts if host in samples}
        refusals = self._samples.refusals
        if refusals and not any(self._relay.is_live(h) for h in hosts if h not in refusals):
            raise refusals[min(refusals)]
        names = {fleet.uid: fleet.name for fleet in self._memory.state.fleets.values()}
        silent = [host for host in hosts if host not in samples]
        order = self._request.order
        held = {host: self._fleets(host) for host in samples}
        return await self._off_loop.run(
            lambda: top.merged(samples, names, silent, self._rows, order, held)
        )

    def _hosts(self) -> list[str]:
        """Whoever is to be asked at the moment."""
        if self._host:
            return [self._host]
        hosts = list(self._memory.state.hosts)
        return [host for host in hosts if self._vms(host)] if self._fleet else hosts

    def _fleets(self, host_id: str) -> frozenset[str]:
        """Of which the host has VMs, or lets go of some."""
        assignment = self._memory.observed.host(host_id).assignment
        held = frozenset(shard.fleet for shard in assignment.shards)
        return held.union(tombstone.fleet for tombstone in assignment.tombstones)

    def _vms(self, host_id: str) -> int:
        shards = self._memory.observed.host(host_id).assignment.shards
        return sum(len(one.ranges) for one in shards if self._fleet in ("", one.fleet))
