"""Images of any kind, with word of each change that was asked for through them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from fleet_agent.core.images import ImageName, ImportOrder
from fleet_agent.drivers.ports.images import Holdings, Images, ImportProgress


class WatchedImages:
    """The Images port over another one. `changed` is called when an image may have been made or
    removed."""

    def __init__(self, images: Images, changed: Callable[[], None]) -> None:
        self._images = images
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
        finally:
            self._changed()

    async def close(self) -> None:
        await self._images.close()
