"""One image under way on this host: what is here of it, where the rest comes from, and to whom it
is given. It lasts as long as the leader's call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass

import structlog

from fleet.image_content.manifest import (
    BadManifest,
    Manifest,
    bits_of,
    manifest_of,
    numbers_in,
)
from fleet.image_content.packing import Packed
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.fetched_images import FETCHED
from fleet_agent.core.images import ImageName
from fleet_agent.drivers.ports.image_content import ImageContent, ImageContents, WrongChunk
from fleet_agent.drivers.ports.images import Image, ImageError
from fleet_agent.image_relay.beat import Beat
from fleet_agent.image_relay.patience import Patience
from fleet_agent.image_relay.peers import PeerError, Peers

log = structlog.get_logger()

# A source that waits itself says so this often.
ALIVE_SECONDS = 5.0
STRIPES = 2
# Chunks packed for one reader that the next one finds ready.
_PACKED = 8


class NotAReader(Exception):
    """The leader has not named this host as one that may have chunks of this image."""


@dataclass(frozen=True, slots=True)
class Source:
    host: str
    address: str
    stripe: int
    attempt: int

    @staticmethod
    def of(message: wire.RelaySource) -> Source:
        return Source(message.host, message.address, message.stripe, message.attempt)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A source that gave up, or was given up."""

    source: Source
    why: str
    lied: bool = False

    def message(self) -> wire.RelayTrouble:
        source = self.source
        return wire.RelayTrouble(
            host=source.host, why=self.why, lied=self.lied, stripe=source.stripe,
            attempt=source.attempt,
        )  # fmt: skip


