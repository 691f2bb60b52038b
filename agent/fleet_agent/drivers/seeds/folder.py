"""Seeds as files of one folder. A seed is written under a temporary name, flushed, and only then
given its own: whatever has that name is whole. Temporary files of a killed agent are swept.

Only the agent's user may read one (it may hold passwords); libvirt gives it to the guest's QEMU.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from fleet.ranges import IndexSet
from fleet_agent.core.model import Batch, StepFailure, StepResult
from fleet_agent.core.seed.seed_files import SeedWriter
from fleet_agent.core.seed.seed_name import SeedName, read_seed_name, seed_file_name
from fleet_agent.drivers.ports.errors import NO_ROOM, DriverError
from fleet_agent.drivers.seeds.iso_image import iso_image

log = structlog.get_logger()

PART_SUFFIX = ".part"


class SeedFolder:
    """The Seeds port over one folder, which is made when first used."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder).absolute()
        self._writing = threading.Lock()
        self._pool = ThreadPoolExecutor(2, "seeds")

    def path(self, batch: Batch, index: int) -> str:
        return str(self._folder / seed_file_name(batch, index))

    async def make(self, batch: Batch) -> StepResult:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._make, batch)

    async def listing(self) -> frozenset[SeedName]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._listing)

    async def remove(self, seeds: Collection[SeedName]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self._remove, seeds)

    async def close(self) -> None:
        """Wait for what threads have begun."""
        await asyncio.to_thread(self._pool.shutdown)

    def _make(self, batch: Batch) -> StepResult:
        """One batch after another: a seed has one temporary name."""
        with self._writing:
            missing = [index for index in batch.indices if not self._exists(batch, index)]
            if not missing:
                return StepResult(batch.indices)
            failures = tuple(self._made(batch, missing))
        failed = IndexSet.of(failure.index for failure in failures)
        return StepResult(batch.indices - failed, failures)

    def _exists(self, batch: Batch, index: int) -> bool:
        try:
            return os.path.exists(self.path(batch, index))
        except ValueError:
            return False

    def _made(self, batch: Batch, missing: list[int]) -> list[StepFailure]:
        """Make them; what failed."""
        try:
            writer = SeedWriter(batch)
        except ValueError as error:
            return [StepFailure(i, "bad_spec", f"identity: {error}", retry=False) for i in missing]
        failures = []
        for index in missing:
            try:
                self._write(Path(self.path(batch, index)), iso_image(writer.files(index)))
            except ValueError as error:
                failures.append(StepFailure(index, "bad_spec", f"identity: {error}", retry=False))
            except OSError as error:
                failures.append(_refusal(error, index, self._folder))
        if len(failures) < len(missing):
            try:
                self._flush_folder()
            except OSError as error:
                return [_refusal(error, index, self._folder) for index in missing]
        return failures

    def _write(self, seed: Path, content: bytes) -> None:
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        part = seed.with_name(f".{seed.name}{PART_SUFFIX}")
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.rename(seed)
        finally:
            part.unlink(missing_ok=True)

    def _flush_folder(self) -> None:
        """Make the new names outlast a crash of the host."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _listing(self) -> frozenset[SeedName]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise DriverError(
                f"cannot list the seeds in {self._folder}: {error.strerror}"
            ) from error
        self._sweep_parts([name for name in names if name.endswith(PART_SUFFIX)])
        return frozenset(one for name in names if (one := read_seed_name(name)) is not None)

    def _sweep_parts(self, parts: Collection[str]) -> None:
        if not parts or not self._writing.acquire(blocking=False):
            return
        try:
            for name in parts:
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink()
        finally:
            self._writing.release()

    def _remove(self, seeds: Collection[SeedName]) -> None:
        if not seeds:
            return
        try:
            for name in os.listdir(self._folder):
                if read_seed_name(name) in seeds:
                    (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            # The next listing tries again; a seed without its VM does no harm meanwhile.
            log.warning("seeds stay behind", folder=str(self._folder), error=error.strerror)


def _refusal(error: OSError, index: int, folder: Path) -> StepFailure:
    kind = "no_space" if error.errno in NO_ROOM else "storage_error"
    return StepFailure(index, kind, f"cannot make a seed in {folder}: {error.strerror}")
