"""The acts on one domain: define, start, remember that it is ready, stop, undefine.

Blocking; each may run in any thread. Each looks first and acts only on a domain that carries
this very kin's mark; errors of libvirt become ActFailed here.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from fleet.template.bridges import joined_bridge, networks_of
from fleet.v1.types_pb2 import FIRMWARE_UEFI, LOADER_PVGRUB
from fleet_agent.core.domain.boot_elements import NO_UEFI, PVGRUB
from fleet_agent.core.domain.differences import differences
from fleet_agent.core.domain.disk_elements import defined_disk
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.domain_mark import (
    READY_NAMESPACE,
    START_NAMESPACE,
    ReadySeen,
    parse_mark,
    parse_ready,
    parse_restart,
    parsed,
    ready_xml,
    start_xml,
)
from fleet_agent.core.domain.domain_xml import domain_xml
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.domain.marks import foreign_mark
from fleet_agent.core.model import Batch, Phase
from fleet_agent.drivers.consoles.tail import ConsoleTail, discard, last_lines, set_aside
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.libvirt.binding import Connection, Domain, code_of, message_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection
from fleet_agent.drivers.libvirt.events import Lifecycle
from fleet_agent.drivers.libvirt.host_uefi import HostUefi
from fleet_agent.drivers.libvirt.reasons import (
    log_since,
    log_size,
    start_failure,
    xenconsoled_full,
)
from fleet_agent.drivers.libvirt.stalled import Stalled, is_restored, stalled_domains, standing
from fleet_agent.drivers.ports.errors import DriverError

INACTIVE = -1  # what virDomain.ID() answers for a domain that is not active

# Where the seed of a VM lies.
SeedPath = Callable[[Batch, int], str]


@dataclass(frozen=True, slots=True)
class HostPaths:
    """Files of the host: a guest's console log ("{name}" stands for the domain's name), the log
    of libvirt's Xen driver, and the id of this boot of the host."""

    console_log: str
    driver_log: Path
    boot_id: str

    def console(self, name: str) -> Path:
        return Path(self.console_log.replace("{name}", name))


@dataclass(frozen=True, slots=True)
class FoundDomain:
    """A domain as it was a moment ago, and its XML."""

    domain: Domain
    xml: etree._Element

    def is_of(self, batch: Batch, index: int) -> bool:
        marked = parse_mark(self.xml)
        return marked is not None and marked.is_of(batch, index)


@dataclass(frozen=True, slots=True)
class DomainLife:
    """One life of a domain: its id, whether it was seen ready, and the last readiness of any."""

    domain_id: int
    ready: bool
    last_ready: ReadySeen | None


