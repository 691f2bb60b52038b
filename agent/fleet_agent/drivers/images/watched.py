"""Images of any kind, with word of each change that was asked for through them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import structlog

from fleet_agent.core.images import ImageName, ImportOrder
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.image_content import ImageContents
from fleet_agent.drivers.ports.images import Holdings, Images, ImportProgress

log = structlog.get_logger()


class WatchedImages:
    """The Images port over another one. `changed` is called when an image may have been made or
    removed; what an image that was removed had beside its disk goes with it."""

    def __init__(
        self, images: Images, contents: ImageContents, changed: Callable[[], None]
    ) -> None:
        self._images = images
        self._contents = contents
        self._changed = changed

    async def holdings(self) -> Holdings:
        return await self._images.holdings()

    async def bring(self, order: ImportOrder) -> AsyncGenerator[ImportProgress, None]:
        try:
            async with aclosing(self._images.bring(order)) as bringing:
                async for progress in bringing:
                    yield progress
        finally:
            self._changed()

    async def delete(self, image: ImageName) -> None:
        try:
            await self._images.delete(image)
            try:
                await self._contents.forget(image)
            except DriverError as error:
                log.warning("an image's kernel is left", image=str(image), error=str(error))
        finally:
            self._changed()

    async def close(self) -> None:
        await self._images.close()
