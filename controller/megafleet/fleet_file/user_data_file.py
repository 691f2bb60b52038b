"""User data from a file next to the fleet file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fleet.spec_texts import MAX_USER_DATA_BYTES


def read_user_data(folder: Path, path: str) -> str:
    """Raises ValueError saying what is wrong with the file. No device or pipe is waited for."""
    where = folder / path
    try:
        descriptor = os.open(where, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError(f"{where} is no file")
            content = file.read(MAX_USER_DATA_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise ValueError(f"cannot read {where}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not UTF-8 text") from error
    if len(content) > MAX_USER_DATA_BYTES:
        raise ValueError(f"{where} is larger than {MAX_USER_DATA_BYTES // 1024} KiB")
    return text
