"""Whose a domain is, remembered: reading every domain's XML again would cost a call each.

What stands in a mark and matters here, fleet uid and index, does not change while the UUID and
the life of a domain are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet_agent.core.domain.domain_mark import parse_mark, parsed
from fleet_agent.core.domain.marks import Marked
from fleet_agent.drivers.libvirt.binding import Connection, Domain, code_of
from fleet_agent.drivers.libvirt.connection import LibvirtConnection


@dataclass(frozen=True, slots=True)
class Vm:
    """One of our VMs."""

    fleet_uid: str
    index: int


class OurDomains:
    """The domains that carry our mark. For any thread: its one dictionary is only ever replaced,
    asked for a key, or given one."""

    def __init__(self, link: LibvirtConnection) -> None:
        self._link = link
        self._known: dict[tuple[str, int], Vm | None] = {}

    def listed(self, connection: Connection) -> list[tuple[Domain, Vm]]:
        """All of them, active or not; one that vanishes meanwhile is left out. Blocking; raises
        libvirtError."""
        known = self._known
        seen: dict[tuple[str, int], Vm | None] = {}
        ours = []
        for domain in connection.listAllDomains():
            key = (domain.UUIDString(), domain.ID())
            seen[key] = vm = known[key] if key in known else self._read(domain)
            if vm is not None:
                ours.append((domain, vm))
        self._known = seen
        return ours

    def remember(self, domain: Domain, marked: Marked | None) -> None:
        """Somebody has read its XML."""
        self._known[domain.UUIDString(), domain.ID()] = _vm(marked)

    def _read(self, domain: Domain) -> Vm | None:
        try:
            return _vm(parse_mark(parsed(domain.XMLDesc())))
        except self._link.binding.libvirtError as error:
            if code_of(error) != self._link.binding.VIR_ERR_NO_DOMAIN:
                raise
            return None


def _vm(marked: Marked | None) -> Vm | None:
    return None if marked is None else Vm(marked.kin.fleet_uid, marked.index)