class Relay:
    """`run` fetches until the image is here. `held`: the image, once it is."""

    def __init__(
        self,
        image: ImageName,
        digest: str,
        root: bytes,
        contents: ImageContents,
        peers: Peers,
        on_kept: Callable[[], None],
    ) -> None:
        self.image = image
        self.digest = digest
        self.root = root
        self.held: Image | None = None
        self.was_here = False  # before anything was fetched
        self.keeping = False
        self.fetched = 0
        self.readers: frozenset[str] = frozenset()
        self.beat = Beat()
        self._contents = contents
        self._peers = peers
        self._on_kept = on_kept
        self._content: ImageContent | None = None
        self._lacking: set[int] = set()  # while there is content
        self._sources: dict[Source, int] = {}  # and for how many seconds without a chunk
        self._spent: set[Source] = set()  # ended, for better or worse
        self._following: dict[Source, asyncio.Task[None]] = {}
        self._troubles: list[Trouble] = []
        self._bytes_per_second = 0
        self._due = 0.0
        self._packed: dict[int, Packed] = {}
        self._over = False
        self._beginning = asyncio.Lock()
        self._lacked_bytes = 0

    # What the leader wants ------------------------------------------------------------------

    def obey(self, order: wire.RelayOrder) -> None:
        """The order replaces the one before."""
        self._sources = {Source.of(one): one.patience_seconds for one in order.sources}
        self._bytes_per_second = order.bytes_per_second
        self.readers = frozenset(order.readers)
        self.beat.beat()

    def take(self, content: ImageContent, held: Image) -> None:
        """The image is here already."""
        self._content, self.held, self.was_here = content, held, True
        self.beat.beat()

    def _adopt(self, content: ImageContent) -> None:
        self._content = content
        self._lacking = set(content.manifest.filled()) - content.present
        self._lacked_bytes = sum(content.manifest.place(one).size for one in self._lacking)
        self.beat.beat()

    async def run(self) -> None:
        """Returns when the image is here. Raises ImageError, DriverError."""
        if self._content is None:
            before = await self._contents.begun_before(self.root, self.image)
            if before is not None:
                self._adopt(before)
        while self.held is None:
            async with asyncio.TaskGroup() as group:
                while not self.whole:
                    self._follow_sources(group)
                    await self.beat.until(self._something_to_do, 3600.0)
                for task in self._following.values():
                    task.cancel()
            if not await self._spoiled():
                await self._keep()

    async def _spoiled(self) -> bool:
        """Whether chunks on this host's own disk are not what came: they are fetched again."""
        if self.held is not None or not (bad := await self.content.spoiled()):
            return False
        log.warning(
            "chunks were spoiled on this host's disk", image=str(self.image), chunks=len(bad)
        )
        self._lacking |= bad
        self._lacked_bytes += sum(self.content.manifest.place(one).size for one in bad)
        self._spent.clear()
        self._packed.clear()
        self.beat.beat()
        return True

    def _something_to_do(self) -> bool:
        return self.whole or self._wanted_sources() != set(self._following)

    def _wanted_sources(self) -> set[Source]:
        return self._sources.keys() - self._spent

    def _follow_sources(self, group: asyncio.TaskGroup) -> None:
        wanted = self._wanted_sources()
        for source in list(self._following):
            if source not in wanted:
                self._following.pop(source).cancel()
        for source in wanted - self._following.keys():
            self._following[source] = group.create_task(self._follow(source))

    async def _follow(self, source: Source) -> None:
        """Everything of its stripe that this source has; a source that fails is told of."""
        try:
            async with asyncio.timeout(None) as deadline:
                patience = Patience(deadline)
                await self._fetch(source, patience)
        except TimeoutError:
            self._give_up(source, f"{source.host} {patience.why}")
        except WrongChunk as error:
            self._give_up(source, f"{source.host}: {error}", lied=True)
        except (PeerError, BadManifest) as error:
            self._give_up(source, str(error))
        finally:
            self._spent.add(source)
            self._following.pop(source, None)
            self.beat.beat()

    def _give_up(self, source: Source, why: str, *, lied: bool = False) -> None:
        self._troubles.append(Trouble(source, why, lied))

    async def _fetch(self, source: Source, patience: Patience) -> None:
        """Raises PeerError, BadManifest, TimeoutError, ImageError, DriverError."""
        request = wire.SendImageRequest(root=self.root)
        request.image.name, request.image.snapshot = self.image
        request.image.digest = self.digest
        patience.asked()
        if self._content is None:
            await self._begin(source, request, patience)
        content = self.content
        asked = [one for one in self._lacking if one % STRIPES == source.stripe]
        request.wanted = bits_of(asked, content.manifest.count)
        request.manifest_only = False
        waiting = set(asked)
        patience.asked()
        async with aclosing(self._peers.chunks(source.host, source.address, request)) as chunks:
            async for chunk in chunks:
                patience.rest()
                if chunk.data:
                    await self._write(content, chunk, waiting)
                patience.heard(self._sources.get(source, 0), chunk=bool(chunk.data))
        if waiting & self._lacking:
            raise PeerError(f"{source.host} ended before it had sent all")

    async def _begin(
        self, source: Source, request: wire.SendImageRequest, patience: Patience
    ) -> None:
        """What the image is made of, as the first source that knows it says."""
        request.manifest_only = True
        async with aclosing(self._peers.chunks(source.host, source.address, request)) as chunks:
            async for chunk in chunks:
                if chunk.HasField("manifest"):
                    manifest = manifest_of(chunk.manifest, self.root)
                    patience.rest()  # what is here of it is read first
                    # Of two sources the first one counts; each waits for its own, lest two hosts
                    # wait for one another.
                    async with self._beginning:
                        if self._content is None:
                            self._adopt(await self._contents.begun(manifest, self.image))
                    return
        raise PeerError(f"{source.host} does not say what the image is made of")

    async def _write(
        self, content: ImageContent, chunk: wire.ImageChunk, waiting: set[int]
    ) -> None:
        if chunk.number not in waiting:
            raise PeerError(f"it sent chunk {chunk.number}, which was not asked for")
        waiting.discard(chunk.number)
        await self._pace(len(chunk.data))
        if chunk.number in self._lacking:
            await content.write(chunk.number, Packed(chunk.data, chunk.compressed))
            size = content.manifest.place(chunk.number).size
            self._lacking.discard(chunk.number)
            self._lacked_bytes -= size
            self.fetched += size
            self.beat.beat()

    async def _pace(self, count: int) -> None:
        if not self._bytes_per_second:
            return
        now = time.monotonic()
        self._due = max(self._due, now) + count / self._bytes_per_second
        await asyncio.sleep(self._due - now)

    async def _keep(self) -> None:
        self.keeping = True
        self.beat.beat()
        keeping = self.content.keep(self.image, self.digest, FETCHED)
        held: Image | None = None
        async with aclosing(keeping):
            async for progress in keeping:
                held = progress.image or held
        if held is None:
            raise ImageError(f"{self.image} was fetched and did not become an image")
        log.info(
            "image fetched",
            image=str(self.image),
            bytes=self.content.manifest.sent,
            fetched=self.fetched,
        )
        self._on_kept()
        self.held = held  # all have heard of it before the leader does
        self.beat.beat()

    # What is here -----------------------------------------------------------------------------

    @property
    def content(self) -> ImageContent:
        assert self._content is not None
        return self._content

    @property
    def manifest(self) -> Manifest | None:
        return self._content.manifest if self._content else None

    @property
    def done(self) -> int:
        """Bytes of the chunks that are here."""
        return self._content.manifest.sent - self._lacked_bytes if self._content else 0

    @property
    def whole(self) -> bool:
        if self.held is not None:
            return True
        return self._content is not None and not self._lacking

    def troubles(self) -> list[Trouble]:
        """Those that nobody was told yet."""
        told, self._troubles = self._troubles, []
        return told

    @property
    def has_news(self) -> bool:
        return bool(self._troubles)

    async def give(
        self, reader: str, request: wire.SendImageRequest
    ) -> AsyncGenerator[wire.ImageChunk]:
        """What the reader wants, each chunk as soon as it is here. Raises NotAReader,
        DriverError."""
        while self._content is None:
            yield wire.ImageChunk()
            await self.beat.until(lambda: self._content is not None or self._over, ALIVE_SECONDS)
            self._check(reader)
        manifest = self.content.manifest
        yield wire.ImageChunk(manifest=self._told(request, manifest))
        wanted = set() if request.manifest_only else set(
            numbers_in(request.wanted, manifest.count)
        ).intersection(manifest.filled())  # fmt: skip
        while wanted:
            self._check(reader)
            ready = sorted(wanted & self.content.present)
            if not ready:
                yield wire.ImageChunk()
                await self.beat.until(lambda: self._gives(reader, wanted), ALIVE_SECONDS)
            for number in ready:
                self._check(reader)
                data = await self._read(number)
                yield wire.ImageChunk(number=number, data=data.data, compressed=data.compressed)
                wanted.discard(number)

    def _told(self, request: wire.SendImageRequest, manifest: Manifest) -> wire.ImageManifest:
        return manifest.message(request.image, chunks=request.manifest_only)

    def _gives(self, reader: str, wanted: set[int]) -> bool:
        return self._over or reader not in self.readers or bool(wanted & self.content.present)

    def _check(self, reader: str) -> None:
        if self._over or reader not in self.readers:
            raise NotAReader(f"{reader} may not have chunks of {self.image} from this host")

    async def _read(self, number: int) -> Packed:
        if number not in self._packed:
            made = await self.content.read(number)
            while len(self._packed) >= _PACKED:
                self._packed.pop(next(iter(self._packed)))
            self._packed[number] = made
        return self._packed[number]

    @contextmanager
    def ending(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._over = True
            self.readers = frozenset()
            self.beat.beat()

    async def close(self) -> None:
        if self._content is not None:
            await self._content.close()
