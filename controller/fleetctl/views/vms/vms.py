"""VMs as JSON and as text: rows are compact on the wire, names follow from fleet and index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleet.identity import MAX_INDEX, Fleet
from fleet.template.bridges import networks_of
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.outcome import printable
from fleetctl.output import BAD, STATE_STYLES, ago, duration, painted
from fleetctl.tables.column import Column, Kind, iso_text
from fleetctl.views.enum_names import state_name


def fleet_of(identity: types.FleetIdentity) -> Fleet:
    return Fleet(identity.uid, identity.name, identity.number, identity.site)


class VmPage:
    """What the rows of one answer have in common. `heard`: when it came, in seconds since 1970."""

    def __init__(self, answer: cluster.ListVmsResponse, heard: float = 0.0) -> None:
        self.heard = heard
        self.fleet = fleet_of(answer.fleet)
        self.hosts: Sequence[str] = list(answer.hosts)
        self.reasons: Sequence[str] = list(answer.reasons)
        self._networks = {one.generation: one for one in answer.networks}

    def address(self, row: cluster.VmRow) -> str | None:
        """Those of all interfaces, in their order; None where no prefix gives one."""
        prefixes = self.networks(row).prefixes
        if not any(prefixes):
            return None
        return ", ".join(_address(self.fleet, row.index, one) or "-" for one in prefixes)

    def networks(self, row: cluster.VmRow) -> cluster.GenerationNetworks:
        return self._networks.get(row.generation, _NO_NETWORKS)


_NO_NETWORKS = cluster.GenerationNetworks()
# A row, with what its page knows of it besides. A plain pair: a list has a million of them.
ListedVm = tuple[VmPage, cluster.VmRow]


def _state_colour(one: ListedVm) -> str | None:
    return STATE_STYLES[state_name(one[1].state)]


VM_COLUMNS: tuple[Column[ListedVm], ...] = (
    Column("NAME", lambda one: one[0].fleet.domain_name(one[1].index), Kind.NAME),
    Column("INDEX", lambda one: one[1].index, Kind.ORDINAL, rank=9),
    Column(
        "STATE", lambda one: _state(one[1].state, one[1].powered_off), Kind.NAME,
        colour=_state_colour,
    ),
    Column("HOST", lambda one: one[0].hosts[one[1].host] or None, Kind.NAME, rank=1),
    Column("GENERATION", lambda one: one[1].generation, Kind.ORDINAL, rank=8),
    Column("SINCE", lambda one: _since(one[0], one[1]), Kind.AGE, rank=6),
    Column("RESTARTS", lambda one: one[1].restarts or None, Kind.NUMBER, rank=5),
    Column("ADDRESS", lambda one: one[0].address(one[1]), Kind.NAME, rank=4),
    Column("FAILED", lambda one: one[1].since_unix or None, Kind.AGE, rank=3),
    Column("REASON", lambda one: reason_of(one[1], one[0].reasons), rank=2),
    Column("UUID", lambda one: one[0].fleet.domain_uuid_text(one[1].index), Kind.NAME, 20, True),
)  # fmt: skip


def _since(page: VmPage, row: cluster.VmRow) -> float | None:
    """Since when it is in this state; None: for longer than the leader has heard of it."""
    return page.heard - row.state_seconds if row.HasField("state_seconds") else None


def listed_vms(answer: cluster.ListVmsResponse, heard: float) -> list[ListedVm]:
    """The rows of one page. `heard`: when it came, in seconds since 1970."""
    page = VmPage(answer, heard)
    return [(page, row) for row in answer.vms]


def reason_of(row: cluster.VmRow, reasons: Sequence[str]) -> str | None:
    """Why it has failed; None: it has not, or nobody knows."""
    return reasons[row.reason] if 0 < row.reason < len(reasons) else None


def _interfaces(fleet: Fleet, detail: cluster.VmDetail) -> list[dict[str, str | None]]:
    """Each interface's MAC address, and the address that follows from its prefix."""
    return [
        {
            "mac": _mac(fleet, detail.index, nic, network.mac_base),
            "address": _address(fleet, detail.index, network.prefix),
        }
        for nic, network in enumerate(networks_of(detail.spec))
    ]


def _state(state: int, powered_off: bool) -> str:
    """running; defined, stopped: by an operator, so that it stays so."""
    return f"{state_name(state)}, stopped" if powered_off else state_name(state)


def vm_rows_json(answer: cluster.ListVmsResponse) -> list[dict[str, Any]]:
    page = VmPage(answer)
    return [_row_json(page, row) for row in answer.vms]


