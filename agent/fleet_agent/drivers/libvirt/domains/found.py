"""Domains as they are found: by name, whosever they are, or alive and this very kin's.

Errors of libvirt become ActFailed here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from fleet_agent.core.domain.domain_mark import ReadySeen, parse_mark, parsed
from fleet_agent.core.domain.marks import foreign_mark
from fleet_agent.core.model import Batch
from fleet_agent.drivers.consoles.tail import last_lines
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.libvirt.binding import Connection, Domain, code_of, message_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection

INACTIVE = -1  # what virDomain.ID() answers for a domain that is not active


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


class FoundDomains:
    """Looks into one libvirt."""

    def __init__(self, link: LibvirtConnection, host: HostPaths) -> None:
        self._link = link
        self._host = host

    def by_name(self, connection: Connection, name: str, flags: int = 0) -> FoundDomain | None:
        """The domain of this name, whosever it is; None when there is none, or no longer."""
        try:
            domain = connection.lookupByName(name)
            return FoundDomain(domain, parsed(domain.XMLDesc(flags)))
        except self._link.binding.libvirtError as error:
            if code_of(error) != self._link.binding.VIR_ERR_NO_DOMAIN:
                raise
            return None

    def living(self, connection: Connection, batch: Batch, index: int) -> FoundDomain:
        name = batch.fleet.domain_name(index)
        found = self.by_name(connection, name)
        if found is None or found.domain.ID() == INACTIVE or not found.is_of(batch, index):
            end = ""
            if batch.spec.readiness.console_pattern:
                end = f"; {last_lines(self._host.console(name))}"
            raise ActFailed("died", f"{name} is not running any more{end}")
        return found

    @contextlib.contextmanager
    def acting(self, verb: str, name: str) -> Iterator[Connection]:
        """For one act on the domain of this name. Raises ActFailed."""
        try:
            with self._link.talk() as connection:
                yield connection
        except self._link.binding.libvirtError as error:
            raise ActFailed(
                "hypervisor_error", f"cannot {verb} {name}: {message_of(error)}"
            ) from error


def is_life(seen: ReadySeen | None, boot_id: str, domain_id: int) -> bool:
    """Whether a readiness was seen of the life that the domain now has."""
    return seen is not None and (seen.boot_id, seen.domain_id) == (boot_id, domain_id)


def check_ours(found: FoundDomain, batch: Batch, index: int) -> None:
    if whose := foreign_mark(parse_mark(found.xml), batch, index):
        raise ActFailed(
            "conflict",
            f"a domain {whose} has the name {batch.fleet.domain_name(index)}; it is left alone",
            retry=False,
        )
