"""The calls to ZFS that the driver makes: libzfs_core, one listing command, the device nodes.

All blocking, callable from any thread. libzfs_core comes with the host (python3-pyzfs), in the
version of the host's kernel module: PyPI's pyzfs is of 2016 and knows no channel programs.
"""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol, cast

from fleet.keys import Kin
from fleet_agent.core.domain.marks import FIELDS
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.zfs import program as zfs_program
from fleet_agent.drivers.zfs.nodes import NODES, Node, NodeLinks, node_at

PROPERTY_PREFIX = "megafleet:"
DIGEST = f"{PROPERTY_PREFIX}digest"
MODULE_VERSION = Path("/sys/module/zfs/version")

# The value of the index property volmode for "dev": ZFS_VOLMODE_DEV in OpenZFS's sys/fs/zfs.h.
VOLMODE_DEV = 2
# Waits between tries to destroy a volume that is busy: a guest's backend lets go of it late.
BUSY_WAITS = (0.1, 0.2, 0.4, 0.8, 1.6)
LISTING_SECONDS = 120.0  # zfs(8) waits for a pool that is suspended; the driver does not


class ZfsError(Exception):
    """A call failed; `number` is an errno."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class ZfsCalls(Protocol):
    """What the driver asks of ZFS. Names are full dataset names."""

    def clone(self, name: str, origin: str, marks: Mapping[str, str], size: int) -> None:
        """A volume from a snapshot, with its marks at once and volmode=dev; `size` in bytes, 0 for
        the snapshot's. Raises ZfsError."""

    def destroy(self, name: str) -> None:
        """Raises ZfsError."""

    def destroy_marked(self, kin: Kin, volumes: Mapping[str, int]) -> Mapping[str, int]:
        """Destroy those of the volumes, each given with its index, that carry the marks of this
        kin, all at once; the errno of each, 0 where nothing of this kin is left. All are of one
        pool, and at most zfs_program.PART. Raises ZfsError when the host does not do it so;
        what is gone by then is not known."""

    def recorded(self, snapshot: str) -> str | None:
        """The digest recorded of a golden image; empty: none; None: there is no such snapshot.
        Raises DriverError."""

    def exists(self, name: str) -> bool: ...

    def volumes(self, parent: str) -> Mapping[str, Mapping[str, str]]:
        """The marks, whole or not, of each volume right below `parent`. Raises DriverError."""

    def space(self, parent: str) -> tuple[int, int]:
        """Bytes used below `parent`, and still available there. Raises DriverError."""

    def link_nodes(self, names: Collection[str]) -> None:
        """Let the nodes of these volumes be found under their names, as far as they exist."""

    def node(self, name: str) -> Node | None:
        """The volume's device node, when there is one and it opens."""

    def version(self) -> str: ...


class _Lzc(Protocol):
    def lzc_clone(self, name: bytes, origin: bytes, props: Mapping[bytes, bytes | int]) -> None: ...

    def lzc_destroy(self, name: bytes) -> None: ...

    def lzc_exists(self, name: bytes) -> bool: ...

    def lzc_channel_program(
        self, poolname: bytes, program: bytes, *, params: list[bytes]
    ) -> Mapping[bytes, int]: ...


