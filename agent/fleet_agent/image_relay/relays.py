"""The images under way on this host, and who may ask for what of them."""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

from fleet.image_content.boot_files import boot_file
from fleet.image_content.manifest import (
    INITRD,
    KERNEL,
    BadManifest,
    Manifest,
    bits_of,
    manifest_of,
)
from fleet.image_content.packing import Packed
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.images import BadImage, ImageName, image_name, import_order
from fleet_agent.drivers.ports.image_content import ImageContent, ImageContents
from fleet_agent.drivers.ports.images import (
    Image,
    ImageError,
    ImageMismatch,
    Images,
    NoSuchImage,
)
from fleet_agent.image_relay.beat import Beat
from fleet_agent.image_relay.messages import image_message
from fleet_agent.image_relay.peers import Peers
from fleet_agent.image_relay.relay import NotAReader, Relay

# A reader may ask before its source has heard of it: both are told at once.
GRANT_SECONDS = 20.0
# Between two words on how far an upload is, in chunks.
_UPLOAD_WORD = 16
# What was begun and not ended is kept for so long, in seconds.
KEPT_SECONDS = 7 * 86_400.0
UPLOADED = "handed in by fleetctl"


class UploadBusy(ImageError):
    """The same content is under way on this host already."""

    reason = "IMAGE_BUSY"


class BadUpload(ImageError):
    """What was handed in is no image, or not all of it came."""

    reason = "BAD_UPLOAD"


class OtherContent(ImageError):
    """The host has an image of that name with another content."""

    reason = "OTHER_CONTENT"


