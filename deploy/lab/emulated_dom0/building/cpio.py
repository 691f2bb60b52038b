"""Archives in cpio's "newc" format, as the kernel unpacks an initramfs from:
Documentation/driver-api/early-userspace/buffer-format.rst. Everything in one belongs to root."""

import stat
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One file; `device` is major and minor of a device node."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(name: str) -> Entry:
    """Comes before what is in it."""
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, content: bytes) -> Entry:
    return Entry(name, stat.S_IFREG | 0o644, content)


def program(name: str, content: bytes) -> Entry:
    return Entry(name, stat.S_IFREG | 0o755, content)


def link(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


# Without it the kernel starts /init with no standard streams.
CONSOLE = Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))


def archive(entries: Iterable[Entry]) -> bytes:
    return b"".join(
        _packed(number, entry) for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)])
    )


def _packed(inode: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    size = len(entry.content)
    # inode, mode, uid, gid, links, time, size, device, device of the node, name's size, check
    fields = (inode, entry.mode, 0, 0, 1, 0, size, 0, 0, *entry.device, len(name), 0)
    head = b"070701" + "".join(f"{field:08X}" for field in fields).encode() + name
    return _padded(head) + _padded(entry.content)


def _padded(text: bytes) -> bytes:
    return text + bytes(-len(text) % 4)
