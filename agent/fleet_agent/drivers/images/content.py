"""The content of images: what a file or directory holds, and writing it where an image shall be.

Written are only blocks that hold anything, so what is written to must read as zeros. The digest
is taken of the whole image: while it is copied where that is possible, else by reading it back.
Blocking.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleet_agent.core.image_formats import (
    HEAD_BYTES,
    QCOW2,
    TAIL_BYTES,
    Format,
    Handling,
    recognised,
)
from fleet_agent.core.images import (
    BLOCK,
    QCOW2_HEADER_BYTES,
    BadImage,
    ImportOrder,
    directory_size,
    fitting_size,
    inodes_for,
    qcow2_size,
    whole_blocks,
)
from fleet_agent.drivers.images import tools as image_tools
from fleet_agent.drivers.images.foreign_disks import ForeignDisk
from fleet_agent.drivers.images.jobs import JobWatcher
from fleet_agent.drivers.ports.images import BadSource, PoolFull

COPYING = "copying"
CONVERTING = "converting"
CHECKING = "checking"
MAKING = "making a file system"
READING = "reading the digest"

CHUNK = 1 << 20
# Runs of zeros are looked for in pieces of this size.
PIECE = 4 * BLOCK
# So much is copied between two flushes: a single one at the end could take minutes.
FLUSH_EVERY = 64 << 20

_ZEROS = bytes(CHUNK)
# Names of the file systems made of directories are UUIDs of this namespace.
_NAMESPACE = uuid.UUID("4b0a4d5c-6f39-4c3f-8d8e-2a6c1f7b9e50")


@dataclass(frozen=True, slots=True)
class Content:
    """Something that can become an image of `size` bytes, of which at most `needed` take room.
    `raw`: it is a file of just those bytes, as far as it goes."""

    size: int
    needed: int
    pour: Callable[[Path, JobWatcher], str]
    """Writes it to a file or device that reads as zeros and has that size; the digest. Raises
    OSError, ImageError, Abandoned."""
    raw: bool = False


def content_of(order: ImportOrder, path: Path, watcher: JobWatcher) -> Content:
    """What is at this path. Raises BadSource, Abandoned."""
    try:
        held = path.stat()
        if stat.S_ISDIR(held.st_mode):
            return _directory(order, path, watcher)
        if not stat.S_ISREG(held.st_mode):
            raise BadSource(
                f"{path} is neither a file nor a directory; a volume is named by its dataset"
            )
        found = _recognised(path, held.st_size)
        if found.handling is Handling.CONVERTED:
            return _converted(order, path, found, held, watcher)
        size = fitting_size(held.st_size, order.size, str(path))
        return Content(
            size,
            min(held.st_blocks * 512, size),
            lambda target, watcher: _raw(path, target, watcher),
            raw=True,
        )
    except BadImage as error:
        raise BadSource(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except OSError as error:
        raise BadSource(f"cannot read {error.filename or path}: {error.strerror}") from error


def _recognised(path: Path, size: int) -> Format:
    """Raises BadImage for what cannot be an image, OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read(TAIL_BYTES)
    found = recognised(head, tail, size)
    if head and found.handling is Handling.REFUSED:
        raise BadImage(f"{path} is {found.name}: {found.remedy}")
    if found is QCOW2:
        qcow2_size(head[:QCOW2_HEADER_BYTES])
    return found


def check_room(needed: int, free: int, where: str) -> None:
    """Raises PoolFull."""
    if needed > free:
        raise PoolFull(f"the image takes up to {needed} bytes, and {where} has {free} free")


