"""The folders that this host's kernels are in, read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import structlog

from fleet.v1 import types_pb2 as types
from fleet_agent.core.holdings import kernels_held

log = structlog.get_logger()


class KernelFolders:
    """One that is not there has no files; one that cannot be read is not told."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._folders = [os.path.normpath(folder) for folder in folders]
        self._unread: set[str] = set()  # told once each

    async def look(self) -> types.KernelsHeld:
        return await asyncio.to_thread(self.read)

    def read(self) -> types.KernelsHeld:
        """Blocking."""
        found = {}
        for folder in self._folders:
            try:
                found[folder] = [one.name for one in Path(folder).iterdir() if one.is_file()]
            except FileNotFoundError:
                found[folder] = []
            except OSError as error:
                if folder not in self._unread:
                    self._unread.add(folder)
                    why = error.strerror
                    log.warning("a folder of kernels cannot be read", folder=folder, error=why)
        return kernels_held(found)
