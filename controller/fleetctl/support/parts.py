"""The parts of a support bundle: what each says, and how it is asked for."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.cli.paging import pages
from fleetctl.support.names import FLEET, HOST, LABEL, Names
from fleetctl.support.redaction import without_command
from fleetctl.views.cluster.events import event_json
from fleetctl.views.cluster.history import record_json
from fleetctl.views.cluster.status import status_json
from fleetctl.views.fleets.fleet_plans import generations_json
from fleetctl.views.fleets.fleets import fleet_json
from fleetctl.views.hosts.hosts import detail_json, host_json
from fleetctl.views.hosts.limits import doctor_json
from fleetctl.views.vms.vms import vm_rows_json
from megafleet.connection.cluster import Cluster
from megafleet.fleet_file.writing import fleet_file_tree

# So much of each is told; the newest, or what comes first.
MOST_HOSTS, HOSTS_A_PAGE = 5000, 1000
MOST_EVENTS, MOST_RECORDS, MOST_FAILING = 2000, 1000, 500
DOCTOR_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the bundle. `ask` gives a JSON document, or a text. Raises Trouble."""

    name: str
    says: str
    ask: Callable[[], Any]


def parts_of(connection: Cluster, hosts: Sequence[str]) -> list[Part]:
    """What is always in it, and of each of these hosts what it is and has."""
    whole: tuple[tuple[str, str, Callable[[Cluster], Any]], ...] = (
        ("versions", "versions of fleetctl, Python and the controller", _versions),
        ("status", "the status of all fleets and of the cluster", _status),
        ("fleets", "fleets: their files and generations, without what VMs are handed", _fleets),
        ("hosts", f"hosts, at most {MOST_HOSTS:,}", all_hosts),
        ("failing", f"VMs that have failed and why, at most {MOST_FAILING}", _failing),
        ("events", f"the last {MOST_EVENTS:,} events", _events),
        ("history", f"the last {MOST_RECORDS:,} changes, and who made them", _history),
    )
    made = [Part(f"{name}.json", says, partial(ask, connection)) for name, says, ask in whole]
    for host in hosts:
        made += [
            Part(f"host-{host}.json", f"{host}: what it is and runs", _detail(connection, host)),
            Part(f"doctor-{host}.json", f"{host}: its limits", _doctor(connection, host)),
        ]
    return made


def all_hosts(connection: Cluster) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    for page in pages(lambda cursor: _hosts_page(connection, cursor), ""):
        found += [host_json(one) for one in page.hosts]
        if len(found) >= MOST_HOSTS:
            break
    return {"hosts": found[:MOST_HOSTS], "matching": page.matching}


def known_names(connection: Cluster) -> Names:
    """Of all fleets and hosts that there are, more of them than a part lists; and what labels of
    hosts say. Raises Trouble."""
    listed = connection.call(lambda stub: stub.ListFleets, cluster.ListFleetsRequest())
    names: Names = {FLEET: {one.name for one in listed.fleets}, HOST: set(), LABEL: set()}
    for page in pages(lambda cursor: _hosts_page(connection, cursor), ""):
        names[HOST].update(one.id for one in page.hosts)
        names[LABEL].update(value for one in page.hosts for value in one.labels.values())
    return names


def chosen_hosts(connection: Cluster, count: int) -> list[str]:
    """Hosts that are worth a closer look: those with most failed VMs, then any."""
    if not count:
        return []
    found = all_hosts(connection)["hosts"]
    by_trouble = sorted(found, key=lambda one: (one["health"] != "live", -one["failed"]))
    return [one["host"] for one in by_trouble[:count]]


def _hosts_page(connection: Cluster, cursor: str) -> cluster.ListHostsResponse:
    request = cluster.ListHostsRequest(limit=HOSTS_A_PAGE, cursor=cursor)
    return connection.call(lambda stub: stub.ListHosts, request)


def _versions(connection: Cluster) -> dict[str, Any]:
    answer = connection.call(lambda stub: stub.Version, cluster.VersionRequest())
    return {
        "fleetctl": version("megafleet"),
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "controller": {
            "version": answer.version,
            "replica": answer.replica,
            "leader": answer.leader,
            "store": answer.store,
            "durable": answer.durable,
        },
    }


def _status(connection: Cluster) -> dict[str, Any]:
    return status_json(connection.call(lambda stub: stub.Status, cluster.StatusRequest()))


def _fleets(connection: Cluster) -> dict[str, Any]:
    answer = connection.call(lambda stub: stub.ListFleets, cluster.ListFleetsRequest())
    return {"fleets": list(_fleet_parts(connection, answer))}


def _fleet_parts(
    connection: Cluster, answer: cluster.ListFleetsResponse
) -> Iterator[dict[str, Any]]:
    for one in answer.fleets:
        request = cluster.ListGenerationsRequest(fleet=one.name)
        listed = connection.call(lambda stub: stub.ListGenerations, request)
        yield {
            **fleet_json(one),
            "file": fleet_file_tree(one.name, one.spec),
            "generations": [_without_values(g) for g in generations_json(listed)["generations"]],
        }


def _without_values(generation: dict[str, Any]) -> dict[str, Any]:
    """Fields that VMs are handed are named, and no more."""
    fields = [
        {**one, "before": "", "after": ""} if one["field"].startswith("identity.") else one
        for one in generation["fields"]
    ]
    return {**generation, "fields": fields}


def _failing(connection: Cluster) -> dict[str, Any]:
    fleets = connection.call(lambda stub: stub.ListFleets, cluster.ListFleetsRequest()).fleets
    found: list[dict[str, Any]] = []
    for one in fleets:
        left = MOST_FAILING - len(found)
        if left <= 0:
            break
        request = cluster.ListVmsRequest(fleet=one.name, state=types.VM_STATE_FAILED, limit=left)
        found += vm_rows_json(connection.call(lambda stub: stub.ListVms, request))
    return {"vms": found}


def _events(connection: Cluster) -> dict[str, Any]:
    request = cluster.ListEventsRequest(limit=MOST_EVENTS)
    answer = connection.call(lambda stub: stub.ListEvents, request)
    return {"events": [event_json(one) for one in answer.events]}


def _history(connection: Cluster) -> dict[str, Any]:
    request = cluster.HistoryRequest(limit=MOST_RECORDS)
    answer = connection.call(lambda stub: stub.History, request)
    return {"records": [without_command(record_json(one)) for one in answer.records]}


def _detail(connection: Cluster, host: str) -> Callable[[], Any]:
    request = cluster.GetHostRequest(id=host)
    return lambda: detail_json(connection.call(lambda stub: stub.GetHost, request))


def _doctor(connection: Cluster, host: str) -> Callable[[], Any]:
    request = cluster.HostDoctorRequest(host=host)
    return lambda: doctor_json(
        connection.call(lambda stub: stub.Doctor, request, DOCTOR_SECONDS), host
    )
