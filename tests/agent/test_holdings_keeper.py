"""What an agent tells of what its host has stays true: it looks from time to time, and at once when
an image was imported through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import cast

from fleet.v1 import types_pb2 as types
from fleet_agent.alarm import Alarm
from fleet_agent.controllers.announcer import Announcer
from fleet_agent.core.images import FilePath, ImageName, ImportOrder
from fleet_agent.daemon.holdings_keeper import LOOK_SECONDS, HoldingsKeeper
from fleet_agent.daemon.kernel_folders import KernelFolders
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.contents import HollowContents
from fleet_agent.drivers.hollow.images import HollowImages
from fleet_agent.drivers.hollow.profile import INSTANT
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.images.watched import WatchedImages
from fleet_agent.reconcile.agent import Agent
from tests.agent.agent_host import HOST, Host, until
from tests.contracts.bridges.memory_bridges import MemoryBridges
from tests.virtual_loop import virtual

ORDER = ImportOrder(ImageName("golden", "1"), FilePath("/srv/golden.raw"))


class Announced:
    """Counts how often the facts were to be announced anew."""

    def __init__(self) -> None:
        self.times = 0

    def announce_anew(self) -> None:
        self.times += 1


class Around:
    """A host whose holdings are kept; `folder` is of kernels."""

    def __init__(self, folder: Path, agent: Agent) -> None:
        changed = Alarm()
        self.agent = agent
        self.bridges = MemoryBridges()
        self.announced = Announced()
        storage = HollowStorage(Behaviour.of(INSTANT, 0, HOST))
        images = HollowImages(storage)
        self.images = WatchedImages(images, HollowContents(images), changed.ring)
        self.folders = KernelFolders([str(folder)])
        announcer = cast(Announcer, self.announced)
        self.keeper = HoldingsKeeper(
            self.kernels, self.images, self.bridges, agent, announcer, changed
        )

    async def kernels(self) -> types.KernelsHeld:
        """Without a thread, which would not wait for virtual time."""
        return self.folders.read()

    def told(self) -> tuple[list[str], list[str], list[str]]:
        facts = self.agent.facts
        return (
            [f"{one.name}@{one.snapshot}" for one in facts.images.images],
            [Path(file).name for file in facts.kernels.files],
            list(facts.bridges.names),
        )

    async def bring(self) -> None:
        async with aclosing(self.images.bring(ORDER)) as bringing:
            async for _ in bringing:
                pass


@asynccontextmanager
async def kept(folder: Path) -> AsyncIterator[Around]:
    """From its first look on."""
    async with Host().running() as agent:
        around = Around(folder, agent)
        around.bridges.add("br0")
        await around.keeper.look_first()
        running = asyncio.create_task(around.keeper.run())
        try:
            yield around
        finally:
            running.cancel()


def test_the_first_look_tells_all_that_is_there(tmp_path: Path) -> None:
    @virtual
    async def play() -> None:
        (tmp_path / "vmlinuz").touch()
        async with kept(tmp_path) as around:
            assert around.told() == ([], ["vmlinuz"], ["br0"])
            assert around.agent.facts.HasField("images"), "that there are none is told too"
            assert around.announced.times == 1

    play()


def test_an_import_is_told_at_once(tmp_path: Path) -> None:
    @virtual
    async def play() -> None:
        async with kept(tmp_path) as around:
            began = asyncio.get_running_loop().time()
            await around.bring()
            await until(lambda: around.told()[0] == ["golden@1"])
            assert asyncio.get_running_loop().time() - began < LOOK_SECONDS
            await around.images.delete(ORDER.image)
            await until(lambda: around.told()[0] == [])

    play()


def test_what_others_change_is_told_at_a_later_look_and_nothing_else_is_announced(
    tmp_path: Path,
) -> None:
    @virtual
    async def play() -> None:
        async with kept(tmp_path) as around:
            await asyncio.sleep(20 * LOOK_SECONDS)
            assert around.announced.times == 1
            (tmp_path / "mini").touch()
            around.bridges.take_away("br0")
            await until(lambda: around.told()[1:] == (["mini"], []))
            assert around.announced.times == 2

    play()
