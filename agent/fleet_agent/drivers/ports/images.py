"""The port to golden images: what there is, what it takes, making one, and removing one.

An image is known by name and snapshot, and by the digest of its content: SHA-256 over every byte
of the disk that a clone of it begins with. It is there whole or not at all: what an import that
was ended or killed has left is never listed and is removed at the next occasion. Only one import
or deletion runs at a time on a host; others wait. No call blocks the event loop.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from fleet_agent.core.images import ImageName, ImportOrder

# An import says how far it is at least so often, in seconds.
PROGRESS_SECONDS = 1.0


class ImageError(Exception):
    """Refused, or failed; one sentence. `reason` is the word for it on the wire."""

    reason: ClassVar[str] = "IMAGE_FAILED"


class NoSuchImage(ImageError):
    """There is none of that name and snapshot."""

    reason = "NO_SUCH_IMAGE"


class NotAnImage(ImageError):
    """Something else has the name: a VM's disk, or what others made."""

    reason = "NOT_AN_IMAGE"


class ImageInUse(ImageError):
    """Clones of it exist; the sentence says how many."""

    reason = "IMAGE_IN_USE"


class ImageExists(ImageError):
    """There is one of that name and snapshot, with other content."""

    reason = "IMAGE_EXISTS"


class ImageMismatch(ImageError):
    """The content does not have the digest that was asked for."""

    reason = "IMAGE_MISMATCH"


class BadSource(ImageError):
    """What was to be imported cannot be: missing, unreadable, of the wrong kind or size."""

    reason = "BAD_SOURCE"


class ToolMissing(ImageError):
    """A program that the import needs is not on this host; says which package has it."""

    reason = "TOOL_MISSING"


class PoolFull(ImageError):
    """It does not fit."""

    reason = "NO_SPACE"


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes: what datasets show, and what would be freed with them."""

    referenced: int = 0
    unique: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """One golden image of a host. Bytes, and seconds since 1970.

    `digest` and `source` are empty for one that was made by other means than an import.
    """

    image: ImageName
    digest: str
    size: int
    space: Space
    clones: int
    created: float
    source: str


@dataclass(frozen=True, slots=True)
class FleetUse:
    """The clones of one fleet."""

    uid: str
    clones: int
    space: Space


@dataclass(frozen=True, slots=True)
class Pool:
    description: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """All images, sorted by name and snapshot, all fleets by uid, and what they are kept in."""

    images: tuple[Image, ...]
    fleets: tuple[FleetUse, ...]
    pool: Pool

    def get(self, image: ImageName) -> Image | None:
        return next((one for one in self.images if one.image == image), None)


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far the present step is; `total` is 0 while it is not known. `image` is on the last."""

    step: str
    done: int = 0
    total: int = 0
    image: Image | None = None


def image_matches(order: ImportOrder, digest: str) -> None:
    """Raises ImageMismatch where the source does not have the digest that was asked for."""
    if order.digest and order.digest != digest:
        raise ImageMismatch(
            f"{order.source_text} has the digest {digest} and not {order.digest}; nothing was kept"
        )


def already_there(existing: Image, digest: str) -> ImageExists:
    """The refusal to give a name to other content."""
    held = f"the digest {existing.digest}" if existing.digest else "no recorded digest"
    return ImageExists(
        f"{existing.image} exists with {held}, and the source has {digest}; choose another "
        "snapshot name"
    )


def in_use(existing: Image) -> ImageInUse:
    """The refusal to remove what has clones."""
    are = "is 1 clone" if existing.clones == 1 else f"are {existing.clones} clones"
    return ImageInUse(f"{existing.image} is not removed: there {are} of it")


class Images(Protocol):
    """The golden images of one host."""

    async def holdings(self) -> Holdings:
        """Raises DriverError."""

    def bring(self, order: ImportOrder) -> AsyncGenerator[ImportProgress, None]:
        """Make the image. Done at once where it is there with the digest asked for, and done
        where its content turns out to be that of the source.

        Leaving the iteration early, only through contextlib.aclosing, ends the import and leaves
        nothing of it. Raises ImageError, DriverError.
        """

    async def delete(self, image: ImageName) -> None:
        """Raises ImageError, DriverError."""

    async def close(self) -> None:
        """End what runs, and wait until nothing of it is left."""
