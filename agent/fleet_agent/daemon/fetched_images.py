"""Removes images that this host has fetched and does not use, now and then, and what is left of
fetches that nobody took up again. When each was last used is kept beside the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import structlog

from fleet.private_file import replace_private
from fleet_agent.core.fetched_images import HeldImage, Keeping, last_uses, removals
from fleet_agent.core.images import ImageName, parsed_name
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors
from fleet_agent.drivers.ports.images import ImageError, Images
from fleet_agent.image_relay.relays import ImageRelays
from fleet_agent.reconcile.agent import Agent

log = structlog.get_logger()

LOOK_SECONDS = 600.0
USES = "images-used.json"


class FetchedImages:
    """`run` until cancelled."""

    def __init__(
        self,
        agent: Agent,
        images: Images,
        relays: ImageRelays,
        folder: Path,
        wall_clock: Callable[[], float],
        keeping: Keeping,
    ) -> None:
        self._agent = agent
        self._images = images
        self._relays = relays
        self._uses = folder / USES
        self._wall_clock = wall_clock
        self._keeping = keeping

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except (DriverError, ImageError) as error:
                log.warning("images that are not used could not be looked at", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Once. Raises DriverError, ImageError."""
        await self._relays.tidy()
        with as_driver_errors("holdings", ImageError):
            held = await self._images.holdings()
        now = self._wall_clock()
        assigned = self._assigned()
        images = [
            HeldImage(one.image, one.source, one.clones, one.space.unique, now)
            for one in held.images
        ]
        uses = last_uses(images, assigned, await asyncio.to_thread(self._read), now)
        await asyncio.to_thread(self._write, uses)
        known = [replace(one, used=uses[one.image]) for one in images]
        pool = held.pool
        for one in removals(known, assigned, pool.total, pool.free, now, self._keeping):
            log.info("image removed", image=str(one.image), reason=one.reason)
            await self._images.delete(one.image)

    def _assigned(self) -> frozenset[ImageName]:
        """Images of all VMs that this host is to have, and those on their way to it."""
        specs = self._agent.assignment.specs.values()
        named = {ImageName(one.image.name, one.image.snapshot) for one in specs}
        return frozenset(named) | self._relays.under_way

    def _read(self) -> dict[ImageName, float]:
        """What is not there, or cannot be read, is not known: it counts as used now."""
        try:
            uses = msgspec.json.decode(self._uses.read_bytes(), type=dict[str, float])
        except (OSError, msgspec.MsgspecError):
            return {}
        return {name: when for text, when in uses.items() if (name := parsed_name(text))}

    def _write(self, uses: dict[ImageName, float]) -> None:
        known = {str(one): when for one, when in uses.items()}
        try:
            replace_private(self._uses, msgspec.json.encode(known))
        except OSError as error:
            log.warning("when images were used is not remembered", error=str(error))
