"""A backup as a file: written beside its name, whole and on disk before it gets it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from fleet.private_file import open_draft
from fleetctl.outcome import Failed

# etcd ends its snapshot with the SHA-256 of all before it.
DIGEST_BYTES = 32
_READ_BYTES = 1 << 20
# Of a file system without hard links, such as vfat and some that are mounted from elsewhere.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP)


class _Digest:
    """Of a file as it goes by: its SHA-256, and whether it ends with that of what is before."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._body = hashlib.sha256()
        self._tail = b""

    def add(self, data: bytes) -> None:
        self._whole.update(data)
        held = self._tail + data
        self._body.update(held[:-DIGEST_BYTES])
        self._tail = held[-DIGEST_BYTES:]

    @property
    def is_right(self) -> bool:
        return self._body.digest() == self._tail

    @property
    def text(self) -> str:
        return self._whole.hexdigest()


class SnapshotFile:
    """Takes the bits of a snapshot; `finish` gives it its name. Left unfinished it is removed; one
    that is whole and cannot be named stays as the draft. No two write the same at a time."""

    def __init__(self, path: Path, *, force: bool) -> None:
        self.path = path
        self.size = 0
        self._force = force
        self._draft = path.with_name(path.name + ".part")
        self._descriptor = -1
        self._removes_draft = True
        self._digest = _Digest()

    def __enter__(self) -> Self:
        """Raises Failed where the file is there already, is being written, or cannot be made."""
        if self.path.exists() and not self._force:
            raise Failed(f"{self.path} is there already; --force overwrites it")
        with self._written():
            try:
                self._descriptor = open_draft(self._draft)
            except BlockingIOError as error:
                raise Failed(f"another backup is being written to {self._draft}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._descriptor < 0:
            return
        # Not after closing it: another may write one of that name then.
        if self._removes_draft:
            with suppress(FileNotFoundError):
                self._draft.unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def restart(self) -> None:
        """What came before is void."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._digest = _Digest()
        self.size = 0

    def add(self, data: bytes) -> None:
        """Raises Failed for a disk that is full, or fails."""
        rest = memoryview(data)
        with self._written():
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self.size += len(data)
        self._digest.add(data)

    def finish(self) -> str:
        """On disk under its name; the SHA-256 of the file. Raises Failed for a snapshot that is
        not whole, or a disk that is full; OSError."""
        if not self._digest.is_right:
            raise Failed("the snapshot did not come whole: its checksum is wrong; try again")
        with self._written():
            os.fsync(self._descriptor)
        try:
            self._name_it()
        except OSError as error:
            self._removes_draft = False
            raise Failed(
                f"{self._draft} is the whole backup, and cannot be named {self.path}: "
                f"{error.strerror}"
            ) from error
        _sync_folder(self.path.parent)
        return self._digest.text

    @contextmanager
    def _written(self) -> Iterator[None]:
        """An error of the system names the file as well. Raises Failed."""
        try:
            yield
        except OSError as error:
            raise Failed(f"cannot write {self._draft}: {error.strerror}") from error

    def _name_it(self) -> None:
        """Unless somebody else has made a file of that name meanwhile, which only force replaces.
        Raises Failed, OSError."""
        if not self._force:
            try:
                os.link(self._draft, self.path)
                return  # the draft goes as any other does
            except FileExistsError as error:
                raise self._made_meanwhile() from error
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
            if os.path.lexists(self.path):
                raise self._made_meanwhile()
        os.replace(self._draft, self.path)
        self._removes_draft = False  # one of that name is another's

    def _made_meanwhile(self) -> Failed:
        return Failed(f"{self.path} has been made by somebody else meanwhile")


def check(path: Path) -> str:
    """The SHA-256 of the file, if its last bytes are the digest of what is before them. Raises
    Failed, OSError."""
    digest = _Digest()
    for data in _read(path):
        digest.add(data)
    if not digest.is_right:
        raise Failed(
            f"{path} is no whole backup: it does not end with its checksum. A file copied from "
            "an etcd's data folder is none; 'fleetctl backup' or 'etcdctl snapshot save' makes one"
        )
    return digest.text


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(_READ_BYTES):
            yield data


def _sync_folder(folder: Path) -> None:
    with _opened(folder) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
