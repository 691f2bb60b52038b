"""UEFI for guests, as this host has it."""

from __future__ import annotations

import os

from fleet_agent.core.domain.boot_elements import UefiFiles
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.domain.uefi_files import uefi_files
from fleet_agent.drivers.libvirt.binding import Connection, code_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection


class HostUefi:
    """Looked for until it is there: a host may be given it while the agent runs."""

    def __init__(self, link: LibvirtConnection, flavour: Flavour) -> None:
        self._link = link
        self._flavour = flavour
        self._found: UefiFiles | None = None

    def files(self, connection: Connection) -> UefiFiles | None:
        """None where the host has none. libvirt's errors pass."""
        if self._found is None:
            told = self._capabilities(connection)
            self._found = uefi_files(told, self._flavour, os.path.exists)
        return self._found

    def _capabilities(self, connection: Connection) -> str:
        """What libvirt says that it can make here; empty where its driver does not tell."""
        kind = None if self._flavour is Flavour.TEST else self._flavour.value
        machine = "xenfv" if self._flavour is Flavour.XEN else None
        try:
            return connection.getDomainCapabilities(None, "x86_64", machine, kind)
        except self._link.binding.libvirtError as error:
            if code_of(error) == self._link.binding.VIR_ERR_NO_SUPPORT:
                return ""
            raise
