"""A file of its own that each of many VMs is asked for: what may be asked, and its content as it
leaves a host and as it comes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from fleet.guest_commands.answers import LONGEST_MS, SHORTEST_MS, BadAnswer, BadCommand
from fleet.guest_commands.copies import OF_COPIES, PART_BYTES, check_path
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire

# Of one VM's file: nobody but its reader has it whole.
MOST_BYTES = 1 << 30
DEFAULT_BYTES = 16 << 20
# VMs of one host whose file has begun and not ended.
MOST_OPEN = 16
DIGEST_BYTES = hashlib.sha256().digest_size
# What a host may say of a VM without a file. That it has sent one, the last part says.
OF_FILES_OUT = OF_COPIES - {commands.COMMAND_OUTCOME_COPIED}


def check_wanted(file: wire.WantedFile) -> None:
    """Raises BadCommand."""
    check_path(file.path)
    if not 1 <= file.most_bytes <= MOST_BYTES:
        raise BadCommand(f"of a file in a VM 1 B to {MOST_BYTES >> 30} GiB are copied")
    if not SHORTEST_MS <= file.timeout_ms <= LONGEST_MS:
        raise BadCommand("a copy has 0.1 s to 1 h in each VM")


class Leaving:
    """One VM's file, made parts of; what was not given on yet is less than two of them."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._digest = hashlib.sha256()
        self._rest = bytearray()
        self.size = 0

    def add(self, data: bytes) -> Iterator[wire.FilePart]:
        """Parts that are full, with more behind them."""
        self._digest.update(data)
        self.size += len(data)
        self._rest += data
        while len(self._rest) > PART_BYTES:
            part = bytes(self._rest[:PART_BYTES])
            del self._rest[:PART_BYTES]
            yield wire.FilePart(index=self._index, data=part)

    def last(self, *, changed: bool = False) -> wire.FilePart:
        end = wire.FileEnd(size=self.size, digest=self._digest.digest(), changed=changed)
        return wire.FilePart(index=self._index, data=bytes(self._rest), end=end)


class Coming:
    """One VM's file as somebody else sends it, never more of it than was asked for."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self.size = 0

    def add(self, part: wire.FilePart) -> None:
        """Raises BadAnswer."""
        self.size += len(part.data)
        if self.size > self._most:
            raise BadAnswer(f"it sends more than {self._most:,} bytes of a file")
        if not part.HasField("end"):
            if len(part.data) != PART_BYTES:
                raise BadAnswer(f"it sends a part of {len(part.data):,} bytes amid a file")
            return
        if len(part.data) > PART_BYTES or part.end.size != self.size:
            raise BadAnswer(f"it says {part.end.size:,} bytes of a file, and sent {self.size:,}")
        if len(part.end.digest) != DIGEST_BYTES:
            raise BadAnswer("it says no SHA-256 of a file")
