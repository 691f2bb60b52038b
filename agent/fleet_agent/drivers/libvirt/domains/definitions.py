"""Definitions of domains: made, read back, compared, removed with what libvirt keeps for them."""

from __future__ import annotations

from collections.abc import Callable

from fleet.v1.types_pb2 import FIRMWARE_UEFI
from fleet_agent.core.domain.boot_elements import NO_UEFI
from fleet_agent.core.domain.differences import differences
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.domain.domain_xml import domain_xml
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import Batch
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.libvirt.binding import Connection, Domain, code_of, message_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection
from fleet_agent.drivers.libvirt.domains.found import INACTIVE, HostPaths
from fleet_agent.drivers.libvirt.events import Lifecycle
from fleet_agent.drivers.libvirt.host_uefi import HostUefi

# Where the seed of a VM lies.
SeedPath = Callable[[Batch, int], str]


class Definitions:
    """Those of one libvirt."""

    def __init__(
        self, link: LibvirtConnection, flavour: Flavour, host: HostPaths, seed_path: SeedPath
    ) -> None:
        self._link = link
        self._seed_path = seed_path
        self._flavour = flavour
        self._host = host
        self._uefi = HostUefi(link, flavour)

    def asked(self, connection: Connection, batch: Batch, index: int, disk: Disk) -> str:
        """The definition as it is to be. Raises ActFailed."""
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

    def define_anew(
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
            self.undefine(domain)
        raise ActFailed(
            "bad_spec",
            f"libvirt changed the definition of {name}: {'; '.join(changes)}",
            retry=False,
        )

    def undefine(self, domain: Domain) -> None:
        self._link.expected.expect(domain.name(), Lifecycle.UNDEFINED)
        try:
            domain.undefineFlags(self._with_all())
        except self._link.binding.libvirtError as error:
            self._link.expected.withdraw(domain.name(), Lifecycle.UNDEFINED)
            if code_of(error) != self._link.binding.VIR_ERR_NO_DOMAIN:
                raise

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

    def _with_all(self) -> int:
        """Flags that undefine a domain with what libvirt keeps for it; Xen's driver keeps no
        variables of UEFI and refuses to be told so."""
        binding = self._link.binding
        flags = binding.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        return flags | binding.VIR_DOMAIN_UNDEFINE_NVRAM if self._flavour.is_qemu else flags
