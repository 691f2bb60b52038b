"""Other hosts' agents over gRPC with mTLS: the real adapter of the peers port."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc

from fleet.endpoints import target
from fleet.transport import Role, channel_options, dns_name
from fleet.v1 import agent_pb2 as wire
from fleet.v1.agent_pb2_grpc import AgentServiceStub
from fleet_agent.image_relay.peers import PeerError

_WORDS = 300


class GrpcPeers:
    """A channel for each call: it lasts as long as an image travels."""

    def __init__(self, credentials: Callable[[], grpc.ChannelCredentials]) -> None:
        """`credentials`: of one new connection; a certificate that was renewed is taken."""
        self._credentials = credentials

    async def chunks(
        self, host: str, address: str, request: wire.SendImageRequest
    ) -> AsyncGenerator[wire.ImageChunk]:
        options = channel_options(dns_name(Role.AGENT, host))
        async with grpc.aio.secure_channel(
            target(address), self._credentials(), options
        ) as channel:
            call: Any = AgentServiceStub(channel).SendImage(request)
            try:
                while (answer := await call.read()) is not grpc.aio.EOF:
                    yield answer
            except grpc.aio.AioRpcError as error:
                said = "".join(filter(str.isprintable, error.details() or error.code().name))
                raise PeerError(f"{host}: {said[:_WORDS]}") from error
            finally:
                call.cancel()
