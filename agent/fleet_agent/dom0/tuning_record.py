"""What was there before tuning changed it, on disk before anything is changed."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class TuningError(Exception):
    """The record cannot be read or written, so nothing was changed; one sentence."""


class FilesBefore(msgspec.Struct):
    """Limits of open files of one process, known by its pid and when it was started."""

    pid: int
    started: str
    soft: int
    hard: int


class TuningRecord(msgspec.Struct):
    """The first original of everything: by path, by daemon. None: there was no such file."""

    values: dict[str, str] = {}
    files: dict[str, str | None] = {}
    folders: list[str] = []  # made for files of ours
    daemons: dict[str, FilesBefore] = {}
    block_script: bool = False  # whether ours was put in place

    @property
    def empty(self) -> bool:
        return not (self.values or self.files or self.folders or self.daemons or self.block_script)


class TuningRecordFile:
    """Blocking."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> TuningRecord:
        """An empty one while nothing was ever changed. Raises TuningError."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=TuningRecord)
        except FileNotFoundError:
            return TuningRecord()
        except OSError as error:
            raise TuningError(f"cannot read {self._path}: {error.strerror}") from error
        except msgspec.MsgspecError as error:
            raise TuningError(
                f"{self._path} is broken ({error}): what was there before tuning is not known"
            ) from error

    def save(self, record: TuningRecord) -> None:
        """Atomically, and through to the disk; an empty one takes the file away. Raises
        TuningError."""
        try:
            if record.empty:
                self._path.unlink(missing_ok=True)
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, msgspec.json.format(msgspec.json.encode(record)))
        except OSError as error:
            raise TuningError(f"cannot write {self._path}: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """The old text or the new one, never a part of it. Readable by all. Raises OSError."""
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
