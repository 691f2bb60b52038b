"""The host's files and commands, each read bounded in size and time; another root for tests."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

MOST_BYTES = 256 * 1024
MOST_KERNEL_LOG = 4 * 1024 * 1024
COMMAND_SECONDS = 15.0

Run = Callable[[Sequence[str]], str]


class CannotRead(Exception):
    """A file or command that does not answer; a few words."""


def run_command(command: Sequence[str]) -> str:
    """What it prints, within COMMAND_SECONDS. Raises CannotRead."""
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise CannotRead(f"there is no {command[0]} here") from error
    except subprocess.TimeoutExpired as error:
        raise CannotRead(f"{' '.join(command)}: no answer in {COMMAND_SECONDS:.0f} s") from error
    except OSError as error:
        raise CannotRead(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CannotRead(f"{' '.join(command)}: {said[-1][:200] if said else 'it failed'}")
    return done.stdout.decode("utf-8", "replace")


class HostTree:
    """Paths are absolute, as on the host. Blocking."""

    def __init__(self, root: Path = Path("/"), run: Run = run_command) -> None:
        self.root = root
        self.run = run

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def text(self, path: str, most: int = MOST_BYTES) -> str:
        """The first bytes of a file. Raises CannotRead."""
        try:
            with self.at(path).open("rb") as file:
                return file.read(most).decode("utf-8", "replace")
        except OSError as error:
            raise CannotRead(f"{path}: {error.strerror}") from error

    def text_or_none(self, path: str) -> str | None:
        try:
            return self.text(path)
        except CannotRead:
            return None

    def end_of(self, path: Path, most: int = MOST_BYTES) -> str:
        """The last bytes of a log; empty when it cannot be read."""
        try:
            with path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - most))
                return file.read(most).decode("utf-8", "replace")
        except OSError:
            return ""

    def number(self, path: str) -> int:
        """Raises CannotRead."""
        text = self.text(path).strip()
        try:
            return int(text, 0)
        except ValueError as error:
            raise CannotRead(f"{path}: {text[:40]!r} is no number") from error

    def names(self, path: str) -> list[str]:
        """What a folder holds; empty when it cannot be read."""
        try:
            return sorted(os.listdir(self.at(path)))
        except OSError:
            return []

    def kernel_log(self) -> str:
        """What /dev/kmsg holds, a message a line; empty when it may not be read."""
        try:
            kmsg = os.open(self.at("/dev/kmsg"), os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return ""
        try:
            return "\n".join(_messages(b"".join(_records(kmsg)).decode("utf-8", "replace")))
        finally:
            os.close(kmsg)


def _records(kmsg: int) -> Iterator[bytes]:
    """One a read, until there are no more for now: Documentation/ABI/testing/dev-kmsg."""
    size = 0
    while size < MOST_KERNEL_LOG:
        try:
            record = os.read(kmsg, 8192)
        except OSError as error:
            if error.errno == errno.EPIPE:  # overwritten while it was read: the next one follows
                continue
            return
        if not record:
            return
        size += len(record)
        yield record


def _messages(records: str) -> Iterator[str]:
    """Without their prefix "6,1234,5678,-;"; lines that begin with a blank are its dictionary."""
    for line in records.splitlines():
        if not line.startswith(" "):
            prefix, semicolon, message = line.partition(";")
            yield message if semicolon and prefix[:1].isdecimal() else line