def _row_json(page: VmPage, row: cluster.VmRow) -> dict[str, Any]:
    """`host` is null for a VM that is placed nowhere, `reason` for one that has not failed.
    `addresses` are those that follow from prefixes, in the order of its interfaces.
    `state_seconds` is null where the state is older than what the leader has heard of it."""
    fleet, index, networks = page.fleet, row.index, page.networks(row)
    base = networks.mac_bases[0] if networks.mac_bases else ""
    addresses = [_address(fleet, index, one) for one in networks.prefixes]
    return {
        "name": fleet.domain_name(index),
        "index": index,
        "state": state_name(row.state),
        "powered_off": row.powered_off,
        "host": page.hosts[row.host] or None,
        "generation": row.generation,
        "uuid": fleet.domain_uuid_text(index),
        "mac": _mac(fleet, index, 0, base),
        "addresses": [one for one in addresses if one],
        "reason": reason_of(row, page.reasons),
        "failed_since_unix": row.since_unix or None,
        "failed_since": iso_text(row.since_unix),
        "state_seconds": row.state_seconds if row.HasField("state_seconds") else None,
        "restarts": row.restarts,
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
        "mac": _mac(fleet, detail.index, 0, detail.spec.network.mac_base),
        "address": _address(fleet, detail.index, detail.spec.network.prefix),
        "interfaces": _interfaces(fleet, detail),
        "image": f"{detail.spec.image.name}@{detail.spec.image.snapshot}",
        "memory_bytes": detail.spec.memory_bytes,
        "vcpus": detail.spec.vcpus,
        "start": _start(detail.spec.start),
        "started": _start(detail.started) if detail.HasField("started") else None,
        "not_cloned": detail.fallback or None,
        "unplaced_reason": detail.unplaced_reason or None,
        "problem": _problem_json(problem) if problem else None,
        "failed_since_unix": detail.failed_since_unix or None,
        "failed_since": iso_text(detail.failed_since_unix),
        "state_seconds": detail.state_seconds if detail.HasField("state_seconds") else None,
        "restarts": detail.restarts,
    }


def _start(start: int) -> str:
    return "clone" if start == types.START_CLONE else "boot"


def _problem_json(problem: agent.Problem) -> dict[str, Any]:
    """`example_index`: the VM that the sentence is of; its host counts others with it."""
    return {
        "kind": problem.kind,
        "example": problem.example_message,
        "example_index": problem.example_index,
        "lasting": problem.lasting,
    }


def _mac(fleet: Fleet, index: int, nic: int, base: str) -> str | None:
    """None where the template's base has none for this index."""
    try:
        return fleet.interface_mac(index, nic, base)
    except ValueError:
        return None


def _address(fleet: Fleet, index: int, prefix: str) -> str | None:
    """What follows from a prefix; None without one, or when it is too small."""
    try:
        return fleet.address(index, prefix) if prefix else None
    except ValueError:
        return None


def detail_text(detail: cluster.VmDetail, now: float) -> str:
    """`now`: seconds since 1970."""
    shown = detail_json(detail)
    shown["state"] = _state(detail.state, shown.pop("powered_off"))
    shown["memory"] = f"{shown.pop('memory_bytes') >> 20} MiB"
    shown["address"] = ", ".join(one["address"] or "-" for one in shown.pop("interfaces")) or None
    if problem := shown["problem"]:
        shown["problem"] = f"{problem['kind']}{_as_other(detail)}: {problem['example']}"
        if problem["lasting"]:
            shown["waiting"] = "does not mend it: mend the reason, then 'fleetctl vms retry'"
    if since := shown.pop("failed_since_unix"):
        shown.pop("failed_since")
        shown["failed_for"] = duration(max(0.0, now - since))
    seconds, restarts = shown.pop("state_seconds"), shown.pop("restarts")
    if seconds is not None:
        shown["state"] += f", since {ago(seconds)}"
    shown["restarts"] = f"{restarts:,} that the leader has seen" if restarts else None
    known = ((name, value) for name, value in shown.items() if value is not None)
    lines = (f"{name.replace('_', ' '):<17}{value}" for name, value in known)
    colours: dict[str, str | None] = dict.fromkeys(("problem", "unplaced reason"), BAD)
    colours["state"] = STATE_STYLES[state_name(detail.state)]
    return painted(printable("\n".join(lines)), colours)


def _as_other(detail: cluster.VmDetail) -> str:
    """Whose sentence it is, where its host has one for all that it counts together."""
    other = detail.problem.example_index
    if other == detail.index or detail.problem.count <= 1 or other > MAX_INDEX:
        return ""
    return f", as {fleet_of(detail.fleet).domain_name(other)}"
