"""Certificates and keys as files: each whole at every moment, and none written through a link.

Their folders may belong to who must not be trusted with more, such as the users of etcd and of the
controller: what root does in them follows no link. What root writes belongs to whom the folder
belongs to: it is they who read it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fleet.private_file import flush_folder

PUBLIC, PRIVATE = 0o644, 0o600


def write_private(file: Path, content: bytes) -> None:
    """A file that nobody else can read at any moment. Raises OSError."""
    _put(file, content, PRIVATE)


def write_public(file: Path, content: bytes) -> None:
    """One that all may read. Raises OSError."""
    _put(file, content, PUBLIC)


def flush(*files: Path) -> None:
    """They and their names outlast a crash of the machine. Raises OSError."""
    for file in files:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    for folder in {file.parent for file in files}:
        flush_folder(folder)


def hand_over(folder: Path, owner: int, group: int) -> None:
    """The folder and all in it; of a link the link itself. Raises OSError."""
    for _, folders, files, opened in os.fwalk(folder, topdown=False):
        for name in (*folders, *files):
            os.chown(name, owner, group, dir_fd=opened, follow_symlinks=False)
    os.chown(folder, owner, group, follow_symlinks=False)


def close_to_others(folder: Path) -> None:
    """To all but its owner. Raises OSError, for a link as well."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchmod(opened, stat.S_IRWXU)
    finally:
        os.close(opened)


def _put(file: Path, content: bytes, mode: int) -> None:
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as opened:
        os.fchmod(descriptor, mode)
        if os.geteuid() == 0:
            owner = file.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        opened.write(content)
    os.replace(beside, file)
