"""Keeps true what the agent tells of images, kernels and bridges, and wakes it when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from fleet.v1 import types_pb2 as types
from fleet_agent.alarm import Alarm
from fleet_agent.controllers.announcer import Announcer
from fleet_agent.core.holdings import (
    bridges_held,
    images_held,
    with_holdings,
)
from fleet_agent.drivers.ports.bridges import Bridges
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors
from fleet_agent.drivers.ports.images import Images
from fleet_agent.reconcile.agent import Agent

log = structlog.get_logger()

# Seconds between two looks at bridges and kernels; at images, which others may make too, every
# fourth time, or when they have changed through the agent.
LOOK_SECONDS = 15.0
LOOKS_FOR_IMAGES = 4
# Of one look; and of the first one, before the host announces itself.
DEADLINE = 30.0
FIRST_DEADLINE = 10.0


class HoldingsKeeper:
    """Gives the holdings to the agent's facts, and has them announced when they have changed. What
    cannot be looked at stays as it was last seen."""

    def __init__(
        self,
        kernels: Callable[[], Awaitable[types.KernelsHeld]],
        images: Images,
        bridges: Bridges,
        agent: Agent,
        announcer: Announcer,
        changed: Alarm,
        *,
        gives_images: bool = True,
    ) -> None:
        """`changed` rings when images may have changed. `gives_images`: whether this host can hand
        them on."""
        self._kernels = kernels
        self._images = images
        self._bridges = bridges
        self._agent = agent
        self._announcer = announcer
        self._changed = changed
        self._told = types.HostFacts(fetches_images=True, gives_images=gives_images)
        self._ever_told = False
        self._warned: set[str] = set()
        self._bridge_indices: frozenset[tuple[str, int]] = frozenset()

    async def look_first(self) -> None:
        """Once, before the host announces itself: it is to get no VMs that it cannot make."""
        try:
            async with asyncio.timeout(FIRST_DEADLINE):
                await self._look(images=True)
        except TimeoutError:
            log.warning("what this host has is told later: it could not be listed in time")

    async def run(self) -> None:
        """Look from time to time, until cancelled."""
        looks = 0
        while True:
            rung = await self._changed.sleep(LOOK_SECONDS)
            looks = 0 if rung else (looks + 1) % LOOKS_FOR_IMAGES
            try:
                async with asyncio.timeout(DEADLINE):
                    await self._look(images=looks == 0)
            except TimeoutError:
                log.warning("what this host has could not be listed in time")

    async def _look(self, *, images: bool) -> None:
        told = types.HostFacts()
        told.CopyFrom(self._told)
        told.kernels.CopyFrom(await self._kernels())
        for look in (self._look_at_bridges, self._look_at_images)[: 1 + images]:
            try:
                await look(told)
            except DriverError as error:
                self._warn(str(error))
        if told != self._told or not self._ever_told:
            self._told, self._ever_told = told, True
            self._agent.set_facts(with_holdings(self._agent.facts, told))
            self._announcer.announce_anew()

    def _warn(self, error: str) -> None:
        """Once of what stays as it is: a look comes every few seconds."""
        if error not in self._warned:
            self._warned.add(error)
            log.warning("what this host has is not known", error=error)

    async def _look_at_bridges(self, told: types.HostFacts) -> None:
        with as_driver_errors("bridges"):
            bridges = await self._bridges.listing()
        told.bridges.CopyFrom(bridges_held(bridges))
        indices = frozenset((one.name, one.index) for one in bridges)
        if indices != self._bridge_indices:
            self._bridge_indices = indices
            self._agent.look_again()

    async def _look_at_images(self, told: types.HostFacts) -> None:
        with as_driver_errors("holdings"):
            held = await self._images.holdings()
        newest = sorted(held.images, key=lambda one: -one.created)
        told.images.CopyFrom(images_held((one.image, one.digest) for one in newest))
