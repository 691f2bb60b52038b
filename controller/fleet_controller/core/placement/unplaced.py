"""Why VMs fit nowhere, in words and with what would help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Capacity, ClusterView, FleetRecord, HostView


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
    fleet: FleetRecord,
    spec: types.FleetSpec,
    view: ClusterView,
    rest: IndexSet,
    releasing: IndexSet,
    size: Sequence[int],
) -> tuple[Unplaced, ...]:
    """One entry for what waits for a release, one for what found no room."""
    found = []
    if releasing:
        found.append(
            Unplaced(
                "releasing",
                releasing,
                0,
                f"{_vms(len(releasing))} wait until the hosts that had them let go",
            )
        )
    if rest:
        found.append(no_room(spec, list(view.hosts.values()), rest, size))
    return tuple(found)


def no_room(
    spec: types.FleetSpec, hosts: Sequence[HostView], rest: IndexSet, size: Sequence[int]
) -> Unplaced:
    """Why these fit on none of the hosts. `size`: of one VM."""

    def unplaced(reason: str, why: str, needed: int = 0) -> Unplaced:
        verb = "fit nowhere" if reason in ("capacity", "per_host") else "cannot be placed"
        return Unplaced(reason, rest, needed, f"{_vms(len(rest))} {verb}: {why}", why)

    if not hosts:
        return unplaced("no_hosts", "no host has announced itself")
    selected = [host for host in hosts if _selected(host, spec.placement)]
    if not selected:
        wanted = ", ".join(f"{k}={v}" for k, v in sorted(spec.placement.selector.items()))
        return unplaced("selector", f"no host is labelled {wanted}")
    open_hosts = [host for host in selected if not _is_shut(host)]
    if not open_hosts:
        none = f"all {len(selected):,} hosts are cordoned, draining, lost or in quarantine"
        return unplaced("cordoned", none)
    reachable = [host for host in open_hosts if host.reachable]
    if not reachable:
        return unplaced("unreachable", f"none of {len(open_hosts):,} hosts can be reached")
    sizes = sorted(_whole(host.record.capacity, spec, size) for host in reachable)
    typical, binding = sizes[len(sizes) // 2]
    needed = -(-len(rest) // typical) if typical else 0
    more = f"; {_counted(needed, 'more host')} like these would do" if needed else ""
    shut = len(selected) - len(reachable)
    aside = f" ({shut:,} more {_are(shut)} cordoned, draining or out of reach)" if shut else ""
    whole = f"{_counted(len(reachable), 'host')} {_are(len(reachable))}"
    full = f"{whole} full at {typical:,} each ({binding}){aside}{more}"
    return unplaced("per_host" if binding == "per_host" else "capacity", full, needed)


def _is_shut(host: HostView) -> bool:
    record = host.record
    return record.cordoned or record.draining or record.lost or bool(record.quarantine)


def _selected(host: HostView, rule: types.Placement) -> bool:
    labels = host.record.labels
    return all(labels.get(key) == value for key, value in rule.selector.items())


def _whole(capacity: Capacity, spec: types.FleetSpec, size: Sequence[int]) -> tuple[int, str]:
    """How many of the fleet an empty host of this capacity takes, and what limits it."""
    limits = [
        (getattr(capacity, name) // each, name.removesuffix("_bytes").replace("_", " "))
        for name, each in zip(Capacity.__struct_fields__, size, strict=True)
        if each and (getattr(capacity, name) or name == "guests")
    ]
    if spec.placement.per_host:
        limits.append((spec.placement.per_host, "per_host"))
    return min(limits)


def _vms(count: int) -> str:
    return _counted(count, "VM")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
