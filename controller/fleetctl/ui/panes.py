"""The five panes: what each lists, shows of a row, and does with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fleetctl.ui import details
from fleetctl.ui.acts import HOST_ACTS, Act
from fleetctl.ui.background import Age
from fleetctl.ui.lists import EventList, FleetList, HostList, ProblemList
from fleetctl.ui.rows import RowList
from fleetctl.ui.vm_list import VmList
from megafleet.connection.cluster import Cluster

NAMES = ("fleets", "hosts", "vms", "events", "problems")


@dataclass(slots=True)
class Pane:
    """`name_of`: what a row is called in requests. `keys`: what the last line says of keys that
    this pane has for itself."""

    name: str
    rows: RowList[Any]
    details: Callable[[Cluster, Any, int], str]
    name_of: Callable[[Any], str]
    acts: tuple[Act, ...] = ()
    keys: tuple[str, ...] = ()
    at: int = 0  # the place of the row that is chosen
    top: int = 0  # and of the first one in view
    age: Age = field(default_factory=Age)


def all_panes(fleet: str, text: str) -> dict[str, Pane]:
    """In the order of their keys. `fleet`, `text`: whose VMs are listed first, and which."""
    panes = (
        Pane(
            "fleets", FleetList(), details.fleet_details, lambda row: str(row.name),
            keys=("v VMs",),
        ),
        Pane(
            "hosts", HostList(), details.host_details, lambda row: str(row.id), HOST_ACTS,
            ("v VMs", "d drain", "D end drain", "c cordon", "u uncordon"),
        ),
        Pane(
            "vms", VmList(fleet, text), details.vm_details,
            lambda row: str(row[0].fleet.domain_name(row[1].index)),
            keys=("c console", "f next fleet"),
        ),
        Pane("events", EventList(), details.event_details, lambda row: str(row.cursor)),
        Pane(
            "problems", ProblemList(), details.problem_details,
            lambda row: f"{row.kind} {row.about} {row.text}",
        ),
    )  # fmt: skip
    return {one.name: one for one in panes}
