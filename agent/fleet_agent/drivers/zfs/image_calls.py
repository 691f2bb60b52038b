"""The calls to ZFS that golden images take: zfs(8), and the volumes' device nodes. Blocking.

They are few and rare, so a process for each costs nothing that counts, and zfs(8) says in words
what libzfs_core says in numbers. Every name was parsed before; nothing passes a shell.
"""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from fleet_agent.core.domain.marks import FIELDS
from fleet_agent.core.images import BLOCK
from fleet_agent.drivers.images import tools as image_tools
from fleet_agent.drivers.zfs.calls import (
    DIGEST,
    PROPERTY_PREFIX,
    HostZfs,
    ZfsCalls,
    ZfsError,
    read_zfs,
)
from fleet_agent.drivers.zfs.nodes import NODES, Node

SOURCE = f"{PROPERTY_PREFIX}source"
# Holds the parent dataset of the host whose import has made, or is changing, what carries it.
IMPORTING = f"{PROPERTY_PREFIX}importing"

CHANGE_SECONDS = 300.0  # a transaction group under load takes seconds, a destroy many of them

# What zfs(8) says, and the errno that it stands for: libzfs_util.c of OpenZFS.
_SAYS = (
    ("does not exist", errno.ENOENT),
    ("already exists", errno.EEXIST),
    ("out of space", errno.ENOSPC),
    ("no space left", errno.ENOSPC),
    ("quota exceeded", errno.EDQUOT),
    ("is busy", errno.EBUSY),
    ("dependent clones", errno.EBUSY),
    ("permission denied", errno.EPERM),
)


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """A volume, or a snapshot of one: bytes; seconds since 1970. Of a snapshot `clones` counts
    its clones; of a volume `origin` is what it is a clone of. Texts are empty where there is
    nothing. `created` orders snapshots of a volume: the transaction group."""

    name: str
    used: int
    referenced: int
    size: int
    written: int
    clones: int
    origin: str
    creation: float
    created: int
    digest: str
    source: str
    importing: str
    marks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SourceDataset:
    """What a dataset or snapshot is: its type as zfs(8) has it, and bytes; a snapshot's type is
    that of its dataset."""

    type: str
    size: int
    referenced: int


class ZfsImageCalls(Protocol):
    """What the adapter asks of ZFS. Names are full dataset names. Whatever changes something
    raises ZfsError, whatever reads DriverError."""

    def entries(self, parent: str) -> list[ImageEntry]:
        """The volumes right below `parent`, and their snapshots."""

    def pool_space(self, parent: str) -> tuple[int, int]:
        """Bytes used and available in the pool that `parent` is in."""

    def source(self, name: str) -> SourceDataset | None:
        """None when there is no such dataset or snapshot."""

    def left_snapshots(self, parent: str) -> list[str]:
        """Snapshots, anywhere on this host, that an import into `parent` took of its source."""

    def create(self, name: str, size: int, parent: str) -> None:
        """A thin volume, marked as being imported below `parent`."""

    def snapshot(self, name: str, properties: Mapping[str, str]) -> None: ...

    def receive(
        self, snapshot: str, name: str, parent: str, on_sent: Callable[[int], None]
    ) -> None:
        """A copy of the snapshot as a new volume with that one snapshot, marked as being imported
        below `parent`; `on_sent` hears the bytes sent, and ends it by raising."""

    def rename(self, name: str, to: str) -> None: ...

    def set_properties(self, name: str, properties: Mapping[str, str]) -> None: ...

    def clear(self, name: str, field: str) -> None:
        """Takes a property away; that is done where it is not set."""

    def roll_back(self, snapshot: str) -> None:
        """The volume is as this snapshot, its latest."""

    def destroy(self, name: str) -> None:
        """A volume without snapshots, or a snapshot without clones."""

    def node(self, name: str) -> Node | None:
        """The volume's device node, when there is one and it opens."""

    def node_path(self, name: str) -> Path: ...


