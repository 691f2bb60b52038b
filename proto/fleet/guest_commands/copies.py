"""A file that is copied into many VMs: what may be asked, and its content as it arrives."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from fleet.guest_commands.answers import LONGEST_MS, SHORTEST_MS, BadCommand
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire

MOST_FILE_BYTES = 16 << 20
PART_BYTES = 64 * 1024
LONGEST_PATH, LONGEST_NAME = 1024, 255
MOST_MODE = 0o777
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# What a host may say of a VM into which a file was to be copied.
OF_COPIES: frozenset[int] = frozenset(
    {
        commands.COMMAND_OUTCOME_COPIED,
        commands.COMMAND_OUTCOME_NO_AGENT,
        commands.COMMAND_OUTCOME_NO_ANSWER,
        commands.COMMAND_OUTCOME_FAILED,
    }
)


def check_path(path: str) -> None:
    """Raises BadCommand."""
    if not path.startswith("/"):
        raise BadCommand("a path in a VM begins with /")
    if len(path.encode("utf-8", "surrogatepass")) > LONGEST_PATH or _CONTROL.search(path):
        raise BadCommand(f"a path in a VM has at most {LONGEST_PATH:,} bytes, all printable")
    words = path.split("/")[1:]
    if not words[-1] or any(word in (".", "..") for word in words):
        raise BadCommand("a path in a VM ends with the name of the file, without . and .. in it")
    if any(len(word.encode("utf-8", "surrogatepass")) > LONGEST_NAME for word in words):
        raise BadCommand(f"a name in a path has at most {LONGEST_NAME} bytes")


def check_file(file: wire.CopiedFile) -> None:
    """Raises BadCommand."""
    check_path(file.path)
    if file.mode > MOST_MODE:
        raise BadCommand("the mode of a file is 0 to 777")
    if file.size > MOST_FILE_BYTES:
        raise BadCommand(f"a file that is copied has at most {MOST_FILE_BYTES >> 20} MiB")
    if len(file.digest) != hashlib.sha256().digest_size:
        raise BadCommand("the SHA-256 of the file is missing")
    if not SHORTEST_MS <= file.timeout_ms <= LONGEST_MS:
        raise BadCommand("a copy has 0.1 s to 1 h in each VM")


def parts_of(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PART_BYTES):
        yield content[start : start + PART_BYTES]


class Arriving:
    """The content of one file, never more of it than its first message says."""

    def __init__(self, file: wire.CopiedFile) -> None:
        self._file = file
        self._content = bytearray()

    def add(self, part: bytes) -> None:
        """Raises BadCommand."""
        if not 0 < len(part) <= PART_BYTES:
            raise BadCommand(f"a part of a file has 1 to {PART_BYTES:,} bytes")
        if len(self._content) + len(part) > self._file.size:
            raise BadCommand("more of the file came than was said")
        self._content += part

    @property
    def is_complete(self) -> bool:
        return len(self._content) == self._file.size

    def whole(self) -> bytes:
        """Raises BadCommand where it is not what was said."""
        content = bytes(self._content)
        if not self.is_complete:
            raise BadCommand(f"{len(content):,} of {self._file.size:,} bytes of the file came")
        if hashlib.sha256(content).digest() != self._file.digest:
            raise BadCommand("the file that came is not the one that was sent: its SHA-256 differs")
        return content
