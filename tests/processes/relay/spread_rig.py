"""Hosts of which one has an image, and calls that spread it: scripted agents, a real leader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from tests.doubles.leading import until
from tests.doubles.scripted_questions import Exchange
from tests.processes.relay.relay_rig import GUESTS, SECONDS, RelayRig, relay_rig

DIGEST = f"sha256:{'a' * 64}"
GOLDEN = types.Image(name="golden", snapshot="2", digest=DIGEST)
ROOT = b"r" * 32
FETCHING = wire.RelayState(phase=wire.RelayState.PHASE_FETCHING, total_bytes=100)
HELD = wire.RelayState(phase=wire.RelayState.PHASE_HELD, done_bytes=100, total_bytes=100)
LIVE = ("h1", "h2", "h3")


@asynccontextmanager
async def spread_rig() -> AsyncIterator[RelayRig]:
    """h1 has the image and gives it; h2 and h3 lack it."""
    async with relay_rig(3) as made:
        await holder_and_others(made, "h1", ("h2", "h3"))
        yield made


async def holder_and_others(rig: RelayRig, holder: str, others: Sequence[str]) -> None:
    for host in (holder, *others):
        await says_it_has(rig, host, *([GOLDEN] if host == holder else []))
        questions = rig.agents[host].questions
        questions.replies["RelayImage"] = [HELD if host == holder else FETCHING]
    part = wire.ImagePart(name="disk", size_bytes=100)
    manifest = wire.ImageManifest(image=GOLDEN, root=ROOT, parts=[part])
    rig.agents[holder].questions.replies["SendImage"] = [wire.ImageChunk(manifest=manifest)]


async def says_it_has(rig: RelayRig, host: str, *images: types.Image) -> None:
    facts = types.HostFacts(
        incarnation="i", capacity=types.Capacity(guests=GUESTS), agent_version="0.1.0",
        images=types.ImagesHeld(images=images), fetches_images=True, gives_images=True,
    )  # fmt: skip
    address = rig.leading.memory.state.hosts[host].address
    await rig.leading.announcements.announce(host, address, facts)


class Spreading:
    """A call of SpreadImage."""

    def __init__(self, rig: RelayRig, **fields: Any) -> None:
        request = cluster.SpreadImageRequest(**{"image": GOLDEN, "all": True, **fields})
        self.call = rig.stub().SpreadImage(request, timeout=SECONDS)
        self.told: list[cluster.SpreadProgress] = []

    async def until(self, true: Callable[[cluster.SpreadProgress], bool]) -> cluster.SpreadProgress:
        async with asyncio.timeout(SECONDS):
            told: Any
            while (told := await self.call.read()) is not grpc.aio.EOF:
                self.told.append(told)
                assert isinstance(told, cluster.SpreadProgress)
                if true(told):
                    return told
        raise AssertionError(f"it ended before: {self.told[-1:]}")


def exchange(rig: RelayRig, host: str) -> Exchange:
    """The leader's latest call to the host about the image."""
    found = [
        one
        for one in rig.agents[host].questions.exchanges
        if isinstance(one.inputs[0], wire.RelayOrder)
    ]
    return found[-1]


async def order(
    rig: RelayRig, host: str, true: Callable[[wire.RelayOrder], bool]
) -> wire.RelayOrder:
    def latest() -> wire.RelayOrder | None:
        try:
            found = exchange(rig, host).inputs[-1]
        except IndexError:
            return None
        return found if true(found) else None

    await until(lambda: latest() is not None, SECONDS)
    found = latest()
    assert found is not None
    return found


def sources(one: wire.RelayOrder) -> dict[int, str]:
    return {source.stripe: source.host for source in one.sources}


async def end_of(call: Any) -> Any:
    while (told := await call.read()) is not grpc.aio.EOF:
        pass
    return told
