"""Disks in the formats of other emulators, checked and converted by qemu-img. Blocking.

The bytes are a stranger's: qemu-img is told the format, opens this one file and no other, and is
ended when it takes too long.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fleet_agent.core.images import MAX_SIZE, MIB, BadImage
from fleet_agent.drivers.images import tools as image_tools

# Seconds that a look at a file's header, and a check of a file, may take; reading or writing all of
# it, so much longer for each MiB: no disk that works is slower.
LOOK_SECONDS = 60.0
CHECK_SECONDS = 600.0
MIB_SECONDS = 1.0
# Exit codes of 'qemu-img check': clusters are leaked, which harms nothing; the format has no check.
_LEAKS, _NO_CHECK = 3, 63

_PERCENT = re.compile(rb"\(\s*([0-9.]+)/100%\)")

Waits = Callable[[], None]
"""Hears every moment that this goes on; what it raises ends it."""


class _Info(msgspec.Struct, rename="kebab"):
    """What 'qemu-img info' says, as far as it is read."""

    virtual_size: int
    backing_filename: str = ""
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class ForeignDisk:
    """A file in a format that qemu-img calls `driver`, and people `name`."""

    path: Path
    driver: str
    name: str

    def checked_size(self, waits: Waits) -> int:
        """Bytes of the disk in it, which was found whole. Raises BadImage, ToolMissing."""
        info = self._info(waits)
        if info.backing_filename:
            raise BadImage(f"{self.path} is {self.name} that refers to another file")
        if info.encrypted:
            raise BadImage(f"{self.path} is an encrypted disk; decrypt it first")
        if not 0 < info.virtual_size <= MAX_SIZE:
            size = info.virtual_size
            raise BadImage(
                f"{self.path} is {self.name} of {size} bytes; a disk has 1 to {MAX_SIZE}"
            )
        self._check(waits)
        return info.virtual_size

    def write_raw(self, target: Path, size: int, on_progress: Callable[[int], None]) -> None:
        """Write the disk of `size` bytes to a file or device that reads as zeros. `on_progress`
        hears how many bytes are done. Raises ImageError."""
        done = 0

        def on_output(said: bytes) -> None:
            nonlocal done
            if seen := _PERCENT.findall(said):
                done = int(float(seen[-1]) / 100 * size)
            on_progress(done)

        ways = ("-p", "-O", "raw", "-n", "--target-is-zero")
        self._run("convert", (*ways, self._alone, str(target)), on_output, self._whole(size))

    def _info(self, waits: Waits) -> _Info:
        said = bytearray()

        def on_output(piece: bytes) -> None:
            said.extend(piece)
            waits()

        try:
            self._run("info", ("--output=json", self._alone), on_output, LOOK_SECONDS)
            return msgspec.json.decode(bytes(said), type=_Info)
        except image_tools.ToolFailed as error:
            raise self._damaged(str(error)) from error
        except msgspec.MsgspecError as error:
            raise self._damaged(f"qemu-img says nothing of it that can be read: {error}") from error

    def _check(self, waits: Waits) -> None:
        try:
            self._run(
                "check",
                ("-q", self._alone),
                lambda _: waits(),
                self._whole(self.path.stat().st_size),
                fine=(0, _LEAKS, _NO_CHECK),
            )
        except image_tools.ToolFailed as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> BadImage:
        return BadImage(
            f"{self.path} is {self.name}, damaged or cut off; download it again ({why})"
        )

    @property
    def _alone(self) -> str:
        """The file by itself, whatever it says of a backing file."""
        file = {"driver": "file", "filename": str(self.path)}
        backing = {"backing": None} if self.driver in ("qcow2", "vmdk") else {}
        return "json:" + json.dumps({"driver": self.driver, "file": file} | backing)

    @staticmethod
    def _whole(size: int) -> float:
        return CHECK_SECONDS + MIB_SECONDS * size / MIB

    def _run(
        self,
        what: str,
        arguments: Sequence[str],
        on_output: Callable[[bytes], None],
        seconds: float,
        fine: Collection[int] = (0,),
    ) -> None:
        """Raises ToolFailed, ToolMissing, and what `on_output` raises."""
        program = image_tools.found("qemu-img", "qemu-utils", f"importing {self.name}")
        deadline = time.monotonic() + seconds

        def watched(said: bytes) -> None:
            if time.monotonic() > deadline:
                raise image_tools.ToolFailed(f"qemu-img {what} was not done within {seconds:.0f} s")
            on_output(said)

        image_tools.run([program, what, *arguments], watched, fine=fine)
