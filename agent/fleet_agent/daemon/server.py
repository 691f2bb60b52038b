"""The gRPC server of one agent: its services on one address with mTLS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from fleet.serving.call_counts import CallBounds, CallCounts
from fleet.serving.gate import Gate, Rule, longest_request, rules_of
from fleet.serving.server_options import server_options
from fleet.transport import Role
from fleet.v1 import agent_pb2_grpc as wire_grpc
from fleet_agent.api.guard import admit
from fleet_agent.api.service import SERVICE as DESCRIPTOR
from fleet_agent.api.service import AgentApi

SERVICE = DESCRIPTOR.full_name
NAMES = (SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)


# A leader asks one host for at most 4,096 consoles; whoever else has a certificate may ask about
# the server's health.
_CALLS = 8_192
_BOUNDS = CallBounds(
    in_all=_CALLS,
    by_role={
        Role.CONTROLLER: 6_144, Role.OPERATOR: 16, Role.VIEWER: 16, Role.AGENT: 16,
    },
)  # fmt: skip
_CONNECTIONS = 256


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
        described = reflection.aio.ReflectionServicer(NAMES)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(described, server)


class _Unregistered:
    """A server whose methods are found by name when they are called.

    Registered ones are waited for by a task each for as long as the server lives: 16 of them
    take some 40 KiB, which a process of thousands of agents would pay thousands of times.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """They are in the generic handler already."""


@cache
def _rules() -> Mapping[str, Rule]:
    """Of all hosts of a process, which may be a thousand."""
    return rules_of(AgentApi, DESCRIPTOR)


class AgentServer:
    """Bound at construction, so that its port is known before it serves."""

    def __init__(
        self,
        api: AgentApi,
        shared: SharedServices,
        credentials: grpc.ServerCredentials | Callable[[], grpc.ServerCredentials],
    ) -> None:
        """`credentials`: where they follow files, they are made for each port that is tried: gRPC
        takes such once, whether the port could be had or not."""
        rules = _rules()
        self._server = grpc.aio.server(
            interceptors=(Gate(rules, admit, CallCounts(_BOUNDS)),),
            options=server_options(longest_request(rules), _CALLS, _CONNECTIONS),
        )
        self._credentials = credentials
        services: Any = _Unregistered(self._server)
        wire_grpc.add_AgentServiceServicer_to_server(api, services)
        shared.add_to(services)

    def listen(self, address: str) -> int:
        """The port. Raises CannotListen."""
        try:
            made = self._credentials
            port = self._server.add_secure_port(address, made() if callable(made) else made)
        except RuntimeError as error:
            raise CannotListen(f"cannot listen on {address}: {error}") from error
        if not port:
            raise CannotListen(f"cannot listen on {address}: it is taken or not this machine's")
        return int(port)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float = 0.0) -> None:
        await self._server.stop(grace)
