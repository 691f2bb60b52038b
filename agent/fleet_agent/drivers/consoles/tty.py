"""Types to a guest: the slave side of the pty that xenconsoled (or QEMU) holds for its console.

Whoever reads the slave would take output away from others: it is opened for writing only. Its
holder has set it raw, and copies what is written to it into the guest's ring.

QEMU writes to the slave as long as anybody has it open, and its guest's serial port stands still
once 4 KiB of that are not read, though the log has them: of QEMU's what comes is read, and passed
over.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import struct
import termios

from fleet_agent.drivers.ports.consoles import CannotType

# Seconds in which a guest must take something of what is typed.
PATIENCE = 5.0
_READ_BYTES = 64 * 1024

_TTY = re.compile(r"/dev/pts/[0-9]{1,10}")


class Tty:
    """One slave, opened. Belongs to the event loop's thread."""

    def __init__(self, path: str, name: str, *, drains: bool = False) -> None:
        """`name` is the domain's, for sentences. `drains`: what the guest prints is passed over.
        Raises CannotType."""
        if not _TTY.fullmatch(path):
            raise CannotType(f"the console of {name} has no terminal here")
        self.path = path
        self._name = name
        self._over = self._busy = False
        try:
            access = os.O_RDWR if drains else os.O_WRONLY
            self._fd = os.open(path, access | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise CannotType(
                f"cannot open {path}, the console of {name}: {error.strerror}"
            ) from error
        self._drains = drains
        if drains:
            asyncio.get_running_loop().add_reader(self._fd, self._pass_over)

    async def write(self, data: bytes) -> None:
        """All of it, waiting while the guest does not take it. Raises CannotType."""
        self._busy = True
        try:
            while data and not self._over:
                try:
                    data = data[os.write(self._fd, data) :]
                except BlockingIOError:
                    await self._writable(len(data))
        except OSError as error:
            raise CannotType(f"the console of {self._name} is closed: {error.strerror}") from error
        finally:
            self._busy = False
            if self._over:
                os.close(self._fd)

    def _pass_over(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                if os.read(self._fd, _READ_BYTES):
                    return
            except OSError:  # its holder has gone
                pass
            self._drains = False
            asyncio.get_running_loop().remove_reader(self._fd)

    async def _writable(self, left: int) -> None:
        loop = asyncio.get_running_loop()
        writable: asyncio.Future[None] = loop.create_future()
        loop.add_writer(self._fd, _done, writable)
        try:
            async with asyncio.timeout(PATIENCE):
                await writable
        except TimeoutError:
            raise CannotType(
                f"{self._name} does not read what is typed; {left} bytes were dropped"
            ) from None
        finally:
            loop.remove_writer(self._fd)

    def resize(self, rows: int, columns: int) -> None:
        """Raises CannotType."""
        try:
            fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        except OSError as error:
            raise CannotType(f"the console of {self._name} is closed: {error.strerror}") from error

    def close(self) -> None:
        """Once; a write under way ends with what it has written."""
        if not self._over:
            self._over = True
            if self._drains:
                asyncio.get_running_loop().remove_reader(self._fd)
            if not self._busy:
                os.close(self._fd)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
