"""Calls real agents as a controller does, and takes their announcements."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from fleet.peers import peer_of
from fleet.transport import SERVER_OPTIONS, Identity, Role, channel_options, dns_name
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import agent_pb2_grpc as wire_grpc
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import cluster_pb2_grpc as cluster_grpc
from fleet.v1 import types_pb2 as types
from tests.certificates import identity

# Real seconds after which a real process has failed its test.
DEADLINE = 60.0


def controller_identity() -> Identity:
    return identity(Role.CONTROLLER, "controller-1")


class Caller:
    """One channel to one agent."""

    def __init__(self, host: str, address: str, caller: Identity | None = None) -> None:
        self.host = host
        self.address = address
        credentials = (caller or controller_identity()).for_channel()
        options = channel_options(dns_name(Role.AGENT, host))
        self.channel = grpc.aio.secure_channel(address, credentials, options)
        self.stub = wire_grpc.AgentServiceStub(self.channel)

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.channel.close()

    async def assign(
        self, wanted: types.Assignment, revision: int, term: int = 1, host: str = ""
    ) -> wire.AssignResponse:
        request = wire.AssignRequest(
            term=types.Term(store_generation=1, revision=term),
            epoch=types.Epoch(store_generation=1, revision=revision),
            host_id=host or self.host,
            assignment=wanted,
        )
        return await self.stub.Assign(request, timeout=DEADLINE)

    async def describe(self, term: int = 1) -> wire.DescribeResponse:
        request = wire.DescribeRequest(term=types.Term(store_generation=1, revision=term))
        return await self.stub.Describe(request, timeout=DEADLINE)

    async def reports(self, term: int = 1) -> AsyncIterator[wire.Report]:
        """Until the agent ends the stream."""
        call: Any = self.stub.Watch()
        await call.write(
            wire.WatchRequest(
                term=types.Term(store_generation=1, revision=term),
                pace=wire.Pace(min_interval_ms=50, heartbeat_ms=60_000),
            )
        )
        try:
            while (report := await call.read()) is not grpc.aio.EOF:
                yield report
        finally:
            call.cancel()

    async def until_converged(self, revision: int, term: int = 1) -> list[wire.Report]:
        """All reports of a new stream until the host has done that assignment."""
        seen: list[wire.Report] = []
        async with asyncio.timeout(DEADLINE):
            async for report in self.reports(term):
                seen.append(report)
                if report.converged and report.epoch.revision == revision:
                    return seen
        raise AssertionError("the stream ended before the host had converged")


def states_told(reports: list[wire.Report]) -> dict[int, int]:
    """The state of each index after all of these reports: how many there are is the agent's
    affair, and depends on how busy it is."""
    return {
        run.start + offset: state
        for report in reports
        for shard in report.shards
        for run in shard.runs
        for offset, state in enumerate(run.states)
    }


def released_in(reports: list[wire.Report]) -> set[int]:
    """The tombstones acknowledged in any of these reports."""
    return {number for report in reports for number in report.released}


class Announced(cluster_grpc.ClusterServiceServicer):
    """A controller that knows Announce alone."""

    def __init__(self) -> None:
        self.address = ""
        self.hosts: dict[str, cluster.AnnounceRequest] = {}
        self._changed = asyncio.Event()

    async def Announce(
        self, request: cluster.AnnounceRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> cluster.AnnounceResponse:
        context_of_peer: Any = context.auth_context()
        peer = peer_of(context_of_peer)
        assert peer.role is Role.AGENT
        self.hosts[peer.name] = request
        self._changed.set()
        return cluster.AnnounceResponse(host_id=peer.name, announce_again_seconds=3600)

    async def until(self, *hosts: str) -> None:
        """All of them have announced themselves since they were last forgotten."""
        async with asyncio.timeout(DEADLINE):
            while not self.hosts.keys() >= set(hosts):
                self._changed.clear()
                await self._changed.wait()

    def caller(self, host: str) -> Caller:
        return Caller(host, self.hosts[host].address)


@asynccontextmanager
async def announcements() -> AsyncIterator[Announced]:
    server = grpc.aio.server(options=SERVER_OPTIONS)
    announced = Announced()  # type: ignore[abstract]
    cluster_grpc.add_ClusterServiceServicer_to_server(announced, server)
    port = server.add_secure_port("127.0.0.1:0", controller_identity().for_server())
    announced.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield announced
    finally:
        await server.stop(None)
