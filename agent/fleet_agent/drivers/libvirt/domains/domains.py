"""The acts on one domain: define, start, stop, undefine.

Blocking; each may run in any thread. Each looks first and acts only on a domain that carries
this very kin's mark; errors of libvirt become ActFailed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lxml import etree

from fleet_agent.core.domain.differences import differences
from fleet_agent.core.domain.disk_elements import defined_disk
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.domain_mark import parse_ready, parse_restart
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch, Phase
from fleet_agent.drivers.consoles.tail import discard
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.libvirt.binding import Domain, code_of, message_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection
from fleet_agent.drivers.libvirt.domains.definitions import Definitions, SeedPath
from fleet_agent.drivers.libvirt.domains.found import (
    INACTIVE,
    FoundDomains,
    HostPaths,
    check_ours,
)
from fleet_agent.drivers.libvirt.domains.host_needs import (
    make_console_folder,
    missing_bridge,
    missing_file,
    set_console_aside,
)
from fleet_agent.drivers.libvirt.domains.lives import Lives
from fleet_agent.drivers.libvirt.events import Lifecycle
from fleet_agent.drivers.libvirt.reasons import (
    log_since,
    log_size,
    start_failure,
    xenconsoled_full,
)
from fleet_agent.drivers.libvirt.stalled import Stalled, stalled_domains, standing
from fleet_agent.drivers.ports.errors import DriverError


class Domains:
    """Acts by name on the domains of one libvirt. `lives`: what is remembered with them."""

    def __init__(
        self, link: LibvirtConnection, flavour: Flavour, host: HostPaths, seed_path: SeedPath
    ) -> None:
        self._link = link
        self._flavour = flavour
        self._host = host
        self._found = FoundDomains(link, host)
        self._definitions = Definitions(link, flavour, host, seed_path)
        self.lives = Lives(link, host, self._found)

    def define(self, batch: Batch, disk_of: Callable[[Batch, int], Disk], index: int) -> None:
        """Define, read back, compare. What libvirt changed makes way for what was there before."""
        name = batch.fleet.domain_name(index)
        with self._found.acting("define", name) as connection:
            asked = self._definitions.asked(connection, batch, index, disk_of(batch, index))
            inactive = self._link.binding.VIR_DOMAIN_XML_INACTIVE
            found, before = self._found.by_name(connection, name, inactive), None
            if found is not None:
                check_ours(found, batch, index)
                before = found.domain.XMLDesc(inactive)
                if not differences(asked, before):
                    return
            self._definitions.define_anew(connection, name, asked, before)

    def start(self, batch: Batch, index: int) -> None:
        """What is defined otherwise than it would be now, as after a change of the settings, is
        defined anew first."""
        name = batch.fleet.domain_name(index)
        with self._found.acting("start", name) as connection:
            found = self._found.by_name(connection, name)
            if found is None:
                raise ActFailed("not_defined", f"{name} is not defined in libvirt")
            check_ours(found, batch, index)
            if found.domain.ID() != INACTIVE and self._goes_on(found.domain):
                return
            disk = defined_disk(found.xml, batch.spec.disk.target)
            asked = self._definitions.asked(connection, batch, index, disk)
            before = etree.tostring(found.xml, encoding="unicode")
            if differences(asked, before):
                self._definitions.define_anew(connection, name, asked, before)
                found = self._found.by_name(connection, name) or found
            if parse_ready(found.xml) is not None:
                self.lives.forget_ready(found.domain)
            restart = batch.restart_of(index)
            if restart != parse_restart(found.xml):
                self.lives.set_restart(found.domain, restart)
            if self._flavour.is_qemu:
                make_console_folder(self._host, name)
            if batch.spec.readiness.console_pattern:
                set_console_aside(self._host, name)
            size = log_size(self._host.driver_log)
            self._link.expected.expect(name, Lifecycle.STARTED)
            try:
                found.domain.createWithFlags(0)
            except self._link.binding.libvirtError as error:
                if found.domain.isActive():
                    return
                self._link.expected.withdraw(name, Lifecycle.STARTED)
                raise self._refused(batch, name, message_of(error), size) from error

    def stop(self, batch: Batch, index: int) -> None:
        name = batch.fleet.domain_name(index)
        with self._found.acting("stop", name) as connection:
            found = self._found.by_name(connection, name)
            if found is not None and found.is_of(batch, index):
                self._stop(found.domain)

    def undefine(self, batch: Batch, index: int) -> None:
        name = batch.fleet.domain_name(index)
        with self._found.acting("undefine", name) as connection:
            found = self._found.by_name(connection, name)
            if found is not None and found.is_of(batch, index):
                self._stop(found.domain)
                self._definitions.undefine(found.domain)
                discard(self._host.console(name))

    def active(self) -> tuple[frozenset[str], Mapping[str, Stalled]]:
        """The names of all active domains, and what keeps some of them from running. Raises
        DriverError."""
        flags = self._link.binding.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        try:
            with self._link.talk() as connection:
                names = frozenset(domain.name() for domain in connection.listAllDomains(flags))
                return names, stalled_domains(self._link, connection)
        except self._link.binding.libvirtError as error:
            raise DriverError(f"cannot list the active domains: {message_of(error)}") from error

    def console(self, batch: Batch, index: int) -> Path:
        return self._host.console(batch.fleet.domain_name(index))

    def _refused(self, batch: Batch, name: str, message: str, logged: int) -> ActFailed:
        """`logged`: so long was the log of libvirt's Xen driver before."""
        log = log_since(self._host.driver_log, logged)
        kind, reason = start_failure(message, log)
        if kind == "console" and (full := xenconsoled_full()):
            reason = f"{reason} ({full})"
        if self._flavour is Flavour.TEST:  # it opens no file and joins no bridge
            pass
        elif missing := missing_file(batch):
            kind, reason = "kernel", missing
        elif missing := missing_bridge(batch):
            kind, reason = "network", missing
        return ActFailed(kind, f"cannot start {name}: {reason}")

    def _goes_on(self, domain: Domain) -> bool:
        """Whether an active domain is left as it is, or was let go on. One that cannot go on after
        an error is ended."""
        stalled = standing(domain)
        if stalled is None or stalled.phase is not Phase.HALTED:
            return True
        if stalled.resumable:
            self._link.expected.expect(domain.name(), Lifecycle.RESUMED)
            try:
                domain.resume()
                return True
            except self._link.binding.libvirtError:
                self._link.expected.withdraw(domain.name(), Lifecycle.RESUMED)
        self._stop(domain)
        return False

    def _stop(self, domain: Domain) -> None:
        if domain.ID() == INACTIVE:
            return
        self._link.expected.expect(domain.name(), Lifecycle.STOPPED)
        try:
            domain.destroy()
        except self._link.binding.libvirtError as error:
            self._link.expected.withdraw(domain.name(), Lifecycle.STOPPED)
            if code_of(error) != self._link.binding.VIR_ERR_NO_DOMAIN and domain.isActive():
                raise
