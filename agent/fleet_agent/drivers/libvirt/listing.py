"""What there is: our domains by kin and phase, and the host's facts. Blocking, read only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from lxml import etree

from fleet.keys import NO_EPOCH, Epoch, Kin
from fleet.ranges import IndexSet
from fleet_agent.core.domain.domain_mark import parse_mark, parse_ready, parse_restart, parsed
from fleet_agent.core.domain.marks import Marked
from fleet_agent.core.model import DomainRun, Phase
from fleet_agent.drivers.libvirt.binding import Domain, code_of, message_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection
from fleet_agent.drivers.libvirt.domains.found import INACTIVE, is_life
from fleet_agent.drivers.libvirt.marks import OurDomains
from fleet_agent.drivers.libvirt.stalled import stalled_domains
from fleet_agent.drivers.ports.bridges import Interface
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.hypervisor import HypervisorFacts

MIB = 1024 * 1024


def domain_runs(link: LibvirtConnection, boot_id: str, ours: OurDomains) -> tuple[DomainRun, ...]:
    """Every domain with our mark, noted in `ours` as well. One that vanishes meanwhile is left out.
    Raises DriverError."""
    members: dict[tuple[Kin, Phase, int, str], list[int]] = defaultdict(list)
    newest: dict[Kin, Epoch] = defaultdict(lambda: NO_EPOCH)
    try:
        with link.talk() as connection:
            stalled = stalled_domains(link, connection)
            for domain in connection.listAllDomains():
                seen = _seen(link, domain, boot_id, ours)
                if seen is not None:
                    marked, phase, restart = seen
                    why = ""
                    if phase is not Phase.DEFINED and (stands := stalled.get(domain.name())):
                        phase, why = stands.phase, stands.why
                    members[marked.kin, phase, restart, why].append(marked.index)
                    newest[marked.kin] = max(newest[marked.kin], marked.mark.epoch)
    except link.binding.libvirtError as error:
        raise DriverError(f"cannot list the domains: {message_of(error)}") from error
    return tuple(
        DomainRun(kin, IndexSet.of(indices), phase, restart, newest[kin], why)
        for (kin, phase, restart, why), indices in sorted(members.items())
    )


def host_facts(
    link: LibvirtConnection, max_guests: int, ours: OurDomains, held_by_programs: Callable[[], int]
) -> HypervisorFacts:
    """Memory is what there is for guests of ours: the host's, less what programs hold and what the
    domains of others may use; of these Xen's dom0 is one. Raises DriverError."""
    try:
        with link.talk() as connection:
            memory = connection.getInfo()[1] * MIB
            kept = {domain.UUIDString() for domain, _ in ours.listed(connection)}
            for domain in connection.listAllDomains(link.binding.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                if domain.UUIDString() not in kept:
                    memory -= domain.info()[2] * 1024
            description = (
                f"{connection.getType()} {_version(connection.getVersion())} "
                f"(libvirt {_version(connection.getLibVersion())})"
            )
    except link.binding.libvirtError as error:
        raise DriverError(f"cannot ask libvirt about the host: {message_of(error)}") from error
    return HypervisorFacts(description, max(0, memory - held_by_programs()), max_guests)


def bridge_interfaces(link: LibvirtConnection) -> tuple[Interface, ...]:
    """Of the domains with our mark that are active. Raises DriverError."""
    found: list[Interface] = []
    try:
        with link.talk() as connection:
            for domain in connection.listAllDomains(link.binding.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                try:
                    xml = parsed(domain.XMLDesc())
                except link.binding.libvirtError as error:
                    if code_of(error) != link.binding.VIR_ERR_NO_DOMAIN:
                        raise
                    continue
                if parse_mark(xml) is not None:
                    found += _interfaces(xml)
    except link.binding.libvirtError as error:
        raise DriverError(f"cannot list the domains: {message_of(error)}") from error
    return tuple(found)


def _interfaces(xml: etree._Element) -> Iterator[Interface]:
    for interface in xml.iterfind("devices/interface"):
        source, target = interface.find("source"), interface.find("target")
        if source is not None and target is not None and target.get("dev"):
            yield Interface(target.get("dev", ""), source.get("bridge", ""))


def _seen(
    link: LibvirtConnection, domain: Domain, boot_id: str, ours: OurDomains
) -> tuple[Marked, Phase, int] | None:
    """Its mark, phase, and the restart for which it was last started where it is active."""
    try:
        xml = parsed(domain.XMLDesc())
    except link.binding.libvirtError as error:
        if code_of(error) != link.binding.VIR_ERR_NO_DOMAIN:
            raise
        return None
    marked = parse_mark(xml)
    ours.remember(domain, marked)
    if marked is None:
        return None
    restart = 0
    if domain.ID() == INACTIVE:
        phase = Phase.DEFINED
    else:
        restart = parse_restart(xml)
        ready = is_life(parse_ready(xml), boot_id, domain.ID())
        phase = Phase.READY if ready else Phase.ACTIVE
    return marked, phase, restart


def _version(number: int) -> str:
    """As libvirt codes it: major * 1,000,000 + minor * 1,000 + release."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}"
