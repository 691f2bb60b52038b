"""One agent alone works with a ledger and with a folder of clones.

Two with one ledger would each undo what the other has been told, and sweep away what the other
has half made. The lock is on the folder itself: it leaves no file, needs no room on the disk, and
ends with its process however that ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NotAlone(Exception):
    """Another agent runs with what is this one's; one sentence."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the folder until the end. One that is not there is nobody's, and told of by whoever
    needs it. Raises NotAlone."""
    folder = folder.resolve()
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise NotAlone(
            f"another agent works with {folder}: stop it, or give this one a ledger and a "
            "storage.parent in folders of its own"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
