"""What is looked after while clones run: the logs of their consoles, and of what QEMU says, are
bounded, what they take of memory is measured, templates that nobody uses go."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import structlog

from fleet_agent.drivers.consoles.file import bound
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors
from fleet_agent.drivers.qemu.folders import CONSOLE_LOG
from fleet_agent.drivers.qemu.hypervisor import QemuHypervisor
from fleet_agent.drivers.qemu.processes import QEMU_LOG

log = structlog.get_logger()

# Seconds between two sweeps.
INTERVAL = 15.0


@dataclass(slots=True)
class QemuSweep:
    """`limit` bytes of the disk, or of memory, for each log; 0 leaves them alone."""

    hypervisor: QemuHypervisor
    limit: int

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            with suppress(DriverError), as_driver_errors("sweep"):
                await self.sweep()

    async def sweep(self) -> None:
        """Once. Raises DriverError."""
        await self.hypervisor.measure()
        await self.hypervisor.starts.drop_unused()
        if not self.limit:
            return
        for folder in self.hypervisor.log_folders():
            for path in (folder / CONSOLE_LOG, folder / QEMU_LOG):
                try:
                    await asyncio.to_thread(bound, path, self.limit)
                except OSError as error:
                    log.warning("a log is not bounded", log=str(path), error=error.strerror)
