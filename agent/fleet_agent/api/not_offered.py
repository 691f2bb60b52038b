"""RPCs that the wire has room for and this agent does not offer: they answer UNIMPLEMENTED."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NoReturn

import grpc

from fleet.service import Context
from fleet.transport import Refusal, abort
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import agent_pb2_grpc as wire_grpc


async def not_offered(context: Context, rpc: str) -> NoReturn:
    """UNIMPLEMENTED, in words."""
    message = f"this agent does not offer {rpc}; a newer one may"
    await abort(context, Refusal(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", message))


class RpcsNotOffered(wire_grpc.AgentServiceServicer):
    """The part of the service that only refuses."""

    async def SendImage(
        self, request: wire.SendImageRequest, context: Context
    ) -> AsyncIterator[wire.ImageChunk]:
        await not_offered(context, "SendImage")
        yield wire.ImageChunk()
