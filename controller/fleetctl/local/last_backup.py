"""When the store was last backed up from here: a note beside fleetctl's contexts file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_NAME = "last-backup.json"


def note_last(folder: Path, file: Path, size: int, digest: str, taken: float) -> None:
    """What cannot be noted is no reason for a backup to fail."""
    said = {"file": str(file.absolute()), "bytes": size, "sha256": digest, "taken_unix": int(taken)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"{_NAME}.new"
        draft.write_text(json.dumps(said))
        draft.replace(folder / _NAME)
    except OSError:
        return


def read_last(folder: Path) -> dict[str, Any] | None:
    """None where none was, or the note does not read."""
    try:
        said = json.loads((folder / _NAME).read_text())
        return {
            "file": str(said["file"]),
            "bytes": int(said["bytes"]),
            "sha256": str(said["sha256"]),
            "taken_unix": int(said["taken_unix"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None
