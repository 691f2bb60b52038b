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


def fleet_of(identity: types.FleetIdentity) -> Fleet:
    return Fleet(identity.uid, identity.name, identity.number, identity.site)


def vm_row(fleet: Fleet, row: cluster.VmRow, hosts: Sequence[str]) -> tuple[str | int, ...]:
    name = fleet.domain_name(row.index)
    state = _state(row.state, row.powered_off)
    return name, str(row.index), state, hosts[row.host] or "-", str(row.generation)


def _state(state: int, powered_off: bool) -> str:
    """running; defined, stopped: by an operator, so that it stays so."""
    return f"{state_name(state)}, stopped" if powered_off else state_name(state)


def vm_json(
    fleet: Fleet, row: cluster.VmRow, hosts: Sequence[str], mac_bases: Mapping[int, str]
) -> dict[str, Any]:
    """`host` is null for a VM that is placed nowhere. `mac_bases`: those of generations."""
    return {
        "name": fleet.domain_name(row.index),
        "index": row.index,
        "state": state_name(row.state),
        "powered_off": row.powered_off,
        "host": hosts[row.host] or None,
        "generation": row.generation,
        "uuid": str(fleet.domain_uuid(row.index)),
        "mac": mac(fleet, row.index, mac_bases.get(row.generation, "")),
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
        "mac": mac(fleet, detail.index, detail.spec.network.mac_base),
        "address": address(fleet, detail),
        "image": f"{detail.spec.image.name}@{detail.spec.image.snapshot}",
        "memory_bytes": detail.spec.memory_bytes,
        "vcpus": detail.spec.vcpus,
        "unplaced_reason": detail.unplaced_reason or None,
        "problem": {"kind": problem.kind, "example": problem.example_message} if problem else None,
    }


def mac(fleet: Fleet, index: int, base: str) -> str | None:
    """That of the first interface; None where the template's base has none for this index."""
    try:
        return fleet.interface_mac(index, 0, base)
    except ValueError:
        return None


def address(fleet: Fleet, detail: cluster.VmDetail) -> str | None:
    """What follows from the fleet's prefix; None without one, or when it is too small."""
    try:
        prefix = detail.spec.network.prefix
        return fleet.address(detail.index, prefix) if prefix else None
    except ValueError:
        return None


def detail_text(detail: cluster.VmDetail) -> str:
    shown = detail_json(detail)
    shown["state"] = _state(detail.state, shown.pop("powered_off"))
    shown["memory"] = f"{shown.pop('memory_bytes') >> 20} MiB"
    if problem := shown["problem"]:
        shown["problem"] = f"{problem['kind']}: {problem['example']}"
    known = ((name, value) for name, value in shown.items() if value is not None)
    lines = (f"{name.replace('_', ' '):<17}{value}" for name, value in known)
    return printable("\n".join(lines))
