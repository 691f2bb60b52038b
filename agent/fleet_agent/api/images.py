"""Golden images on the wire: messages from and to the port's words."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.images import ImportOrder, image_name, import_order
from fleet_agent.drivers.ports import images as port
from fleet_agent.drivers.ports.errors import as_driver_errors
from fleet_agent.drivers.ports.images import Images
from fleet_agent.image_relay.messages import image_message, space_message


async def listed(images: Images, fleets: Mapping[str, str]) -> wire.ListImagesResponse:
    """`fleets`: names of the fleets that the host knows, by uid. Raises ImageError, DriverError."""
    with as_driver_errors("holdings", port.ImageError):
        held = await images.holdings()
    return wire.ListImagesResponse(
        images=[image_message(one) for one in held.images],
        fleets=[
            wire.FleetSpace(
                fleet_uid=one.uid,
                fleet=fleets.get(one.uid, ""),
                clones=one.clones,
                space=space_message(one.space),
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
    """How far the import is; leaving ends it. Raises ImageError, DriverError."""
    order = import_order(request.image, request.source, request.size_bytes)
    async with aclosing(_brought(images, order)) as importing:
        async for progress in importing:
            yield wire.ImportImageProgress(
                done_bytes=progress.done,
                total_bytes=progress.total,
                step=progress.step,
                image=image_message(progress.image) if progress.image else None,
            )


async def _brought(images: Images, order: ImportOrder) -> AsyncGenerator[port.ImportProgress, None]:
    with as_driver_errors("bring", port.ImageError):
        async with aclosing(images.bring(order)) as importing:
            async for progress in importing:
                yield progress


async def deleted(images: Images, request: wire.DeleteImageRequest) -> wire.DeleteImageResponse:
    """Raises ImageError, DriverError."""
    image = image_name(request.image)
    with as_driver_errors("delete", port.ImageError):
        await images.delete(image)
    return wire.DeleteImageResponse()
