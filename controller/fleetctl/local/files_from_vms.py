"""Files of VMs as they come, written into one folder of this machine: each whole or not at all.

A file is called as its VM is, never as a guest or a host says. It is written under another name,
and given its own when all of it is there; nothing is written through a link.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

from fleet.guest_commands.answers import BadAnswer
from fleet.guest_commands.files_out import Coming
from fleet.identity import MAX_INDEX
from fleet.ranges import IndexSet
from fleet.v1 import copies_pb2 as wire
from fleetctl.outcome import Failed

THERE = "a file of that name is here already; --force replaces it"
DIFFERS = "what came is not what its host has read: the SHA-256 differs"
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class FileFromVm:
    """What has become of one. `reason`: why it is not here."""

    index: int
    path: str
    size: int
    digest: bytes
    changed: bool
    reason: str = ""


@dataclass(slots=True)
class _Draft:
    coming: Coming
    name: str
    descriptor: int = -1
    reason: str = ""
    digest: Any = field(default_factory=sha256)


class FilesFromVms:
    """Used as a context: what is incomplete at its end is taken away."""

    def __init__(
        self, folder: str, fleet: str, most_bytes: int, asked: IndexSet | None, *, force: bool
    ) -> None:
        """`asked`: no other VM may have a file; None: any may."""
        self._folder = folder
        self._fleet = fleet
        self._most_bytes = most_bytes
        self._asked = asked
        self._force = force
        self._nonce = secrets.token_hex(4)
        self._open: dict[int, _Draft] = {}
        self._ended: set[int] = set()
        self._without = IndexSet()  # VMs that have no file
        self._opened = -1
        self._made = False
        self.bytes = 0  # that have come

    def __enter__(self) -> Self:
        """Raises Failed."""
        try:
            with suppress(FileExistsError):
                os.mkdir(self._folder)
                self._made = True
            self._opened = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Failed(f"{self._folder} cannot be written into: {error.strerror}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for index in list(self._open):
            self.drop(index)
        os.close(self._opened)
        if self._made:
            with suppress(OSError):  # it has something in it
                os.rmdir(self._folder)

    @property
    def vms(self) -> int:
        """How many have begun or ended."""
        return len(self._open) + len(self._ended)

    def take(self, part: wire.FilePart) -> FileFromVm | None:
        """What has become of it, with its last part. Raises BadAnswer where it cannot be."""
        index = part.index
        if index in self._ended or index in self._without:
            raise BadAnswer(f"VM {index} is told of twice")
        if index > MAX_INDEX or not (self._asked is None or index in self._asked):
            raise BadAnswer(f"VM {index} was not asked for")
        if part.given_up:
            self.drop(index)
            return None
        draft = self._open.get(index) or self._begun(index)
        draft.coming.add(part)
        self.bytes += len(part.data)
        if not draft.reason:
            self._write(draft, part.data)
        if not part.HasField("end"):
            return None
        del self._open[index]
        self._ended.add(index)
        if not draft.reason:
            self._place(draft, self._name(index), part.end.digest)
        return FileFromVm(
            index, os.path.join(self._folder, self._name(index)), draft.coming.size,
            part.end.digest, part.end.changed, draft.reason,
        )  # fmt: skip

    def without(self, indices: IndexSet) -> None:
        """VMs that have none, whatever came of it."""
        self._without = self._without | indices
        for index in [one for one in self._open if one in indices]:
            self.drop(index)

    def drop(self, index: int) -> None:
        """What came of it is no file."""
        if draft := self._open.pop(index, None):
            self._take_away(draft)

    def _begun(self, index: int) -> _Draft:
        draft = _Draft(Coming(self._most_bytes), f".fleet-copy-{self._nonce}-{index}")
        self._open[index] = draft
        try:
            if not self._force and self._is_there(self._name(index)):
                draft.reason = THERE
            else:
                draft.descriptor = os.open(draft.name, _WRITE, 0o600, dir_fd=self._opened)
        except OSError as error:
            draft.reason = f"it cannot be written here: {error.strerror}"
        return draft

    def _write(self, draft: _Draft, data: bytes) -> None:
        draft.digest.update(data)
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(draft.descriptor, left) :]
        except OSError as error:
            self._fail(draft, f"it cannot be written here: {error.strerror}")

    def _place(self, draft: _Draft, name: str, digest: bytes) -> None:
        if draft.digest.digest() != digest:
            self._fail(draft, DIFFERS)
            return
        try:
            os.fsync(draft.descriptor)
            if self._force:
                os.rename(draft.name, name, src_dir_fd=self._opened, dst_dir_fd=self._opened)
            else:
                self._rename_anew(draft.name, name)
        except FileExistsError:
            self._fail(draft, THERE)
        except OSError as error:
            self._fail(draft, f"it cannot be written here: {error.strerror}")
        finally:
            self._take_away(draft)

    def _rename_anew(self, draft: str, name: str) -> None:
        """Raises FileExistsError."""
        try:
            os.link(draft, name, src_dir_fd=self._opened, dst_dir_fd=self._opened)
        except FileExistsError:
            raise
        except OSError as error:  # of a file system without hard links
            if self._is_there(name):
                raise FileExistsError from error
            os.rename(draft, name, src_dir_fd=self._opened, dst_dir_fd=self._opened)

    def _fail(self, draft: _Draft, reason: str) -> None:
        draft.reason = reason
        self._take_away(draft)

    def _take_away(self, draft: _Draft) -> None:
        if draft.descriptor < 0:
            return
        os.close(draft.descriptor)
        draft.descriptor = -1
        with suppress(FileNotFoundError):  # it has its own name by now
            os.unlink(draft.name, dir_fd=self._opened)

    def _is_there(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._opened, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _name(self, index: int) -> str:
        return f"{self._fleet}-{index}"