def digest_of(path: Path, watcher: JobWatcher) -> str:
    """Of a whole file or device. Raises OSError, Abandoned."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        for offset in range(0, size, CHUNK):
            watcher.progressed(READING, offset, size)
            found.update(_chunk(file.fileno(), offset, min(CHUNK, size - offset)))
    return f"sha256:{found.hexdigest()}"


def copy(source: int, target: int, size: int, watcher: JobWatcher, *, over: bool = False) -> str:
    """Copy `size` bytes between open files, and answer their digest; a source that ends before is
    followed by zeros. `over`: the target may hold anything, and is written where it differs.

    Raises OSError, Abandoned.
    """
    found = hashlib.sha256()
    unflushed = 0
    for offset in range(0, size, CHUNK):
        watcher.progressed(COPYING, offset, size)
        count = min(CHUNK, size - offset)
        chunk = _chunk(source, offset, count)
        found.update(chunk)
        before = _chunk(target, offset, count) if over else _ZEROS
        unflushed += _write_differing(target, offset, chunk, before)
        if unflushed >= FLUSH_EVERY:
            os.fdatasync(target)
            unflushed = 0
    os.fsync(target)
    watcher.progressed(COPYING, size, size)
    return f"sha256:{found.hexdigest()}"


def _write_differing(target: int, offset: int, chunk: bytes, before: bytes) -> int:
    """Write those pieces of a chunk that differ from what is there; how many bytes that is."""
    if chunk == before[: len(chunk)]:
        return 0
    written = 0
    for at in range(0, len(chunk), PIECE):
        piece = chunk[at : at + PIECE]
        if piece != before[at : at + len(piece)]:
            _write_all(target, piece, offset + at)
            written += len(piece)
    return written


def _write_all(target: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(target, view, offset)
        view, offset = view[count:], offset + count


def _chunk(source: int, offset: int, count: int) -> bytes:
    """So many bytes, zeros where the source has a hole or has ended."""
    try:
        data = os.lseek(source, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nothing but a hole from here on, or the end
            return _ZEROS[:count]
        data = offset  # a device, which knows no holes
    if data >= offset + count:
        return _ZEROS[:count]
    read = bytearray()
    while len(read) < count:
        more = os.pread(source, count - len(read), offset + len(read))
        if not more:
            return bytes(read.ljust(count, b"\0"))
        read += more
    return bytes(read)


def _raw(path: Path, target: Path, watcher: JobWatcher) -> str:
    with path.open("rb", buffering=0) as source, target.open("r+b", buffering=0) as into:
        size = into.seek(0, os.SEEK_END)
        return copy(source.fileno(), into.fileno(), size, watcher)


def _converted(
    order: ImportOrder, path: Path, found: Format, held: os.stat_result, watcher: JobWatcher
) -> Content:
    """Raises BadSource, BadImage, ToolMissing, Abandoned."""
    disk = ForeignDisk(path, found.driver, found.name)
    virtual = disk.checked_size(lambda: watcher.progressed(CHECKING))
    size = fitting_size(virtual, order.size, str(path))

    def pour(target: Path, watcher: JobWatcher) -> str:
        disk.write_raw(target, virtual, lambda done: watcher.progressed(CONVERTING, done, virtual))
        return _read_back(target, watcher)

    return Content(size, min(virtual, held.st_blocks * 512), pour)


def _directory(order: ImportOrder, path: Path, watcher: JobWatcher) -> Content:
    content, entries = _measure(path, watcher)
    size = fitting_size(content, order.size, str(path)) if order.size else 0
    size = size or directory_size(content, inodes_for(entries))
    program = image_tools.found("mke2fs", "e2fsprogs", "importing a directory")

    def pour(target: Path, watcher: JobWatcher) -> str:
        # The same directory, made an image of the same name, gives the same file system, unless a
        # file's time of last access or change is another: mke2fs takes those over as well.
        name = str(uuid.uuid5(_NAMESPACE, str(order.image)))
        command = [
            program, "-q", "-F", "-t", "ext4", "-N", str(inodes_for(entries)), "-U", name,
            "-E", f"hash_seed={name},nodiscard", "-d", str(path), str(target),
        ]  # fmt: skip
        image_tools.run(command, lambda _: watcher.progressed(MAKING), {"E2FSPROGS_FAKE_TIME": "1"})
        return _read_back(target, watcher)

    return Content(size, content, pour)


def _measure(path: Path, watcher: JobWatcher) -> tuple[int, int]:
    """Bytes that a directory's files take in blocks of 4 KiB, and how many entries it has."""
    content = entries = 0
    linked: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(path, onerror=_raise):
        watcher.progressed(MAKING)
        entries += len(folders) + len(files)
        content += 4096 * (1 + len(folders))
        for file in files:
            held = os.lstat(os.path.join(folder, file))
            key = (held.st_dev, held.st_ino)
            if held.st_nlink > 1 and key in linked:
                continue
            linked.add(key)
            content += whole_blocks(min(held.st_size, held.st_blocks * 512 or 4096), 4096)
    return content, entries


def _raise(error: OSError) -> None:
    raise error


def _read_back(target: Path, watcher: JobWatcher) -> str:
    with target.open("r+b", buffering=0) as file:
        os.fsync(file.fileno())
    return digest_of(target, watcher)
