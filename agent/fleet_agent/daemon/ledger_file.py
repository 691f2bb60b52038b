"""The ledger as a file.

It holds one record: a magic word with the format's version, a SHA-256 of the rest, and the rest
as MessagePack. It is replaced whole: written beside, flushed, renamed, and the folder flushed,
so that after a crash there is the old record or the new one.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shlex
import stat
from concurrent.futures import Executor
from pathlib import Path

import msgspec

from fleet.private_file import replace_private
from fleet_agent.reconcile.ledger import LedgerBroken, LedgerError, LedgerFull, LedgerRecord

MAGIC = b"fleet-ledger 1\n"
_DIGEST_BYTES = 32
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FileLedger:
    """A file; its folder must exist. File I/O runs in the executor."""

    def __init__(self, path: Path, executor: Executor | None = None) -> None:
        self._path = path
        self._executor = executor

    async def load(self) -> LedgerRecord | None:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._load)

    async def save(self, record: LedgerRecord) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._save, record)

    def _load(self) -> LedgerRecord | None:
        _check_folder(self._path)
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerError(f"ledger {self._path} cannot be read: {error.strerror}") from error
        try:
            return decode(data)
        except ValueError as error:
            aside = self._put_aside(data)
            raise LedgerBroken(
                f"ledger {self._path} is broken ({error}); it was put aside as {aside}. Started "
                "again, the agent adopts what runs and waits for its controller"
            ) from error

    def _put_aside(self, data: bytes) -> Path:
        digest = hashlib.sha256(data).hexdigest()[:12]
        aside = self._path.with_name(f"{self._path.name}.broken-{digest}")
        try:
            os.replace(self._path, aside)
        except OSError as error:
            raise LedgerError(
                f"ledger {self._path} is broken and cannot be put aside: {error.strerror}"
            ) from error
        return aside

    def _save(self, record: LedgerRecord) -> None:
        try:
            replace_private(self._path, encode(record))  # it says what this host is to run
        except OSError as error:
            kind = LedgerFull if error.errno in _NO_ROOM else LedgerError
            raise kind(f"ledger {self._path} cannot be written: {error.strerror}") from error


def encode(record: LedgerRecord) -> bytes:
    body = msgspec.msgpack.encode(record)
    return MAGIC + hashlib.sha256(body).digest() + body


def decode(data: bytes) -> LedgerRecord:
    """Raises ValueError saying what is wrong."""
    if not data.startswith(MAGIC):
        raise ValueError("it does not begin as a ledger of version 1 does")
    digest, body = data[len(MAGIC) :][:_DIGEST_BYTES], data[len(MAGIC) + _DIGEST_BYTES :]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its checksum does not match")
    try:
        return msgspec.msgpack.decode(body, type=LedgerRecord)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ValueError(str(error)) from error


def _check_folder(path: Path) -> None:
    """Whoever may write the folder may put another ledger there, which the agent would obey.
    Raises LedgerError."""
    try:
        mode = stat.S_IMODE(path.parent.stat().st_mode)
    except OSError:
        return  # it is told when the ledger is read or written
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        folder = path.parent
        raise LedgerError(
            f"the ledger's folder {folder} may be written by others (mode {mode:04o}): "
            f"chmod go-w {shlex.quote(str(folder))}"
        )
