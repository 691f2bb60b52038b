"""A backup as a file: written beside its name, whole and on disk before it gets it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from fleetctl.outcome import Failed

# etcd ends its snapshot with the SHA-256 of all before it.
DIGEST_BYTES = 32
_READ_BYTES = 1 << 20


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
    """Takes the bits of a snapshot; `finish` gives it its name. Left unfinished it is removed."""

    def __init__(self, path: Path, *, force: bool) -> None:
        self.path = path
        self.size = 0
        self._force = force
        self._draft = path.with_name(path.name + ".part")
        self._descriptor = -1
        self._digest = _Digest()

    def __enter__(self) -> Self:
        """Raises Failed where the file is there already, or cannot be made."""
        if self.path.exists() and not self._force:
            raise Failed(f"{self.path} is there already; --force overwrites it")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with self._written():
            self._descriptor = os.open(self._draft, flags, 0o600)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            with suppress(FileNotFoundError):
                self._draft.unlink()

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
        os.close(self._descriptor)
        self._descriptor = -1
        if self._force:
            os.replace(self._draft, self.path)
        else:
            self._name_it()
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
        """Unless somebody else has made a file of that name meanwhile."""
        try:
            os.link(self._draft, self.path)
        except FileExistsError as error:
            raise Failed(f"{self.path} has been made by somebody else meanwhile") from error
        finally:
            self._draft.unlink()


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