class Domains:
    """Acts by name on the domains of one libvirt."""

    def __init__(
        self, link: LibvirtConnection, flavour: Flavour, host: HostPaths, seed_path: SeedPath
    ) -> None:
        self._link = link
        self._seed_path = seed_path
        self._flavour = flavour
        self._host = host
        self._uefi = HostUefi(link, flavour)

    def define(self, batch: Batch, disk_of: Callable[[Batch, int], Disk], index: int) -> None:
        """Define, read back, compare. What libvirt changed makes way for what was there before."""
        name = batch.fleet.domain_name(index)
        with self._acting("define", name) as connection:
            asked = self._asked(connection, batch, index, disk_of(batch, index))
            inactive = self._link.binding.VIR_DOMAIN_XML_INACTIVE
            found, before = self._find(connection, name, inactive), None
            if found is not None:
                _check_ours(found, batch, index)
                before = found.domain.XMLDesc(inactive)
                if not differences(asked, before):
                    return
            self._define_anew(connection, name, asked, before)

    def start(self, batch: Batch, index: int) -> None:
        """What is defined otherwise than it would be now, as after a change of the settings, is
        defined anew first."""
        name = batch.fleet.domain_name(index)
        with self._acting("start", name) as connection:
            found = self._find(connection, name)
            if found is None:
                raise ActFailed("not_defined", f"{name} is not defined in libvirt")
            _check_ours(found, batch, index)
            if found.domain.ID() != INACTIVE and self._goes_on(found.domain):
                return
            disk = defined_disk(found.xml, batch.spec.disk.target)
            asked = self._asked(connection, batch, index, disk)
            before = etree.tostring(found.xml, encoding="unicode")
            if differences(asked, before):
                self._define_anew(connection, name, asked, before)
                found = self._find(connection, name) or found
            if parse_ready(found.xml) is not None:
                self._forget_ready(found.domain)
            restart = batch.restart_of(index)
            if restart != parse_restart(found.xml):
                self._set_restart(found.domain, restart)
            if self._flavour.is_qemu:
                self._make_console_folder(name)
            if batch.spec.readiness.console_pattern:
                self._set_console_aside(name)
            size = log_size(self._host.driver_log)
            self._link.expected.expect(name, Lifecycle.STARTED)
            try:
                found.domain.createWithFlags(0)
            except self._link.binding.libvirtError as error:
                if found.domain.isActive():
                    return
                self._link.expected.withdraw(name, Lifecycle.STARTED)
                log = log_since(self._host.driver_log, size)
                kind, reason = start_failure(message_of(error), log)
                if kind == "console" and (full := xenconsoled_full()):
                    reason = f"{reason} ({full})"
                if missing := self._missing_file(batch):
                    kind, reason = "kernel", missing
                elif missing := self._missing_bridge(batch):
                    kind, reason = "network", missing
                raise ActFailed(kind, f"cannot start {name}: {reason}") from error

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

    def _asked(self, connection: Connection, batch: Batch, index: int, disk: Disk) -> str:
        """The definition as it is to be."""
        log = str(self._host.console(batch.fleet.domain_name(index)))
        wanted = batch.spec.boot.firmware == FIRMWARE_UEFI
        uefi = self._uefi.files(connection) if wanted else None
        if wanted and uefi is None:
            raise ActFailed("firmware_missing", f"boot.firmware: {NO_UEFI}", retry=False)
        try:
            seed = self._seed_path(batch, index) if batch.spec.HasField("identity") else None
            return domain_xml(batch, index, disk, self._flavour, log, uefi, seed)
        except ValueError as error:
            raise ActFailed("bad_spec", str(error), retry=False) from error

    def _define_anew(
        self, connection: Connection, name: str, asked: str, before: str | None
    ) -> None:
        """`before`: the definition that there was. Where libvirt changes the new one it stays, with
        what libvirt keeps for it; without one nothing stays."""
        domain = self._defined(connection, name, asked)
        changes = differences(asked, domain.XMLDesc(self._link.binding.VIR_DOMAIN_XML_INACTIVE))
        if not changes:
            return
        if before is not None:
            self._defined(connection, name, before)
        elif domain.ID() == INACTIVE:
            self._undefine(domain)
        raise ActFailed(
            "bad_spec",
            f"libvirt changed the definition of {name}: {'; '.join(changes)}",
            retry=False,
        )

    def life(self, batch: Batch, index: int) -> DomainLife:
        """The life that the domain now has.

        Raises ActFailed ("died") when the domain is not active, or not this kin's.
        """
        name = batch.fleet.domain_name(index)
        with self._acting("look at", name) as connection:
            found = self._living(connection, batch, index)
            seen, domain_id = parse_ready(found.xml), found.domain.ID()
            # What was saved once it was ready is so when it is restored: its id alone is another.
            ready = is_life(seen, self._host.boot_id, domain_id) or (
                seen is not None and is_restored(found.domain)
            )
            return DomainLife(domain_id, ready, seen)

    def remember_ready(self, batch: Batch, tails: dict[int, ConsoleTail], index: int) -> None:
        """Write the readiness with the domain, live and for its next life."""
        name = batch.fleet.domain_name(index)
        with self._acting("mark as ready", name) as connection:
            found = self._living(connection, batch, index)
            domain_id = found.domain.ID()
            if is_life(parse_ready(found.xml), self._host.boot_id, domain_id):
                return
            tail = tails.get(index)
            inode, read = (tail.inode, tail.read) if tail else (0, 0)
            seen = ReadySeen(self._host.boot_id, domain_id, inode, read)
            self._set_ready(found.domain, ready_xml(seen), live=True)

    def stop(self, batch: Batch, index: int) -> None:
        name = batch.fleet.domain_name(index)
        with self._acting("stop", name) as connection:
            found = self._find(connection, name)
            if found is not None and found.is_of(batch, index):
                self._stop(found.domain)

    def undefine(self, batch: Batch, index: int) -> None:
        name = batch.fleet.domain_name(index)
        with self._acting("undefine", name) as connection:
            found = self._find(connection, name)
            if found is not None and found.is_of(batch, index):
                self._stop(found.domain)
                self._undefine(found.domain)
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

    @contextlib.contextmanager
    def _acting(self, verb: str, name: str) -> Iterator[Connection]:
        try:
            with self._link.talk() as connection:
                yield connection
        except self._link.binding.libvirtError as error:
            raise ActFailed(
                "hypervisor_error", f"cannot {verb} {name}: {message_of(error)}"
            ) from error

    def _find(self, connection: Connection, name: str, flags: int = 0) -> FoundDomain | None:
        """The domain of this name, whosever it is; None when there is none, or no longer."""
        try:
            domain = connection.lookupByName(name)
            return FoundDomain(domain, parsed(domain.XMLDesc(flags)))
        except self._link.binding.libvirtError as error:
            if code_of(error) != self._link.binding.VIR_ERR_NO_DOMAIN:
                raise
            return None

    def _living(self, connection: Connection, batch: Batch, index: int) -> FoundDomain:
        name = batch.fleet.domain_name(index)
        found = self._find(connection, name)
        if found is None or found.domain.ID() == INACTIVE or not found.is_of(batch, index):
            end = ""
            if batch.spec.readiness.console_pattern:
                end = f"; {last_lines(self._host.console(name))}"
            raise ActFailed("died", f"{name} is not running any more{end}")
        return found

    def _defined(self, connection: Connection, name: str, asked: str) -> Domain:
        try:
            return connection.defineXML(asked)
        except self._link.binding.libvirtError as error:
            message = message_of(error)
            if "already" in message and "uuid" in message:
                raise ActFailed(
                    "conflict",
                    f"a domain that is not ours has the name or the UUID of {name}: {message}",
                    retry=False,
                ) from error
            raise

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

    def _undefine(self, domain: Domain) -> None:
        self._link.expected.expect(domain.name(), Lifecycle.UNDEFINED)
        try:
            domain.undefineFlags(self._with_all())
        except self._link.binding.libvirtError as error:
            self._link.expected.withdraw(domain.name(), Lifecycle.UNDEFINED)
            if code_of(error) != self._link.binding.VIR_ERR_NO_DOMAIN:
                raise

    def _with_all(self) -> int:
        """Flags that undefine a domain with what libvirt keeps for it; Xen's driver keeps no
        variables of UEFI and refuses to be told so."""
        binding = self._link.binding
        flags = binding.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        return flags | binding.VIR_DOMAIN_UNDEFINE_NVRAM if self._flavour.is_qemu else flags

    def _forget_ready(self, domain: Domain) -> None:
        """Before a new life: its console's log begins anew as well."""
        self._set_ready(domain, None, live=False)

    def _set_ready(self, domain: Domain, xml: str | None, *, live: bool) -> None:
        binding = self._link.binding
        flags = binding.VIR_DOMAIN_AFFECT_CONFIG
        if live:
            flags |= binding.VIR_DOMAIN_AFFECT_LIVE
        domain.setMetadata(
            binding.VIR_DOMAIN_METADATA_ELEMENT, xml, "ready", READY_NAMESPACE, flags
        )

    def _set_restart(self, domain: Domain, restart: int) -> None:
        """While it is down, so that what runs was started for no less than it says."""
        binding = self._link.binding
        domain.setMetadata(
            binding.VIR_DOMAIN_METADATA_ELEMENT,
            start_xml(restart) if restart else None,
            "start",
            START_NAMESPACE,
            binding.VIR_DOMAIN_AFFECT_CONFIG,
        )

    def _make_console_folder(self, name: str) -> None:
        """libvirt makes none; a user's own session has none to begin with."""
        folder = self._host.console(name).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ActFailed(
                "hypervisor_error",
                f"cannot make {folder}, where {name}'s console is to be logged: {error.strerror}",
            ) from error

    def _set_console_aside(self, name: str) -> None:
        log = self._host.console(name)
        try:
            set_aside(log)
        except OSError as error:
            raise ActFailed(
                "hypervisor_error", f"cannot set aside {log}, {name}'s old console log: {error}"
            ) from error

    def _missing_file(self, batch: Batch) -> str:
        """What the spec asks for and this host has not, in words. The test driver opens none."""
        if self._flavour is Flavour.TEST:
            return ""
        boot = batch.spec.boot
        loader = PVGRUB if boot.loader == LOADER_PVGRUB else ""
        files = (("kernel", boot.kernel), ("initrd", boot.initrd), ("boot.loader", loader))
        for what, path in files:
            if path and not os.path.exists(path):
                return f"the {what} {path} is not on this host"
        return ""

    def _missing_bridge(self, batch: Batch) -> str:
        """As for files."""
        if self._flavour is Flavour.TEST:
            return ""
        for bridge in map(joined_bridge, networks_of(batch.spec)):
            try:
                socket.if_nametoindex(bridge)
            except OSError:
                return f"the bridge {bridge} is not on this host"
        return ""


def is_life(seen: ReadySeen | None, boot_id: str, domain_id: int) -> bool:
    """Whether a readiness was seen of the life that the domain now has."""
    return seen is not None and (seen.boot_id, seen.domain_id) == (boot_id, domain_id)


def _check_ours(found: FoundDomain, batch: Batch, index: int) -> None:
    if whose := foreign_mark(parse_mark(found.xml), batch, index):
        raise ActFailed(
            "conflict",
            f"a domain {whose} has the name {batch.fleet.domain_name(index)}; it is left alone",
            retry=False,
        )
