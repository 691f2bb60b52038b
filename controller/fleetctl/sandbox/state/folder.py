"""The folder of one sandbox: where everything in it lies, and who may work on it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetctl.sandbox.errors import SandboxBusyError
from fleetctl.sandbox.state.record import Record, check_name, decode, encode


def base_folder(environment: Mapping[str, str]) -> Path:
    """Where a user's sandboxes lie: under XDG_STATE_HOME, else ~/.local/state."""
    state = environment.get("XDG_STATE_HOME", "")
    # The XDG base directory specification: a relative path is to be ignored.
    root = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return root / "megafleet" / "sandbox"


@dataclass(frozen=True, slots=True)
class Folder:
    path: Path

    @classmethod
    def of(cls, name: str, environment: Mapping[str, str]) -> Folder:
        """Raises SandboxError for a name that cannot be one."""
        return cls(base_folder(environment) / check_name(name))

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def certificates(self) -> Path:
        return self.path / "certificates"

    @property
    def record_file(self) -> Path:
        return self.path / "sandbox.json"

    @property
    def binding(self) -> Path:
        """Where libvirt's Python binding is lent to the agent."""
        return self.path / "binding"

    def state_of(self, part: str) -> Path:
        """The part's own folder; made when the part is started."""
        return self.path / part

    def ready_file(self, part: str) -> Path:
        return self.path / f"{part}.ready"

    def log_of(self, part: str) -> Path:
        return self.path / "log" / f"{part}.log"

    def load(self) -> Record | None:
        """None if there is no sandbox. Raises SandboxError if its record is not readable."""
        try:
            content = self.record_file.read_bytes()
        except FileNotFoundError:
            return None
        return decode(content, str(self.record_file))

    def save(self, record: Record) -> None:
        """Whole or not at all. Raises OSError."""
        draft = self.record_file.with_suffix(".new")
        draft.write_bytes(encode(record))
        draft.replace(self.record_file)

    def clear(self) -> None:
        """Removes all that is in the folder, the record first. Raises OSError."""
        self.record_file.unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder if need be and holds it alone. Raises SandboxBusyError.

        Left empty, it is removed in the end, with those above it that were made for it. The lock
        is on the folder itself: it leaves no file, and ends with its process.
        """
        descriptor = self._hold()
        try:
            yield
        finally:
            self._remove_empty()
            os.close(descriptor)

    def _hold(self) -> int:
        while True:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current(descriptor):
                    return descriptor
            except BlockingIOError as error:
                os.close(descriptor)
                raise SandboxBusyError(
                    f"another fleetctl is working on sandbox '{self.name}' ({self.path}): "
                    f"wait for it to end, or interrupt it"
                ) from error
            os.close(descriptor)

    def _remove_empty(self) -> None:
        for folder in (self.path, *self.path.parents[:2]):
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                    raise
                return

    def _is_current(self, descriptor: int) -> bool:
        """Whether the locked folder is still the one at the path: it may have been removed."""
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False
