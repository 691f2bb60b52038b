"""The gRPC server of one agent: its services on one address with mTLS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from fleet.transport import SERVER_OPTIONS
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import agent_pb2_grpc as wire_grpc
from fleet_agent.api.service import AgentApi

SERVICE = wire.DESCRIPTOR.services_by_name["AgentService"].full_name
NAMES = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)


class CannotListen(Exception):
    """The address is taken or not ours; one sentence."""


@dataclass(slots=True)
class SharedServices:
    """Health and reflection: the same objects serve any number of agents in one process."""

    health: health_aio.HealthServicer = field(default_factory=health_aio.HealthServicer)

    async def serving(self) -> None:
        for name in ("", *NAMES):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stopping(self) -> None:
        await self.health.enter_graceful_shutdown()

    def add_to(self, server: grpc.aio.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        reflection.enable_server_reflection(NAMES, server)


class _Unregistered:
    """A server whose methods are found by name when they are called.

    Registered ones are waited for by a task each for as long as the server lives: 16 of them
    take some 40 KiB, which a process of thousands of agents would pay thousands of times.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """They are in the generic handler already."""


class AgentServer:
    """Bound at construction, so that its port is known before it serves."""

    def __init__(
        self, api: AgentApi, shared: SharedServices, credentials: grpc.ServerCredentials
    ) -> None:
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._credentials = credentials
        services: Any = _Unregistered(self._server)
        wire_grpc.add_AgentServiceServicer_to_server(api, services)
        shared.add_to(services)

    def listen(self, address: str) -> int:
        """The port. Raises CannotListen."""
        try:
            port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {address}: {error}") from error
        if not port:
            raise CannotListen(f"cannot listen on {address}: it is taken or not this machine's")
        return int(port)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float = 0.0) -> None:
        await self._server.stop(grace)
