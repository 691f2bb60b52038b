"""Agents over gRPC with mTLS: the real adapter of the agents port."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import grpc

from fleet.endpoints import target
from fleet.transport import Credentials, Role, channel_options, dns_name
from fleet.v1 import agent_pb2 as wire
from fleet.v1.agent_pb2_grpc import AgentServiceStub
from fleet_controller.agents.grpc_errors import errors_as_the_ports
from fleet_controller.agents.grpc_questions import GrpcQuestions
from fleet_controller.agents.port import NO_GUIDANCE, Guidance, Unreachable
from fleet_controller.observed.report_bounds import MOST_REPORT_BYTES


class GrpcDialer:
    """Dials each host at its address and insists on its certificate.

    Holds at most `most` connections: a process out of descriptors could answer nobody, so that
    those who might help would not even learn why.
    """

    def __init__(self, identity: Credentials, most: int = sys.maxsize) -> None:
        self._identity = identity
        self._most = most
        self._open = 0

    def connect(self, host_id: str, address: str) -> GrpcConnection:
        if self._open >= self._most:
            raise Unreachable(
                f"{host_id}: this controller may open too few files for more than {self._most:,} "
                "hosts; raise its limit (LimitNOFILE, ulimit -Hn) and start it again"
            )
        if not address:
            raise Unreachable(
                f"{host_id}: where it is is not known, since its record in the store is gone or "
                "cannot be understood; it is dialled once it announces itself"
            )
        self._open += 1
        name = dns_name(Role.AGENT, host_id)
        options = channel_options(name, MOST_REPORT_BYTES, measured=False)
        # The scheme is ours: an address is a host and a port, whatever it looks like.
        channel = grpc.aio.secure_channel(target(address), self._identity.for_channel(), options)
        return GrpcConnection(channel, f"{host_id} at {address}", self._closed)

    def _closed(self) -> None:
        self._open -= 1


class GrpcConnection:
    """One channel, which has one connection of its own."""

    def __init__(self, channel: grpc.aio.Channel, peer: str, closed: Callable[[], None]) -> None:
        self._channel = channel
        self._closed = closed
        # Only what a link calls: thousands of stubs with a dozen methods each are megabytes.
        stub = AgentServiceStub(channel)
        self._watch, self._assign = stub.Watch, stub.Assign
        self._peer = peer

    def watch(self, first: wire.WatchRequest) -> GrpcReports:
        return GrpcReports(self._watch(), first, self._peer)

    async def assign(self, request: wire.AssignRequest, seconds: float) -> wire.AssignResponse:
        with errors_as_the_ports(self._peer):
            return await self._assign(request, timeout=seconds)

    async def reset(self, request: wire.ResetRequest, seconds: float) -> wire.ResetResponse:
        with errors_as_the_ports(self._peer):
            return await AgentServiceStub(self._channel).Reset(request, timeout=seconds)

    async def describe(self, seconds: float) -> None:
        with errors_as_the_ports(self._peer):
            await AgentServiceStub(self._channel).Describe(wire.DescribeRequest(), timeout=seconds)

    def questions(self) -> GrpcQuestions:
        return GrpcQuestions(self._channel, self._peer)

    async def close(self) -> None:
        try:
            await self._channel.close()
        finally:
            self._closed()


class GrpcReports:
    """One Watch call. The first request is sent with the first read."""

    def __init__(
        self,
        call: grpc.aio.StreamStreamCall[wire.WatchRequest, wire.Report],
        first: wire.WatchRequest,
        peer: str,
    ) -> None:
        self._call = call
        self._first: wire.WatchRequest | None = first
        self._peer = peer

    async def read(self) -> wire.Report:
        with errors_as_the_ports(self._peer):
            if self._first is not None:
                first, self._first = self._first, None
                await self._call.write(first)
            report: Any = await self._call.read()
        if report is grpc.aio.EOF:
            raise Unreachable(f"{self._peer}: the agent ended its reports")
        return report  # type: ignore[no-any-return]

    async def repace(self, pace: wire.Pace, guidance: Guidance = NO_GUIDANCE) -> None:
        with errors_as_the_ports(self._peer):
            await self._call.write(wire.WatchRequest(pace=pace, **guidance._asdict()))

    def cancel(self) -> None:
        self._call.cancel()
