"""Active domains that do not run: halted after an error, or suspended by somebody.

What libvirt pauses for its own ends (a save, a snapshot, a start under way) goes on by itself and
is no matter of ours. The numbers are those of virDomainState and virDomainPausedReason, which
are a stable ABI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from fleet_agent.core.model import Phase
from fleet_agent.drivers.libvirt.binding import Connection, Domain
from fleet_agent.drivers.libvirt.connection import LibvirtConnection

_PAUSED, _CRASHED = 3, 6  # virDomainState
_UNKNOWN, _USER, _IO_ERROR, _WATCHDOG, _GUEST_CRASHED, _POSTCOPY, _API_ERROR = (
    0,
    1,
    5,
    6,
    10,
    13,
    14,
)
_RESTORED = 3  # virDomainRunningReason
_RUNNING = 1

_HALTS = MappingProxyType(
    {
        _UNKNOWN: "an error inside the hypervisor",
        _WATCHDOG: "its watchdog has fired",
        _GUEST_CRASHED: "its guest has crashed",
        _POSTCOPY: "a migration has failed",
    }
)
_IO = "I/O error: a disk of it cannot be read or written, or the file system below it is full"


@dataclass(frozen=True, slots=True)
class Stalled:
    """`phase`: HALTED or SUSPENDED. `why`: in words, for people. `resumable`: it can go on where it
    was; else it has to be started anew."""

    phase: Phase
    why: str
    resumable: bool = True


SUSPENDED = Stalled(
    Phase.SUSPENDED, "somebody has suspended it on its host; 'virsh resume' there lets it go on"
)


def stalled_of(state: int, reason: int) -> Stalled | None:
    """None: it runs, or will by itself."""
    if state == _CRASHED:
        return Stalled(Phase.HALTED, _HALTS[_GUEST_CRASHED], resumable=False)
    if state != _PAUSED:
        return None
    if reason == _USER:
        return SUSPENDED
    if reason == _IO_ERROR:
        return Stalled(Phase.HALTED, _IO)
    if reason == _API_ERROR:
        return Stalled(Phase.HALTED, "libvirt stopped it for a moment, and could not let it go on")
    why = _HALTS.get(reason)
    return Stalled(Phase.HALTED, why, resumable=False) if why else None


def standing(domain: Domain) -> Stalled | None:
    """Of one domain, now."""
    state, reason = domain.state()[:2]
    return stalled_of(state, reason)


def is_restored(domain: Domain) -> bool:
    """Whether it goes on with a life that was saved, under an id of its own."""
    state, reason = domain.state()[:2]
    return (state, reason) == (_RUNNING, _RESTORED)


def stalled_domains(link: LibvirtConnection, connection: Connection) -> Mapping[str, Stalled]:
    """By name; nearly always empty, and then one call for all domains of the host. They are noted,
    so that it is news when one goes on."""
    binding = link.binding
    flags = binding.VIR_CONNECT_LIST_DOMAINS_PAUSED | binding.VIR_CONNECT_LIST_DOMAINS_OTHER
    found = {}
    for domain in connection.listAllDomains(flags):
        try:
            stalled = standing(domain)
        except binding.libvirtError:
            continue  # it has gone meanwhile
        if stalled is not None:
            found[domain.name()] = stalled
    link.expected.note_paused(found)
    return found