class HostZfsImages:
    """ZfsImageCalls on this host."""

    def __init__(self, calls: ZfsCalls | None = None) -> None:
        """Raises DriverError, as HostZfs does, unless its calls are given."""
        self._calls = calls or HostZfs()

    def entries(self, parent: str) -> list[ImageEntry]:
        # A snapshot is one level below its volume; `written` of a volume is since its latest.
        columns = (
            "name,used,referenced,volsize,written,clones,origin,creation,createtxg",
            *(DIGEST, SOURCE, IMPORTING),
            *(PROPERTY_PREFIX + field for field in FIELDS),
        )
        wanted = ("-t", "volume,snapshot", "-o", ",".join(columns))
        rows = [
            line.split("\t") for line in read_zfs("list", "-H", "-p", "-d", "2", *wanted, parent)
        ]
        depth = parent.count("/") + 1
        return [_entry(row) for row in rows if row[0].partition("@")[0].count("/") == depth]

    def pool_space(self, parent: str) -> tuple[int, int]:
        return self._calls.space(parent.partition("/")[0])

    def source(self, name: str) -> SourceDataset | None:
        if not self._calls.exists(name):
            return None
        (line,) = read_zfs("list", "-H", "-p", "-t", "all", "-o", "volsize,referenced", name)
        size, referenced = line.split("\t")
        (kind,) = read_zfs("list", "-H", "-o", "type", name.partition("@")[0])
        return SourceDataset(kind, _number(size), _number(referenced))

    def left_snapshots(self, parent: str) -> list[str]:
        lines = read_zfs("list", "-H", "-t", "snapshot", "-o", f"name,{IMPORTING}")
        rows = (line.split("\t") for line in lines)
        return [name for name, importing in rows if importing == parent]

    def create(self, name: str, size: int, parent: str) -> None:
        mode = self._mode(parent)
        marks = ("-o", f"{IMPORTING}={parent}")
        _change("create", "-s", "-b", str(BLOCK), "-V", str(size), *mode, *marks, name)

    def snapshot(self, name: str, properties: Mapping[str, str]) -> None:
        given = [f"{field}={value}" for field, value in properties.items()]
        _change("snapshot", *(word for one in given for word in ("-o", one)), name)

    def receive(
        self, snapshot: str, name: str, parent: str, on_sent: Callable[[int], None]
    ) -> None:
        program = image_tools.found("zfs", "zfsutils-linux", "importing a volume")
        marks = ("-o", f"{IMPORTING}={parent}")
        sending = [program, "send", snapshot]
        receiving = [program, "receive", *self._mode(parent), *marks, name]
        with (
            tempfile.TemporaryFile() as unsent,
            tempfile.TemporaryFile() as unreceived,
            image_tools.begun(receiving, stdin=subprocess.PIPE, stderr=unreceived) as receiver,
            image_tools.begun(sending, stdout=subprocess.PIPE, stderr=unsent) as sender,
        ):
            assert receiver.stdin is not None and sender.stdout is not None
            _pump(sender.stdout, receiver.stdin, on_sent)
            # A receiver that ends early takes the sender with it: its own words come first.
            for process, errors in ((receiver, unreceived), (sender, unsent)):
                try:
                    code = process.wait(CHANGE_SECONDS)
                except subprocess.TimeoutExpired as error:
                    raise ZfsError(errno.ETIMEDOUT, "zfs receive did not end in time") from error
                if code:
                    raise _said(image_tools.last_words(errors))

    def rename(self, name: str, to: str) -> None:
        _change("rename", name, to)

    def set_properties(self, name: str, properties: Mapping[str, str]) -> None:
        _change("set", *(f"{field}={value}" for field, value in properties.items()), name)

    def clear(self, name: str, field: str) -> None:
        _change("inherit", field, name)

    def roll_back(self, snapshot: str) -> None:
        _change("rollback", snapshot)

    def destroy(self, name: str) -> None:
        _change("destroy", name)

    def node(self, name: str) -> Node | None:
        self._calls.link_nodes({name})
        return self._calls.node(name)

    def node_path(self, name: str) -> Path:
        return NODES / name

    def _mode(self, parent: str) -> tuple[str, ...]:
        """volmode=dev where it is not inherited: given with the volume, the device would come, go
        and come again."""
        (mode,) = read_zfs("get", "-H", "-o", "value", "volmode", parent)
        return () if mode == "dev" else ("-o", "volmode=dev")


def _entry(row: list[str]) -> ImageEntry:
    name, used, referenced, size, written, clones, origin, creation, created = row[:9]
    digest, source, importing, *marks = ("" if one == "-" else one for one in row[9:])
    return ImageEntry(
        name,
        _number(used),
        _number(referenced),
        _number(size),
        _number(written),
        len(clones.split(",")) if clones not in ("-", "") else 0,
        "" if origin == "-" else origin,
        float(_number(creation)),
        _number(created),
        digest,
        source,
        importing,
        dict(zip(FIELDS, marks, strict=True)),
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _change(*arguments: str) -> None:
    """A zfs(8) command that changes something. Raises ZfsError."""
    try:
        ended = subprocess.run(
            ["zfs", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHANGE_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise ZfsError(errno.ETIMEDOUT, f"zfs {arguments[0]} did not end in time") from error
    except OSError as error:
        raise ZfsError(error.errno or errno.EIO, f"cannot run zfs: {error.strerror}") from error
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"zfs {arguments[0]} said nothing"]
        raise _said(lines[-1])


def _said(words: str) -> ZfsError:
    number = next((number for say, number in _SAYS if say in words), errno.EIO)
    return ZfsError(number, words[:400])


def _pump(source: IO[bytes], target: IO[bytes], on_sent: Callable[[int], None]) -> None:
    """All that one program prints becomes the other's input, which ends with it."""
    sent = 0
    try:
        for data in image_tools.prints(source):
            view = memoryview(data)
            while view:
                view = view[os.write(target.fileno(), view) :]
            sent += len(data)
            on_sent(sent)
    except BrokenPipeError:
        return  # the receiver has ended, and says why
    finally:
        source.close()
        target.close()