class HostZfs:
    """ZfsCalls on this host. Raises DriverError when the host's libzfs_core is not there."""

    def __init__(self) -> None:
        try:
            module = importlib.import_module("libzfs_core")
            self._error: type[Exception] = importlib.import_module(
                "libzfs_core.exceptions"
            ).ZFSError
        except (ImportError, OSError) as error:
            raise DriverError(
                f"libzfs_core does not load ({error}); install the host's python3-pyzfs, and let "
                "the agent's environment see the host's packages"
            ) from error
        if not hasattr(module, "lzc_channel_program"):
            raise DriverError(
                f"the libzfs_core in {module.__file__} is PyPI's pyzfs of 2016 and not the "
                "host's; uninstall pyzfs there and install the host's python3-pyzfs"
            )
        self._lzc = cast(_Lzc, module)
        self._links = NodeLinks()
        self._asking = threading.Lock()
        self._volmodes: dict[str, str] = {}

    def clone(self, name: str, origin: str, marks: Mapping[str, str], size: int) -> None:
        properties: dict[bytes, bytes | int] = {
            (PROPERTY_PREFIX + field).encode(): value.encode() for field, value in marks.items()
        }
        if not self._inherits_dev(name.rpartition("/")[0]):
            properties[b"volmode"] = VOLMODE_DEV
        if size:
            properties[b"volsize"] = size
        try:
            self._lzc.lzc_clone(name.encode(), origin.encode(), properties)
        except self._error as error:
            raise _zfs_error(error) from error

    def _inherits_dev(self, parent: str) -> bool:
        """Whether volumes below it have volmode=dev without being told. Given with a clone that
        would have it anyway, ZFS makes the device, removes it, and makes it anew: twice the work.
        Asked once in the life of the agent. Raises DriverError."""
        with self._asking:
            if parent not in self._volmodes:
                (self._volmodes[parent],) = read_zfs("get", "-H", "-o", "value", "volmode", parent)
            return self._volmodes[parent] == "dev"

    def destroy(self, name: str) -> None:
        try:
            self._lzc.lzc_destroy(name.encode())
        except self._error as error:
            raise _zfs_error(error) from error

    def destroy_marked(self, kin: Kin, volumes: Mapping[str, int]) -> Mapping[str, int]:
        pool = next(iter(volumes)).partition("/")[0]
        asked = zfs_program.arguments(kin, volumes)
        try:
            returned = self._lzc.lzc_channel_program(
                pool.encode(), zfs_program.DESTROY, params=asked
            )
        except self._error as error:
            raise _zfs_error(error) from error
        return zfs_program.answers(returned, volumes)

    def recorded(self, snapshot: str) -> str | None:
        if not self.exists(snapshot):
            return None
        (value,) = read_zfs("get", "-H", "-o", "value", DIGEST, snapshot)
        return "" if value == "-" else value

    def exists(self, name: str) -> bool:
        return self._lzc.lzc_exists(name.encode())

    def volumes(self, parent: str) -> Mapping[str, Mapping[str, str]]:
        # libzfs_core offers no way to read properties; "-" stands for a property not set.
        columns = ["name", *(PROPERTY_PREFIX + field for field in FIELDS)]
        lines = read_zfs(
            "list", "-H", "-p", "-d", "1", "-t", "volume", "-o", ",".join(columns), parent
        )
        rows = (line.split("\t") for line in lines)
        return {name: dict(zip(FIELDS, marks, strict=True)) for name, *marks in rows}

    def space(self, parent: str) -> tuple[int, int]:
        (line,) = read_zfs("list", "-H", "-p", "-d", "0", "-o", "used,available", parent)
        used, available = line.split("\t")
        return int(used), int(available)

    def link_nodes(self, names: Collection[str]) -> None:
        self._links.make(names)

    def node(self, name: str) -> Node | None:
        return node_at(NODES / name)

    def version(self) -> str:
        try:
            return MODULE_VERSION.read_text().strip().partition("-")[0]
        except OSError:
            return "(module not loaded)"


def read_zfs(*arguments: str) -> list[str]:
    """Lines of a zfs(8) command that only reads. Raises DriverError."""
    try:
        ended = subprocess.run(
            ["zfs", *arguments],
            capture_output=True,
            text=True,
            timeout=LISTING_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"cannot list ZFS volumes: {error}") from error
    if ended.returncode:
        raise DriverError(f"cannot list ZFS volumes: {ended.stderr.strip()}")
    return ended.stdout.splitlines()


def _zfs_error(error: Exception) -> ZfsError:
    number = getattr(error, "errno", None) or errno.EIO
    return ZfsError(number, f"{type(error).__name__} ({os.strerror(number)})")
