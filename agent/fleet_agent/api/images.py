"""Golden images on the wire: messages from and to the port's words, and its errors as refusals."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import grpc

from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.images import BadImage, image_name, import_order
from fleet_agent.drivers.ports import images as port
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.images import Images

ERRORS = (BadImage, port.ImageError, DriverError)

# The status that goes with each reason; what is not here could not be done on this host.
_CODES: Mapping[type[port.ImageError], grpc.StatusCode] = {
    port.NoSuchImage: grpc.StatusCode.NOT_FOUND,
    port.BadSource: grpc.StatusCode.INVALID_ARGUMENT,
    port.PoolFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    port.NotAnImage: grpc.StatusCode.FAILED_PRECONDITION,
    port.ImageInUse: grpc.StatusCode.FAILED_PRECONDITION,
    port.ImageExists: grpc.StatusCode.FAILED_PRECONDITION,
    port.ImageMismatch: grpc.StatusCode.FAILED_PRECONDITION,
    port.ToolMissing: grpc.StatusCode.FAILED_PRECONDITION,
}


def refusal_of(error: Exception) -> Refusal:
    """What one of ERRORS is to callers."""
    if isinstance(error, BadImage):
        return Refusal(grpc.StatusCode.INVALID_ARGUMENT, "BAD_IMAGE", str(error))
    if isinstance(error, port.ImageError):
        code = _CODES.get(type(error), grpc.StatusCode.INTERNAL)
        return Refusal(code, error.reason, str(error))
    return Refusal(grpc.StatusCode.UNAVAILABLE, "DRIVER_FAILED", str(error))


async def listed(images: Images, fleets: Mapping[str, str]) -> wire.ListImagesResponse:
    """`fleets`: names of the fleets that the host knows, by uid. Raises one of ERRORS."""
    held = await images.holdings()
    return wire.ListImagesResponse(
        images=[_image(one) for one in held.images],
        fleets=[
            wire.FleetSpace(
                fleet_uid=one.uid,
                fleet=fleets.get(one.uid, ""),
                clones=one.clones,
                space=_space(one.space),
            )
            for one in held.fleets
        ],
        pool=wire.PoolSpace(
            name=held.pool.description, total_bytes=held.pool.total, free_bytes=held.pool.free
        ),
    )


async def imported(
    images: Images, request: wire.ImportImageRequest
) -> AsyncGenerator[wire.ImportImageProgress, None]:
    """How far the import is; leaving ends it. Raises one of ERRORS."""
    order = import_order(request.image, request.source, request.size_bytes)
    async with aclosing(images.bring(order)) as importing:
        async for told in importing:
            yield wire.ImportImageProgress(
                done_bytes=told.done,
                total_bytes=told.total,
                step=told.step,
                image=_image(told.image) if told.image else None,
            )


async def deleted(images: Images, request: wire.DeleteImageRequest) -> wire.DeleteImageResponse:
    """Raises one of ERRORS."""
    await images.delete(image_name(request.image))
    return wire.DeleteImageResponse()


def _image(one: port.Image) -> wire.ImageOnHost:
    return wire.ImageOnHost(
        image=types.Image(name=one.image.name, snapshot=one.image.snapshot, digest=one.digest),
        size_bytes=one.size,
        space=_space(one.space),
        clones=one.clones,
        created_unix=one.created,
        source=one.source,
    )


def _space(space: port.Space) -> wire.Space:
    return wire.Space(referenced_bytes=space.referenced, unique_bytes=space.unique)
