"""What is remembered with a domain: that its present life was seen ready, and for which restart it
was started."""

from __future__ import annotations

from dataclasses import dataclass

from fleet_agent.core.domain.domain_mark import (
    READY_NAMESPACE,
    START_NAMESPACE,
    ReadySeen,
    parse_ready,
    ready_xml,
    start_xml,
)
from fleet_agent.core.model import Batch
from fleet_agent.drivers.consoles.tail import ConsoleTail
from fleet_agent.drivers.libvirt.binding import Domain
from fleet_agent.drivers.libvirt.connection import LibvirtConnection
from fleet_agent.drivers.libvirt.domains.found import FoundDomains, HostPaths, is_life
from fleet_agent.drivers.libvirt.stalled import is_restored


@dataclass(frozen=True, slots=True)
class DomainLife:
    """One life of a domain: its id, whether it was seen ready, and the last readiness of any."""

    domain_id: int
    ready: bool
    last_ready: ReadySeen | None


class Lives:
    """Of the domains of one libvirt."""

    def __init__(self, link: LibvirtConnection, host: HostPaths, found: FoundDomains) -> None:
        self._link = link
        self._host = host
        self._found = found

    def life(self, batch: Batch, index: int) -> DomainLife:
        """The life that the domain now has.

        Raises ActFailed ("died") when the domain is not active, or not this kin's.
        """
        name = batch.fleet.domain_name(index)
        with self._found.acting("look at", name) as connection:
            found = self._found.living(connection, batch, index)
            seen, domain_id = parse_ready(found.xml), found.domain.ID()
            # What was saved once it was ready is so when it is restored: its id alone is another.
            ready = is_life(seen, self._host.boot_id, domain_id) or (
                seen is not None and is_restored(found.domain)
            )
            return DomainLife(domain_id, ready, seen)

    def remember_ready(self, batch: Batch, tails: dict[int, ConsoleTail], index: int) -> None:
        """Write the readiness with the domain, live and for its next life."""
        name = batch.fleet.domain_name(index)
        with self._found.acting("mark as ready", name) as connection:
            found = self._found.living(connection, batch, index)
            domain_id = found.domain.ID()
            if is_life(parse_ready(found.xml), self._host.boot_id, domain_id):
                return
            tail = tails.get(index)
            inode, read = (tail.inode, tail.read) if tail else (0, 0)
            seen = ReadySeen(self._host.boot_id, domain_id, inode, read)
            self._set_ready(found.domain, ready_xml(seen), live=True)

    def forget_ready(self, domain: Domain) -> None:
        """Before a new life: its console's log begins anew as well."""
        self._set_ready(domain, None, live=False)

    def set_restart(self, domain: Domain, restart: int) -> None:
        """While it is down, so that what runs was started for no less than it says."""
        binding = self._link.binding
        domain.setMetadata(
            binding.VIR_DOMAIN_METADATA_ELEMENT,
            start_xml(restart) if restart else None,
            "start",
            START_NAMESPACE,
            binding.VIR_DOMAIN_AFFECT_CONFIG,
        )

    def _set_ready(self, domain: Domain, xml: str | None, *, live: bool) -> None:
        binding = self._link.binding
        flags = binding.VIR_DOMAIN_AFFECT_CONFIG
        if live:
            flags |= binding.VIR_DOMAIN_AFFECT_LIVE
        domain.setMetadata(
            binding.VIR_DOMAIN_METADATA_ELEMENT, xml, "ready", READY_NAMESPACE, flags
        )