class ImageRelays:
    """`kernels`: the folder in which kernels and initrds of images are put."""

    def __init__(
        self,
        images: Images,
        contents: ImageContents,
        peers: Peers,
        kernels: str,
        on_kept: Callable[[], None],
        on_coming: Callable[[frozenset[ImageName]], None] = lambda images: None,
    ) -> None:
        """`on_coming` hears which images are on their way here, whenever that changes."""
        self._images = images
        self._contents = contents
        self._peers = peers
        self._kernels = kernels
        self._on_kept = on_kept
        self._on_coming = on_coming
        self._relays: dict[bytes, Relay] = {}
        self._busy: set[bytes] = set()
        self._beat = Beat()

    @property
    def under_way(self) -> frozenset[ImageName]:
        """Images that are fetched or given."""
        return frozenset(one.image for one in self._relays.values())

    def _tell_coming(self) -> None:
        coming = (one.image for one in self._relays.values() if not one.was_here)
        self._on_coming(frozenset(coming))

    @asynccontextmanager
    async def opened(self, order: wire.RelayOrder) -> AsyncIterator[Relay]:
        """The relay that the order begins, for as long as its caller is there. Raises BadImage,
        ImageError, DriverError."""
        image = image_name(order.image)
        import_order(order.image, "/", 0)  # its digest is one
        if not order.image.digest or len(order.root) != 32:
            raise BadImage("an image is handed on by its digest and its root alone")
        await self._beat.until(lambda: order.root not in self._busy, GRANT_SECONDS)
        with self._sole(order.root):
            relay = Relay(
                image, order.image.digest, order.root, self._contents, self._peers, self._on_kept
            )
            try:
                await self._take_held(relay)
                with relay.ending():
                    self._relays[order.root] = relay
                    self._beat.beat()
                    self._tell_coming()
                    relay.obey(order)
                    yield relay
            finally:
                self._relays.pop(order.root, None)
                self._tell_coming()
                await relay.close()

    async def _take_held(self, relay: Relay) -> None:
        held = (await self._images.holdings()).get(relay.image)
        if held is None:
            return
        if held.digest != relay.digest:
            raise OtherContent(
                f"{relay.image} is here with the digest {held.digest or 'nobody recorded'}"
            )
        content = await self._contents.of_image(relay.image)
        if content.manifest.root != relay.root:
            await content.close()
            raise OtherContent(f"{relay.image} is here with another kernel or initrd, or none")
        relay.take(content, held)

    async def granted(self, reader: str, root: bytes) -> Relay:
        """The relay of this root that the reader may read from. Raises NotAReader."""

        def found() -> Relay | None:
            relay = self._relays.get(root)
            return relay if relay is not None and reader in relay.readers else None

        async with asyncio.timeout(GRANT_SECONDS + 1.0):
            for _ in range(int(GRANT_SECONDS)):
                if (relay := found()) is not None:
                    return relay
                beat = relay.beat if (relay := self._relays.get(root)) else self._beat
                await beat.until(lambda: found() is not None, 1.0)
        raise NotAReader(f"{reader} may not have chunks of this image from this host")

    async def manifest(self, image: ImageName) -> Manifest:
        """Of an image that is here. Raises ImageError, DriverError."""
        content = await self._contents.of_image(image)
        try:
            return content.manifest
        finally:
            await content.close()

    async def put(
        self, first: wire.PutImageRequest, rest: AsyncIterator[wire.PutImageRequest]
    ) -> AsyncGenerator[wire.PutImageAnswer]:
        """An image handed in. Raises BadImage, ImageError, DriverError."""
        try:
            manifest = manifest_of(first.manifest)
        except BadManifest as error:
            raise BadUpload(str(error)) from error
        image = image_name(first.manifest.image)
        order = import_order(first.manifest.image, "/", first.size_bytes)
        # What is here takes no turn: whoever has brought it may still be leaving.
        held = await self._held_alike(image, order.digest, manifest)
        if held is not None:
            yield wire.PutImageAnswer(done_bytes=manifest.sent)
            yield self._kept(held, manifest)
            return
        with self._sole(manifest.root):
            content = await self._contents.begun(manifest, image)
            try:
                async for answer in self._taken(content, rest):
                    yield answer
                keeping = content.keep(image, order.digest, UPLOADED, order.size)
                async with aclosing(keeping):
                    async for progress in keeping:
                        if progress.image is not None:
                            self._on_kept()
                            yield self._kept(progress.image, manifest)
                        else:
                            yield wire.PutImageAnswer(done_bytes=manifest.sent, step=progress.step)
            finally:
                await content.close()

    async def _held_alike(self, image: ImageName, digest: str, manifest: Manifest) -> Image | None:
        """The image, where it is here with this very content."""
        held = (await self._images.holdings()).get(image)
        if held is None or not held.digest:
            return None
        if digest and held.digest != digest:
            raise ImageMismatch(f"{image} is here with the digest {held.digest}")
        with contextlib.suppress(NoSuchImage):
            if (await self.manifest(image)).root == manifest.root:
                return held
        return None

    async def _taken(
        self, content: ImageContent, rest: AsyncIterator[wire.PutImageRequest]
    ) -> AsyncGenerator[wire.PutImageAnswer]:
        manifest = content.manifest
        lacking = set(manifest.filled()) - content.present
        yield wire.PutImageAnswer(
            wanted=bits_of(lacking, manifest.count), done_bytes=_bytes_but(manifest, lacking)
        )
        while lacking:
            request = await anext(rest, None)
            if request is None:
                raise BadUpload("the upload ended before all of it had come; what came is kept")
            if request.number not in lacking:
                raise BadUpload(f"chunk {request.number} was sent, and not asked for")
            await content.write(request.number, Packed(request.data, request.compressed))
            lacking.discard(request.number)
            if len(lacking) % _UPLOAD_WORD == 0:
                yield wire.PutImageAnswer(done_bytes=_bytes_but(manifest, lacking))

    def _kept(self, held: Image, manifest: Manifest) -> wire.PutImageAnswer:
        answer = wire.PutImageAnswer(done_bytes=manifest.sent, image=image_message(held))
        name, snapshot = held.image
        for part in (KERNEL, INITRD):
            if manifest.part(part):
                path = posixpath.join(self._kernels, boot_file(name, snapshot, part))
                setattr(answer, part, path)
        return answer

    @contextmanager
    def _sole(self, root: bytes) -> Iterator[None]:
        if root in self._busy:
            raise UploadBusy("this content is under way on this host already")
        self._busy.add(root)
        try:
            yield
        finally:
            self._busy.discard(root)
            self._beat.beat()

    async def tidy(self) -> None:
        """Remove what was begun long ago and not ended. Raises DriverError."""
        await self._contents.discard(set(self._busy), KEPT_SECONDS)


def _bytes_but(manifest: Manifest, lacking: set[int]) -> int:
    return manifest.sent - sum(manifest.place(one).size for one in lacking)
