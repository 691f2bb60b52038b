"""The file of a bundle: it has its name once it is whole, and is not there otherwise."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fleet.private_file import open_draft
from fleetctl.outcome import Failed, Trouble
from fleetctl.support.anonymity import Anonymity
from fleetctl.support.names import KINDS, names_in
from fleetctl.support.parts import Part
from fleetctl.support.redaction import clean, without_secrets

# Of one part, before it is compressed.
MOST_BYTES = 8 * 1024 * 1024


def gathered(
    parts: Iterable[Part], tell: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What each part has, without secrets; and why others could not be had, by their names. Raises
    Trouble where none can."""
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    trouble: Trouble | None = None
    for part in parts:
        tell(part.says)
        try:
            found[part.name] = without_secrets(part.ask())
        except Trouble as error:
            missing[part.name] = clean(error.message)
            trouble = trouble or error
    if trouble is not None and not found:
        raise trouble
    return found, missing


def anonymity_of(found: dict[str, Any], known: Mapping[str, Iterable[str]]) -> Anonymity:
    """Names are those that are `known`, by what they are of, and those that the parts tell of."""
    told = names_in(found)
    return Anonymity({kind: {*known.get(kind, ()), *told.get(kind, ())} for kind in KINDS})


def check_free(path: Path, *, force: bool) -> None:
    """Raises Failed where a file is there that is not to be overwritten."""
    if path.exists() and not force:
        raise Failed(f"{path} is there already; --force overwrites it")


def write_bundle(
    path: Path,
    found: dict[str, Any],
    missing: dict[str, str],
    anonymity: Anonymity | None,
    *,
    force: bool,
) -> list[tuple[str, int]]:
    """The files in it, with their sizes. Raises Failed."""
    check_free(path, force=force)
    draft = path.with_name(f"{path.name}.part")
    try:
        with os.fdopen(open_draft(draft), "wb") as opened:
            try:
                files = _write(opened, found, missing, anonymity)
                opened.flush()
                os.fsync(opened.fileno())
                os.replace(draft, path)
            except BaseException:
                # Before it is closed: after that one of that name may be another's.
                with suppress(OSError):
                    draft.unlink()
                raise
    except BlockingIOError as error:
        raise Failed(f"another bundle is being written to {draft}") from error
    except OSError as error:
        raise Failed(f"cannot write {draft}: {error.strerror}") from error
    return files


def _write(
    opened: io.BufferedWriter,
    found: dict[str, Any],
    missing: dict[str, str],
    anonymity: Anonymity | None,
) -> list[tuple[str, int]]:
    files: list[tuple[str, int]] = []
    with tarfile.open(fileobj=opened, mode="w:gz") as archive:
        for name, value in found.items():
            if anonymity is not None:
                name, value = anonymity.text(name), anonymity.document(value)
            files.append(_add(archive, name, _content(value)))
        manifest = {
            "files": [{"name": name, "bytes": size} for name, size in files],
            "missing": anonymity.document(missing) if anonymity else missing,
            "anonymous": anonymity is not None,
        }
        files.append(_add(archive, "manifest.json", _content(manifest)))
    return files


def _content(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, indent=1, default=str)
    content = text.encode(errors="replace")
    if len(content) <= MOST_BYTES:
        return content
    return content[:MOST_BYTES] + b"\n(cut here: the rest is left out)\n"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> tuple[str, int]:
    entry = tarfile.TarInfo(f"support/{name}")
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(content))
    return name, len(content)
