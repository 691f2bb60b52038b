"""Agents that keep files and hand images to one another, and the calls that make them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from fleet.image_content.manifest import (
    CHUNK,
    numbers_in,
)
from fleet.image_content.packing import packed
from fleet.transport import Identity, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.api.service import AgentApi
from fleet_agent.daemon.server import AgentServer, SharedServices
from fleet_agent.drivers.files.images import FileImages
from fleet_agent.drivers.files.storage import FileStorage
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.images.contents import StagedContents
from fleet_agent.image_relay.grpc_peers import GrpcPeers
from fleet_agent.image_relay.relays import ImageRelays
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.ledger import MemoryLedger
from fleet_agent.reconcile.loop import LoopSettings
from tests.certificates import identity
from tests.contracts.images.image_hosts import disk_of
from tests.doubles.image_manifests import manifest_for
from tests.processes.agent.agent_caller import DEADLINE, Caller
from tests.processes.agent.test_images import term

GOLDEN = types.Image(name="golden", snapshot="2")
HELD = wire.RelayState.PHASE_HELD


@dataclass
class Host:
    """An agent that keeps files, its server, and a controller's connection to it."""

    name: str
    address: str
    folder: Path
    kept: list[str] = field(default_factory=list)

    def caller(self, by: Identity | None = None) -> Caller:
        return Caller(self.name, self.address, by)

    @property
    def image(self) -> Path:
        return self.folder / "pool" / "images" / "golden@2"

    @property
    def kernels(self) -> Path:
        return self.folder / "kernels"


@asynccontextmanager
async def serving(name: str, folder: Path) -> AsyncIterator[Host]:
    pool = folder / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    storage, images = FileStorage(pool), FileImages(pool)
    own = identity(Role.AGENT, name)
    agent = Agent(
        name,
        types.HostFacts(machine_id=name, boot_id="b"),
        storage,
        HollowHypervisor(Behaviour.of()),
        MemoryLedger(),
        clock=time.monotonic,
        wall_clock=time.time,
        jitter=random.Random(1).random,
        settings=LoopSettings(),
        incarnation=name,
    )
    await agent.open()
    kernels = folder / "kernels"
    contents = StagedContents(images, pool / "fetched", kernels, images.opened)
    kept: list[str] = []
    relays = ImageRelays(
        images, contents, GrpcPeers(own.for_channel), str(kernels), lambda: kept.append(name)
    )
    server = AgentServer(
        AgentApi(agent, images=images, relays=relays), SharedServices(), own.for_server()
    )
    port = server.listen("127.0.0.1:0")
    await server.start()
    try:
        yield Host(name, f"127.0.0.1:{port}", folder, kept)
    finally:
        await server.stop()
        await images.close()
        await contents.close()
        await storage.close()


@asynccontextmanager
async def three_hosts(folder: Path) -> AsyncIterator[list[Host]]:
    async with (
        serving("h1", folder / "h1") as one,
        serving("h2", folder / "h2") as two,
        serving("h3", folder / "h3") as three,
    ):
        yield [one, two, three]


def disk(chunks: int = 6, *, zeros: int = 1) -> bytes:
    """Of so many chunks, the last ones of which are zeros."""
    return disk_of(os.urandom((chunks - zeros) * CHUNK)) + bytes(zeros * CHUNK)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


async def put(
    host: Host, up_to: int | None = None, image: types.Image = GOLDEN, **parts: bytes
) -> list[wire.PutImageAnswer]:
    """Hands an image in; with `up_to`, so many chunks of it alone."""
    manifest = manifest_for(**parts)
    answers = []
    async with host.caller() as caller:
        call: Any = caller.stub.PutImage(timeout=DEADLINE)
        first = wire.PutImageRequest(
            term=term(), host_id=host.name, manifest=manifest.message(image)
        )
        await call.write(first)
        answers.append(await call.read())
        for number in list(numbers_in(answers[0].wanted, manifest.count))[:up_to]:
            place = manifest.place(number)
            data = packed(parts[place.part.name][place.offset :][: place.size])
            await call.write(
                wire.PutImageRequest(number=number, data=data.data, compressed=data.compressed)
            )
        await call.done_writing()
        while (answer := await call.read()) is not grpc.aio.EOF:
            answers.append(answer)
    return answers


class Leading:
    """The leader's call to one host."""

    def __init__(self, host: Host, content: bytes, **parts: bytes) -> None:
        self.host = host
        self.order = wire.RelayOrder(
            term=term(), host_id=host.name, image=GOLDEN, report_every_ms=50,
            root=manifest_for(disk=content, **parts).root,
        )  # fmt: skip
        self.order.image.digest = digest(content)
        self.states: list[wire.RelayState] = []

    async def __aenter__(self) -> Leading:
        self.caller = await self.host.caller().__aenter__()
        self.call: Any = self.caller.stub.RelayImage()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()
        await self.caller.__aexit__(None, None, None)

    async def say(self, *sources: Host, readers: tuple[str, ...] = (), attempt: int = 0) -> None:
        """One source is for both stripes."""
        self.order.ClearField("sources")
        self.order.readers[:] = readers
        for stripe, source in enumerate(sources * (2 if len(sources) == 1 else 1)):
            self.order.sources.add(
                host=source.name, address=source.address, stripe=stripe, attempt=attempt
            )
        await self.call.write(self.order)

    async def until(self, true: Callable[[wire.RelayState], bool]) -> wire.RelayState:
        async with asyncio.timeout(DEADLINE):
            while True:
                state = await self.call.read()
                assert isinstance(state, wire.RelayState)
                self.states.append(state)
                if true(state):
                    return state

    async def held(self) -> wire.RelayState:
        return await self.until(lambda state: state.phase == HELD)
