"""What enter shows of a row: the same text as the commands print. Each waits for a controller, on a
thread, where the row does not say all."""

from __future__ import annotations

import time

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.tables.column import Column, Row, cell_text
from fleetctl.views.cluster.events import EVENT_COLUMNS
from fleetctl.views.cluster.problems import PROBLEM_COLUMNS, ProblemRow
from fleetctl.views.fleets.fleet_status import fleet_lines
from fleetctl.views.hosts.hosts import detail_text as host_text
from fleetctl.views.vms.vms import ListedVm, detail_text
from megafleet.connection.cluster import Cluster


def fleet_details(connection: Cluster, row: cluster.FleetSummary, width: int) -> str:
    answer = connection.call(lambda stub: stub.Status, cluster.StatusRequest(fleet=row.name))
    frozen = answer.HasField("freeze")
    return "\n".join(line for one in answer.fleets for line in fleet_lines(one, frozen, width))


def host_details(connection: Cluster, row: cluster.HostSummary, width: int) -> str:
    request = cluster.GetHostRequest(id=row.id)
    return host_text(connection.call(lambda stub: stub.GetHost, request), width)


def vm_details(connection: Cluster, row: ListedVm, width: int) -> str:
    page, vm = row
    request = cluster.GetVmRequest(fleet=page.fleet.name, index=vm.index)
    return detail_text(connection.call(lambda stub: stub.GetVm, request), time.time())


def event_details(_: Cluster, row: cluster.Event, width: int) -> str:
    return _all_columns(EVENT_COLUMNS, row)


def problem_details(_: Cluster, row: ProblemRow, width: int) -> str:
    return _all_columns(PROBLEM_COLUMNS, row)


def _all_columns(columns: tuple[Column[Row], ...], row: Row) -> str:
    """One a line, whole; the last is a sentence of its own."""
    *short, sentence = (cell_text(one, one.value(row), time.time(), whole=True) for one in columns)
    names = [one.name.lower() for one in columns]
    width = max(map(len, names)) + 2
    lines = [f"{name:<{width}}{text}" for name, text in zip(names, short, strict=False)]
    return "\n".join([*lines, "", sentence])
