"""Device nodes of zvols: what is behind one, and links to them made as soon as the kernel has them.

The kernel makes /dev/zdN with the volume; the name below /dev/zvol comes from udev, which runs
its rules and a program for each of them, one after another as it gets to it. On a dense dom0 that
takes longer than cloning did, so the agent makes the links that it waits for itself, exactly as
udev would make them: whoever comes second finds his work done.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

DEVICES = Path("/dev")
NODES = Path("/dev/zvol")

# _IOR(0x12, 125, char[256]) of OpenZFS's sys/fs/zfs.h: the name of the zvol behind a device node.
BLKZNAME = 0x8100127D
ZVOL_NAME_BYTES = 256

# A node comes with the volume; a kernel that is busy with hundreds of them gets to it later.
NODE_SECONDS = 120.0
NODE_PACE = 0.1

_NODE = re.compile(r"zd[0-9]+")  # of a whole volume; a partition's has a p and a number more


@dataclass(frozen=True, slots=True)
class Node:
    """A device node that opens: which zvol is behind it, and how many bytes it has."""

    zvol: str
    size: int


def node_at(path: Path) -> Node | None:
    """What is behind a device node; None when it is not there, does not open, or is no zvol's."""
    try:
        node = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # not there yet, or not ready to be opened
        return None
    try:
        if not stat.S_ISBLK(os.fstat(node).st_mode):
            return None
        answer = fcntl.ioctl(node, BLKZNAME, bytes(ZVOL_NAME_BYTES))
        zvol = answer.partition(b"\0")[0].decode()
        return Node(zvol, os.lseek(node, 0, os.SEEK_END))
    except OSError:  # another device's node, left from a volume that is gone
        return None
    finally:
        os.close(node)


class NodeLinks:
    """Makes links for volumes that are awaited, and for no others. For any thread."""

    def __init__(
        self,
        devices: Path = DEVICES,
        links: Path = NODES,
        look: Callable[[Path], Node | None] = node_at,
    ) -> None:
        self._devices = devices
        self._links = links
        self._look = look
        self._lock = threading.Lock()
        # Which volume is behind a node: by name and inode, since numbers are used again.
        self._zvols: dict[tuple[str, int], str] = {}

    def make(self, awaited: Collection[str]) -> None:
        """Link each of these volumes (full dataset names) whose node is there. What cannot be
        linked is left to udev."""
        with self._lock, contextlib.suppress(OSError):
            self._learn()
            for (node, _), zvol in self._zvols.items():
                if zvol in awaited:
                    self._link(zvol, node)

    def _learn(self) -> None:
        with os.scandir(self._devices) as entries:
            present = {
                (entry.name, entry.inode()) for entry in entries if _NODE.fullmatch(entry.name)
            }
        for gone in self._zvols.keys() - present:
            del self._zvols[gone]
        for name, inode in present - self._zvols.keys():
            node = self._look(self._devices / name)
            if node is not None:
                self._zvols[name, inode] = node.zvol

    def _link(self, zvol: str, node: str) -> None:
        link = self._links / zvol
        target = os.path.relpath(self._devices / node, link.parent)
        with contextlib.suppress(OSError):
            if os.readlink(link) == target:
                return
        link.parent.mkdir(parents=True, exist_ok=True)
        draft = link.with_name(f".{link.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        draft.symlink_to(target)
        draft.replace(link)
