"""Sources that say that more will come, and give nothing: how long they are borne, and by whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import pytest

from fleet.image_content.manifest import CHUNK, numbers_in
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.images import ImageName
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.contents import HollowContents
from fleet_agent.drivers.hollow.images import HollowImages
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.image_relay.relay import Relay, Trouble
from tests.doubles.image_manifests import manifest_for
from tests.virtual_loop import virtual

GOLDEN = ImageName("golden", "2")
MANIFEST = manifest_for(disk=bytes(range(1, 5)) * CHUNK)
ROOT = MANIFEST.root
Source = Callable[[wire.SendImageRequest], AsyncGenerator[wire.ImageChunk]]


class Network:
    """The Peers port: what is asked goes to these sources. `dialled`: whom, for chunks."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self.dialled: list[str] = []

    def chunks(
        self, host: str, address: str, request: wire.SendImageRequest
    ) -> AsyncGenerator[wire.ImageChunk]:
        if not request.manifest_only:
            self.dialled.append(host)
        return self._sources[host](request)


def chunk(number: int) -> wire.ImageChunk:
    return wire.ImageChunk(number=number, data=MANIFEST.digest(number))


def giving(every: float = 0.0, *, first_after: float = 0.0, at_most: int = 4) -> Source:
    """Says what the image is made of, then a chunk whenever so many seconds have passed, and every
    5 s in between, and for ever once it has given all that it will, that more will come."""

    async def give(request: wire.SendImageRequest) -> AsyncGenerator[wire.ImageChunk]:
        yield wire.ImageChunk(manifest=MANIFEST.message(request.image, chunks=True))
        wanted = sorted(numbers_in(request.wanted, MANIFEST.count))
        due = asyncio.get_running_loop().time() + (first_after or every)
        for number in wanted[:at_most]:
            while (left := due - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(min(left, 5.0))
                yield wire.ImageChunk()
            yield chunk(number)
            due += every
        while len(wanted) > at_most:
            await asyncio.sleep(5.0)
            yield wire.ImageChunk()

    return give


def of_relay(relay: Relay, reader: str) -> Source:
    return lambda request: relay.give(reader, request)


def made(network: Network) -> Relay:
    images = HollowImages(HollowStorage(Behaviour.of()))
    return Relay(GOLDEN, "", ROOT, HollowContents(images), network, lambda: None)


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    async with asyncio.timeout(3600.0):
        task = asyncio.create_task(relay.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


def ordered(relay: Relay, *sources: str, patience: int, attempt: int = 0, reader: str = "") -> None:
    """One source is for both stripes."""
    order = wire.RelayOrder(root=ROOT, readers=[reader] if reader else [])
    for stripe, source in enumerate(sources * (2 if len(sources) == 1 else 1)):
        order.sources.add(host=source, stripe=stripe, attempt=attempt, patience_seconds=patience)
    relay.obey(order)


async def troubles(relay: Relay) -> list[Trouble]:
    """The first ones."""
    assert await relay.beat.until(lambda: relay.has_news, 3600.0)
    return relay.troubles()


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_a_source_that_says_it_has_all_and_gives_nothing_is_given_up() -> None:
    relay, began = made(Network({"h1": giving(at_most=0)})), now()
    ordered(relay, "h1", patience=30)
    async with running(relay):
        found = await troubles(relay)
    assert now() - began == pytest.approx(30.0)
    assert found[0].why == "h1 gave no chunk for 30 s, and said that more would come"
    assert not found[0].lied


@virtual
async def test_each_chunk_renews_the_patience() -> None:
    relay = made(Network({"h1": giving(every=55.0)}))
    ordered(relay, "h1", patience=60)
    async with running(relay):
        assert await relay.beat.until(lambda: relay.held is not None, 3600.0)
    assert not relay.has_news


@virtual
async def test_a_source_of_an_older_leaders_is_borne_for_as_long_as_it_says_that_it_waits() -> None:
    relay = made(Network({"h1": giving(every=1000.0)}))
    ordered(relay, "h1", patience=0)
    async with running(relay):
        assert await relay.beat.until(lambda: relay.held is not None, 3600.0)
    assert not relay.has_news


@virtual
async def test_what_is_said_of_the_patience_dials_nobody_again_and_counts_from_the_next_chunk() -> (
    None
):
    network = Network({"h1": giving(first_after=100.0, every=5.0, at_most=1)})
    relay, began = made(network), now()
    ordered(relay, "h1", patience=120)
    async with running(relay):
        await relay.beat.until(lambda: False, 50.0)
        ordered(relay, "h1", patience=30)
        await relay.beat.until(lambda: relay.done == 2 * CHUNK, 100.0)
        assert now() - began == pytest.approx(100.0)
        await troubles(relay)
    assert now() - began == pytest.approx(130.0)
    assert network.dialled == ["h1", "h1"], "once for each half"


@virtual
async def test_below_a_source_that_gives_nothing_only_its_own_readers_look_for_another() -> None:
    """h3 reads from h2, which reads from h1; h1 says that it has all. h4 does."""
    two = made(Network({"h1": giving(at_most=0), "h4": giving()}))
    three = made(Network({"h2": of_relay(two, "h3")}))
    ordered(two, "h1", patience=30, reader="h3")
    ordered(three, "h2", patience=60)
    async with running(two), running(three):
        assert {one.source.host for one in await troubles(two)} == {"h1"}
        ordered(two, "h4", patience=30, attempt=1, reader="h3")
        assert await three.beat.until(lambda: three.held is not None, 3600.0)
    assert two.held is not None and not three.has_news
