"""RPCs that the wire has room for and this agent does not offer: they answer UNIMPLEMENTED."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc

from fleet.transport import Refusal, abort
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import agent_pb2_grpc as wire_grpc

Context = grpc.aio.ServicerContext[Any, Any]


async def _not_offered(context: Context, rpc: str) -> NoReturn:
    message = f"this agent does not offer {rpc}; a newer one may"
    await abort(context, Refusal(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", message))


class RpcsNotOffered(wire_grpc.AgentServiceServicer):
    """The part of the service that only refuses."""

    async def Doctor(self, request: wire.DoctorRequest, context: Context) -> wire.DoctorResponse:
        await _not_offered(context, "Doctor")

    async def Tune(self, request: wire.TuneRequest, context: Context) -> wire.TuneResponse:
        await _not_offered(context, "Tune")

    async def ListImages(
        self, request: wire.ListImagesRequest, context: Context
    ) -> wire.ListImagesResponse:
        await _not_offered(context, "ListImages")

    async def ImportImage(
        self, request: wire.ImportImageRequest, context: Context
    ) -> AsyncIterator[wire.ImportImageProgress]:
        await _not_offered(context, "ImportImage")
        yield wire.ImportImageProgress()

    async def DeleteImage(
        self, request: wire.DeleteImageRequest, context: Context
    ) -> wire.DeleteImageResponse:
        await _not_offered(context, "DeleteImage")

    async def SendImage(
        self, request: wire.SendImageRequest, context: Context
    ) -> AsyncIterator[wire.ImageChunk]:
        await _not_offered(context, "SendImage")
        yield wire.ImageChunk()
