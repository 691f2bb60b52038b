"""VMs as JSON and as text: rows are compact on the wire, names follow from fleet and index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fleet.identity import Fleet
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.outcome import printable
from fleetctl.views.enum_names import state_name

HEADERS = ("NAME", "INDEX", "STATE", "HOST", "GENERATION")
ADDRESS = "ADDRESS"  # the column of fleets whose networks have prefixes

# By generation: the prefix of each interface, in their order; empty for one without.
Prefixes = Mapping[int, Sequence[str]]


def fleet_of(identity: types.FleetIdentity) -> Fleet:
    return Fleet(identity.uid, identity.name, identity.number, identity.site)


def prefixes_of(answer: cluster.ListVmsResponse) -> Prefixes:
    return {one.generation: one.prefixes for one in answer.networks}


def vm_row(fleet: Fleet, row: cluster.VmRow, hosts: Sequence[str]) -> tuple[str, ...]:
    name = fleet.domain_name(row.index)
    state = _state(row.state, row.powered_off)
    return name, str(row.index), state, hosts[row.host] or "-", str(row.generation)


def row_addresses(fleet: Fleet, row: cluster.VmRow, prefixes: Prefixes) -> str:
    known = prefixes.get(row.generation, ())
    return ", ".join(_address(fleet, row.index, prefix) or "-" for prefix in known) or "-"


def _interfaces(fleet: Fleet, index: int, prefixes: Sequence[str]) -> list[dict[str, str | None]]:
    """Each interface's MAC address, and the address that follows from its prefix."""
    return [
        {"mac": fleet.mac(index, nic), "address": _address(fleet, index, prefix)}
        for nic, prefix in enumerate(prefixes)
    ]


def _state(state: int, powered_off: bool) -> str:
    """running; defined, stopped: by an operator, so that it stays so."""
    return f"{state_name(state)}, stopped" if powered_off else state_name(state)


def vm_json(
    fleet: Fleet, row: cluster.VmRow, hosts: Sequence[str], prefixes: Prefixes
) -> dict[str, Any]:
    """`host` is null for a VM that is placed nowhere. `addresses` are those that follow from
    prefixes, in the order of its interfaces."""
    known = prefixes.get(row.generation, ())
    return {
        "name": fleet.domain_name(row.index),
        "index": row.index,
        "state": state_name(row.state),
        "powered_off": row.powered_off,
        "host": hosts[row.host] or None,
        "generation": row.generation,
        "uuid": str(fleet.domain_uuid(row.index)),
        "mac": fleet.mac(row.index),
        "addresses": [one for prefix in known if (one := _address(fleet, row.index, prefix))],
    }


def detail_json(detail: cluster.VmDetail) -> dict[str, Any]:
    fleet = fleet_of(detail.fleet)
    problem = detail.problem if detail.HasField("problem") else None
    return {
        "name": fleet.domain_name(detail.index),
        "fleet": fleet.name,
        "index": detail.index,
        "state": state_name(detail.state),
        "powered_off": detail.powered_off,
        "host": detail.host or None,
        "host_address": detail.host_address or None,
        "generation": detail.generation,
        "birth": detail.birth,
        "uuid": str(fleet.domain_uuid(detail.index)),
        "mac": fleet.mac(detail.index),
        "address": _address(fleet, detail.index, detail.spec.network.prefix),
        "interfaces": _interfaces(fleet, detail.index, _prefixes(detail.spec)),
        "image": f"{detail.spec.image.name}@{detail.spec.image.snapshot}",
        "memory_bytes": detail.spec.memory_bytes,
        "vcpus": detail.spec.vcpus,
        "unplaced_reason": detail.unplaced_reason or None,
        "problem": {"kind": problem.kind, "example": problem.example_message} if problem else None,
    }


def _prefixes(spec: types.FleetSpec) -> list[str]:
    first = [spec.network] if spec.HasField("network") else []
    return [one.prefix for one in (*first, *spec.more_networks)]


def _address(fleet: Fleet, index: int, prefix: str) -> str | None:
    """What follows from a prefix; None without one, or when it is too small."""
    try:
        return fleet.address(index, prefix) if prefix else None
    except ValueError:
        return None


def detail_text(detail: cluster.VmDetail) -> str:
    shown = detail_json(detail)
    shown["state"] = _state(detail.state, shown.pop("powered_off"))
    shown["memory"] = f"{shown.pop('memory_bytes') >> 20} MiB"
    shown["address"] = ", ".join(one["address"] or "-" for one in shown.pop("interfaces")) or None
    if problem := shown["problem"]:
        shown["problem"] = f"{problem['kind']}: {problem['example']}"
    known = ((name, value) for name, value in shown.items() if value is not None)
    lines = (f"{name.replace('_', ' '):<17}{value}" for name, value in known)
    return printable("\n".join(lines))
