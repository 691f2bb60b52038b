"""The file calls of this driver: copy cheaply or truly, mark, and read marks. Blocking.

A mark is one extended attribute of the clone, so it comes and goes with the file itself.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

from fleet_agent.core.domain.disks import DiskFormat
from fleet_agent.core.domain.marks import Marked, read_mark

MARK_ATTRIBUTE = "user.megafleet.mark"
# On a clone: the image it was made from. On an image: its digest and source, as JSON, and while
# it is being imported, that it is.
GOLDEN_ATTRIBUTE = "user.megafleet.golden"
IMAGE_ATTRIBUTE = "user.megafleet.image"
IMPORTING_ATTRIBUTE = "user.megafleet.importing"
# On a clone that is not raw: its format.
FORMAT_ATTRIBUTE = "user.megafleet.format"
FICLONE = 0x40049409  # _IOW(0x94, 9, int) of linux/fs.h
# How mountinfo writes spaces and the like in a path: proc(5).
_ESCAPED = re.compile(r"\\([0-7]{3})")
COPY_BYTES = 16 * 1024 * 1024

# What FICLONE says where the file system or the pair of files cannot share blocks.
_NO_REFLINK = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS)


def reflink(source: int, target: int) -> bool:
    """Let `target` share all blocks of `source`; False when they cannot. Raises OSError."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in _NO_REFLINK:
            return False
        raise
    return True


def copy(source: int, target: int) -> None:
    """Copy the content, leaving holes as they are. Raises OSError."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    offset = 0
    while offset < size:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        offset = _copy_range(source, target, start, os.lseek(source, start, os.SEEK_HOLE))


def write_mark(file: int, fields: dict[str, str]) -> None:
    """Raises OSError, with ENOTSUP where the file system has no user attributes."""
    os.setxattr(file, MARK_ATTRIBUTE, json.dumps(fields).encode())


def mark_of(path: Path) -> Marked | None:
    """The mark of a file; None when it has none that is whole. Raises OSError, such as
    FileNotFoundError."""
    return read_mark(_fields(path, MARK_ATTRIBUTE))


def write_golden(file: int, image: str) -> None:
    """Raises OSError."""
    os.setxattr(file, GOLDEN_ATTRIBUTE, image.encode())


def golden_of(path: Path) -> str:
    """The image that a clone was made from; empty when it does not say. Raises OSError."""
    return (_attribute(path, GOLDEN_ATTRIBUTE) or b"").decode("utf-8", "replace")


def write_format(file: int, format: DiskFormat) -> None:
    """Raises OSError."""
    os.setxattr(file, FORMAT_ATTRIBUTE, format.encode())


def format_of(path: Path) -> DiskFormat:
    """Raises OSError, and ValueError for a format that is not known."""
    told = _attribute(path, FORMAT_ATTRIBUTE)
    return DiskFormat.RAW if told is None else DiskFormat(told.decode("utf-8", "replace"))


def write_image_fields(file: int, fields: dict[str, str]) -> None:
    """Raises OSError."""
    os.setxattr(file, IMAGE_ATTRIBUTE, json.dumps(fields).encode())


def image_fields(path: Path) -> dict[str, str]:
    """What is recorded of an image; empty when it was not imported. Raises OSError."""
    return _fields(path, IMAGE_ATTRIBUTE)


def write_importing(file: int) -> None:
    """Raises OSError."""
    os.setxattr(file, IMPORTING_ATTRIBUTE, b"1")


def is_importing(path: Path) -> bool:
    """Raises OSError."""
    return _attribute(path, IMPORTING_ATTRIBUTE) is not None


def clear_importing(path: Path) -> None:
    """Raises OSError."""
    os.removexattr(path, IMPORTING_ATTRIBUTE)


def _fields(path: Path, attribute: str) -> dict[str, str]:
    try:
        fields = json.loads(_attribute(path, attribute) or b"null")
    except ValueError:
        return {}
    if not isinstance(fields, dict):
        return {}
    return {str(name): str(value) for name, value in fields.items()}


def _attribute(path: Path, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return None
        raise


def can_reflink(source_folder: Path, target_folder: Path) -> bool:
    """Whether a file in one folder can share the blocks of one in the other. Raises OSError."""
    probe = f".reflink-probe-{os.getpid()}-{threading.get_ident()}"
    names = [source_folder / f"{probe}-a", target_folder / f"{probe}-b"]
    try:
        with names[0].open("w+b") as source, names[1].open("w+b") as target:
            source.write(b"\0" * 4096)
            source.flush()
            return reflink(source.fileno(), target.fileno())
    finally:
        for name in names:
            name.unlink(missing_ok=True)


def filesystem_of(folder: Path) -> str:
    """The type of the file system that holds a folder, such as xfs: that of the mount point nearest
    above, since btrfs shows other device numbers than its mount has. Of several mounts on one
    point the last is seen. From /proc/self/mountinfo."""
    inside, best, found = folder.resolve(), -1, "an unknown file system"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        point = Path(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), mount.split()[4]))
        depth = len(point.parts)
        if depth >= best and inside.is_relative_to(point):
            best, found = depth, source.split()[0]
    return found


@contextlib.contextmanager
def held(folder: Path, *, turn: Path, alone: bool) -> Iterator[None]:
    """Keep those out who would change what the folder holds (`alone`: and those who rely on it),
    in this process or another. `turn`: a folder to queue at, so that who wants to be alone waits
    for those who came before, and for no others. Raises OSError."""
    operation = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    with contextlib.ExitStack() as queue:
        queue.enter_context(_locked(turn, operation))
        with _locked(folder, operation):
            queue.close()
            yield


@contextlib.contextmanager
def _locked(folder: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _copy_range(source: int, target: int, start: int, stop: int) -> int:
    """Copy [start, stop), as far as the source still has it; answers stop."""
    os.lseek(target, start, os.SEEK_SET)
    while start < stop:
        count = min(COPY_BYTES, stop - start)
        copied = os.sendfile(target, source, start, count)
        if not copied:
            break
        start += copied
    return stop
