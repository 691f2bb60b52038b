"""Bounds the logs of our guests' consoles: xenconsoled appends to them for ever."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import structlog

from fleet_agent.drivers.consoles.file import bound
from fleet_agent.drivers.libvirt.binding import message_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection
from fleet_agent.drivers.libvirt.domains.found import HostPaths
from fleet_agent.drivers.libvirt.marks import OurDomains
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors

log = structlog.get_logger()

# Seconds between two sweeps. A guest's log may grow beyond its bound by what it prints in that
# time.
INTERVAL = 15.0


@dataclass(slots=True)
class ConsoleSweep:
    """`limit` bytes of the disk for each log; 0 leaves them alone."""

    link: LibvirtConnection
    host: HostPaths
    ours: OurDomains
    limit: int

    async def run(self) -> None:
        """Until cancelled."""
        if not self.limit:
            return
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, "console-sweep")
        try:
            while True:
                # First the wait: an agent that begins has more urgent things to ask of libvirt.
                await asyncio.sleep(INTERVAL)
                with suppress(DriverError), as_driver_errors("console sweep"):
                    await loop.run_in_executor(thread, self.sweep)
        finally:
            thread.shutdown(wait=False)

    def sweep(self) -> int:
        """Once; how many logs were too long. Blocking. What cannot be done now is logged, and
        left to the next sweep."""
        try:
            with self.link.talk() as connection:
                names = [domain.name() for domain, _ in self.ours.listed(connection)]
        except DriverError as error:
            log.warning("console logs are not bounded", error=str(error))
            return 0
        except self.link.binding.libvirtError as error:
            log.warning("console logs are not bounded", error=message_of(error))
            return 0
        return sum(self._bound(name) for name in names)

    def _bound(self, name: str) -> bool:
        path = self.host.console(name)
        try:
            return bound(path, self.limit) > 0
        except OSError as error:
            log.warning("a console log is not bounded", log=str(path), error=error.strerror)
            return False
