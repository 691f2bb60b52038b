"""Why VMs fit nowhere, in words and with what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.ranges import IndexSet
from fleet_controller.core.model import HostView
from fleet_controller.core.placement.conditions import (
    PerHost,
    Wanted,
    host_conditions,
    lacking,
    room_conditions,
)


@dataclass(frozen=True, slots=True)
class Unplaced:
    """`hosts_needed`: how many more hosts like those here would do; 0 where more do not help.
    `why`: the end of the message, which says nothing of how many VMs."""

    reason: str
    indices: IndexSet
    hosts_needed: int
    message: str
    why: str = ""


def explain(
    wanted: Wanted, hosts: Sequence[HostView], rest: IndexSet, releasing: IndexSet
) -> tuple[Unplaced, ...]:
    """One entry for what waits for a release, one for what found no room."""
    found = []
    if releasing:
        waiting = f"{_vms(len(releasing))} wait until the hosts that had them let go"
        found.append(Unplaced("releasing", releasing, 0, waiting))
    if rest:
        found.append(no_room(wanted, hosts, rest))
    return tuple(found)


def held_back(rest: IndexSet, why: str) -> Unplaced:
    """VMs that are placed nowhere, however much room there is."""
    return _cannot_be_placed(rest, "held_back", why)


def no_room(wanted: Wanted, hosts: Sequence[HostView], rest: IndexSet) -> Unplaced:
    """Why these VMs fit on none of the hosts."""
    if not hosts:
        return _cannot_be_placed(rest, "no_hosts", "no host has announced itself")
    shut = 0
    words: list[str] = []
    lack: list[str] = []
    for condition in host_conditions(wanted, hosts):
        admitted = [host for host in hosts if condition.admits(host)]
        if not admitted:
            why = "; ".join([condition.explain(hosts), *lack])
            return _cannot_be_placed(rest, condition.reason, why)
        apart = len(hosts) - len(admitted)
        if condition.aside:
            shut += apart
            words += condition.aside
        if condition.lacked and apart:
            lack.append(lacking(apart, condition.lacked, "more "))
        hosts = admitted
    aside = f" ({shut:,} more {_are(shut)} {_either(words)})" if shut else ""
    return _all_full(wanted, hosts, rest, "; ".join([aside, *lack]))


def _cannot_be_placed(rest: IndexSet, reason: str, why: str) -> Unplaced:
    return Unplaced(reason, rest, 0, f"{_vms(len(rest))} cannot be placed: {why}", why)


def _all_full(wanted: Wanted, hosts: Sequence[HostView], rest: IndexSet, aside: str) -> Unplaced:
    """Every host that might have some has no room left; `aside`: of those that may have none."""
    conditions = room_conditions(wanted)
    sizes = sorted(min((one.whole(host), one.name) for one in conditions) for host in hosts)
    typical, binding = sizes[len(sizes) // 2]
    needed = -(-len(rest) // typical) if typical else 0
    more = f"; {_counted(needed, 'more host')} like these would do" if needed else ""
    full = f"{_counted(len(hosts), 'host')} {_are(len(hosts))} full at {typical:,} each"
    why = f"{full} ({binding}){aside}{more}"
    reason = "per_host" if binding == PerHost.name else "capacity"
    return Unplaced(reason, rest, needed, f"{_vms(len(rest))} fit nowhere: {why}", why)


def _vms(count: int) -> str:
    return _counted(count, "VM")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
