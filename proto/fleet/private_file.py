"""Files that nobody but their owner may read, such as private keys; replaced whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Of a file system that knows no locks, or no modes.
_UNKNOWN_THERE = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK)


def read_private(file: Path) -> bytes:
    """What is in it. Raises OSError: naming the file, and PermissionError with one sentence where
    others than its owner may read or write it."""
    with open(file, "rb") as opened:
        mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
        if mode & _OTHERS:
            raise PermissionError(
                f"{file} may be read or written by others (mode {mode:04o}), and what is in it is "
                f"secret: chmod 600 {shlex.quote(str(file))}"
            )
        return opened.read()


def replace_private(file: Path, content: bytes, *, lasting: bool = True) -> None:
    """Whole, or not at all, and on the disk when this returns, if it is to be `lasting`. It is
    written as NAME.new in the same folder: what a program that was killed has left there goes with
    the next one. Raises OSError."""
    beside = file.with_name(f"{file.name}.new")
    with _sole(beside) as handle:
        try:
            os.fchmod(handle, stat.S_IRUSR | stat.S_IWUSR)
            os.ftruncate(handle, 0)
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view) :]
            if lasting:
                os.fsync(handle)
            os.replace(beside, file)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    if lasting:
        flush_folder(file.parent)


def open_draft(file: Path) -> int:
    """A handle to write it, empty and its owner's alone. Nobody else writes it while that is open:
    it is renamed, or removed, before it is closed. What a program that was killed has left there is
    written anew. A file system without locks keeps nobody off. Raises BlockingIOError while another
    writes it; OSError."""
    while True:
        handle = os.open(file, _FOR_ONE, 0o600)
        try:
            with _where_known():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, file):
                with _where_known():
                    os.fchmod(handle, stat.S_IRUSR | stat.S_IWUSR)
                os.ftruncate(handle, 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def said_of(error: Exception) -> str:
    """Of a file that cannot be read: which, and what is wrong with it, without a number."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def flush_folder(folder: Path) -> None:
    """New names in it outlast a crash of the machine. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# A link in its place is not followed. What is there stays until it is known to be nobody's.
_FOR_ONE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def _where_known() -> Iterator[None]:
    """What a file system does not know is left undone. Raises OSError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _UNKNOWN_THERE:
            raise


@contextlib.contextmanager
def _sole(file: Path) -> Iterator[int]:
    """Open for writing, and nobody else's meanwhile: another who writes it is waited for. Raises
    OSError."""
    while True:
        handle = os.open(file, _FOR_ONE, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(handle, file):
                yield handle
                return
        finally:
            os.close(handle)


def _is_at(handle: int, file: Path) -> bool:
    """Not so once whoever was waited for has given it its name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file, follow_symlinks=False))
    except FileNotFoundError:
        return False
