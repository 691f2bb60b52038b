"""A controller that leads, scripted agents and operators, with real gRPC between all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import grpc

from fleet.transport import CONTROLLER_NAME, Identity, Role, channel_options, detail_of
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub, add_ClusterServiceServicer_to_server
from fleet_controller.agents.grpc_agents import GrpcDialer
from fleet_controller.api.service import ClusterApi
from fleet_controller.core.model import Health
from fleet_controller.election.leader_key import Holder
from fleet_controller.replica.leader import Leader
from fleet_controller.standbys import AtHand
from fleet_controller.store.keys import LEADER
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Delete, Put
from tests.certificates import identity
from tests.doubles.leading import leading_or_none, replica_over, until
from tests.doubles.obedient_agents import ObedientAgent, World
from tests.doubles.scripted_agents import serve
from tests.processes.small_cluster import spec

SECONDS = 20.0
GUESTS = 10


class RelayRig:
    """Its hosts are called h1, h2, ...; used through `relay_rig`."""

    def __init__(self) -> None:
        self.store = MemoryStore(time.monotonic)
        dialer = GrpcDialer(identity(Role.CONTROLLER, "controller-1"))
        self.replica = replica_over(self.store, dialer)
        self.agents: dict[str, ObedientAgent] = {}
        self.servers: dict[str, grpc.aio.Server] = {}
        self.address = ""
        self._stack = AsyncExitStack()

    @property
    def leading(self) -> Leader:
        return self.replica.leader()

    def stub(self, who: Identity | None = None) -> Any:
        """Calls as an operator, or as somebody else."""
        who = who or identity(Role.OPERATOR, "alice")
        channel = grpc.aio.secure_channel(
            self.address, who.for_channel(), channel_options(CONTROLLER_NAME)
        )
        self._stack.push_async_callback(channel.close)
        return ClusterServiceStub(channel)

    async def add_host(self, name: str) -> ObedientAgent:
        """It has announced itself and is live."""
        agent = self.agents[name] = ObedientAgent(name, World(), Random(1))
        self.servers[name], address = await serve(agent, identity(Role.AGENT, name))
        facts = types.HostFacts(
            incarnation="i", capacity=types.Capacity(guests=GUESTS), agent_version="0.1.0"
        )
        await self.leading.announcements.announce(name, address, facts)
        await until(lambda: self.health(name) is Health.LIVE, SECONDS)
        return agent

    async def holds(self, name: str, *images: types.Image) -> None:
        """The host says that it has these images and no others."""
        facts = types.HostFacts(
            incarnation="i", capacity=types.Capacity(guests=GUESTS), agent_version="0.1.0",
            images=types.ImagesHeld(images=images),
        )  # fmt: skip
        address = self.leading.memory.state.hosts[name].address
        await self.leading.announcements.announce(name, address, facts)

    async def close_callers(self) -> None:
        """Whoever called is gone."""
        await self._stack.aclose()

    def health(self, host: str) -> Health | None:
        link = self.leading.memory.links.get(host)
        return link.health if link else None

    async def lose(self, host: str) -> None:
        """The host is gone from the network, and the leader has seen it."""
        await self.servers[host].stop(0)
        await until(lambda: self.health(host) is not Health.LIVE, SECONDS)

    async def scale(self, total: int, fleet: str = "spv") -> str:
        """All VMs are placed; the fleet's uid."""
        stub = self.stub()
        await stub.ApplyFleet(cluster.ApplyFleetRequest(name=fleet, spec=spec()))
        await stub.Scale(cluster.ScaleRequest(fleet=fleet, total=total, partial=True))
        uid = self.leading.memory.state.fleets[fleet].uid
        wanted = min(total, GUESTS * len(self.agents))
        vector = self.leading.memory.observed.vectors[uid]
        await until(lambda: vector.placed == wanted, SECONDS)
        return uid

    async def depose(self) -> None:
        """Another replica leads, at 192.0.2.9:7440."""
        other = Holder("controller-2", "192.0.2.9:7440", 0, 0).value()
        await self.store.txn([], [Delete(LEADER)])
        await self.store.txn([], [Put(LEADER, other)])
        await until(lambda: leading_or_none(self.replica) is None, SECONDS)

    def events(self, kind: str) -> list[tuple[str, str]]:
        """What happened of one kind: messages and actors."""
        found, _ = self.leading.memory.events.after(0, 1000, "", "")
        return [(event.message, event.actor) for event in found if event.kind == kind]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = grpc.aio.server()
        add_ClusterServiceServicer_to_server(ClusterApi(self.replica, AtHand()), server)
        own = identity(Role.CONTROLLER, "controller-1")
        self.address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', own.for_server())}"
        await server.start()
        running = asyncio.create_task(self.replica.run())
        try:
            await until(lambda: leading_or_none(self.replica) is not None, SECONDS)
            yield
        finally:
            await self._stack.aclose()
            running.cancel()
            await asyncio.wait([running])
            await server.stop(0)
            for one in self.servers.values():
                await one.stop(0)
        assert running.cancelled(), running


@asynccontextmanager
async def relay_rig(hosts: int) -> AsyncIterator[RelayRig]:
    rig = RelayRig()
    async with rig.running():
        for number in range(1, hosts + 1):
            await rig.add_host(f"h{number}")
        yield rig


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """What the call is refused with: code, reason, sentence."""
    try:
        async with asyncio.timeout(SECONDS):
            answer = await call
    except grpc.aio.AioRpcError as error:
        return error.code(), detail_of(error).reason, error.details() or ""
    raise AssertionError(f"it was answered: {answer}")
