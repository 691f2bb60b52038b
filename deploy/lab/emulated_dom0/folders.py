"""Where the lab keeps what it builds and what it runs: outside the checkout."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

CHECKOUT = Path(__file__).resolve().parents[3]
LAB_SOURCES = CHECKOUT / "deploy" / "lab"
GUEST_SOURCES = CHECKOUT / "deploy" / "guests"
DOM0_PROGRAMS = CHECKOUT / "deploy" / "dom0" / "out"


@dataclass(frozen=True)
class Folders:
    """`cache` survives restarts and may be deleted at any time while no lab runs."""

    root: Path

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def ssh_key(self) -> Path:
        return self.root / "ssh" / "id_ed25519"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Held while building, starting or stopping: one such command at a time."""
        with open(self.root / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"lab: waiting for another lab command on {self.root} to end", flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def lab_folders() -> Folders:
    """From MEGAFLEET_LAB_DIR, or the user's cache folder; made if absent."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    named = os.environ.get("MEGAFLEET_LAB_DIR")
    folders = Folders(Path(named) if named else Path(cache_home) / "megafleet" / "lab")
    try:
        for folder in (folders.cache, folders.run, folders.logs, folders.ssh_key.parent):
            folder.mkdir(parents=True, exist_ok=True)
        folders.ssh_key.parent.chmod(0o700)
    except OSError as error:
        raise LabError(
            f"cannot make the lab's folder {folders.root} ({error.strerror}); "
            "set MEGAFLEET_LAB_DIR to a place you may write to"
        ) from error
    return folders
