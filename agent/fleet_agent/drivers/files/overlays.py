"""Overlays: qcow2 files that hold what a VM has written, over a golden image that stays as it is.

An empty overlay says nothing of its VM, only where its image is and how large the disk. So
qemu-img makes one for each image and size, in memory, and the VMs' files are copies of it, of a
few blocks each. The image below is raw and said to be: there is no second overlay below, and no
image's content is taken for a header. Blocking.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
from functools import lru_cache
from pathlib import Path

from fleet_agent.drivers.images import tools as image_tools

# Written are only pieces that hold anything.
PIECE = 4096
# qemu-img writes three blocks into memory; more than this means that it hangs.
SECONDS = 30.0
# Images and sizes whose empty overlay is kept: of 200 KiB each.
KEPT = 16


_making = threading.Lock()


def empty_overlay(image: Path, size: int) -> bytes:
    """The bytes of an overlay of `size` bytes in which nothing was written. Raises ImageError,
    OSError."""
    with _making:  # many ask at once for the first
        return _made(image, size)


@lru_cache(maxsize=KEPT)
def _made(image: Path, size: int) -> bytes:
    program = image_tools.found("qemu-img", "qemu-utils", "making overlays")
    file = os.memfd_create("overlay", os.MFD_CLOEXEC)
    with os.fdopen(file, "rb") as made, tempfile.TemporaryFile() as errors:
        command = [
            program, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image),
            f"/proc/self/fd/{file}", str(size),
        ]  # fmt: skip
        with image_tools.begun(command, stderr=errors, pass_fds=(file,)) as process:
            try:
                code = process.wait(SECONDS)
            except subprocess.TimeoutExpired as error:
                raise image_tools.ToolFailed(
                    f"qemu-img did not end within {SECONDS:g} s"
                ) from error
        if code:
            raise image_tools.ToolFailed(f"qemu-img failed: {image_tools.last_words(errors)}")
        return made.read()


def write_overlay(target: int, content: bytes) -> None:
    """Into an open, empty file. Raises OSError."""
    os.ftruncate(target, len(content))
    for offset in range(0, len(content), PIECE):
        piece = memoryview(content)[offset : offset + PIECE]
        if any(piece):
            while piece:
                written = os.pwrite(target, piece, offset)
                piece, offset = piece[written:], offset + written


def seal(image: Path) -> None:
    """Let nobody write to what overlays lie over: each would show other content at once. All may
    read it: QEMU has a user of its own. Raises OSError."""
    mode = image.stat().st_mode & 0o777
    if mode != 0o444:
        with contextlib.suppress(PermissionError):  # it is another's, who keeps it as he likes
            image.chmod(0o444)
