"""One agent alone works with a ledger and with a folder of clones.

Two with one ledger would each undo what the other has been told, and sweep away what the other
has half made. The lock is on the folder itself: it leaves no file, needs no room on the disk, and
ends with its process however that ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fleet_agent.daemon.settings import Settings


class NotAlone(Exception):
    """Another agent runs with what is this one's; one sentence."""


def own_folders(asked: Settings) -> list[Path]:
    """That of the ledger, and that of the clones where they are files."""
    folders = [Path(asked.ledger).parent]
    if asked.storage.kind != "zfs":
        folders.append(Path(asked.storage.parent))
    return folders


@contextmanager
def alone(folders: Iterable[Path]) -> Iterator[None]:
    """Holds the folders until the end. One that is not there is nobody's, and told of by whoever
    needs it. Raises NotAlone."""
    with ExitStack() as held:
        for folder in dict.fromkeys(one.resolve() for one in folders):
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            held.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise NotAlone(
                    f"another agent works with {folder}: stop it, or give this one a ledger and a "
                    "storage.parent in folders of its own"
                ) from error
        yield
