"""fleetctl fleets: all fleets, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fleetctl.output import say, say_json, table
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster


@click.command()
@cluster_options
@pass_session
def fleets(session: Session) -> None:
    """List the fleets."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    answer = connection.call(lambda stub: stub.ListFleets, cluster_pb2.ListFleetsRequest())
    if session.json:
        say_json({"fleets": [fleet_json(one) for one in answer.fleets]})
    elif not answer.fleets:
        say("No fleets. Make one with 'fleetctl apply -f FILE'.")
    else:
        say(table(_HEADERS, [_row(one) for one in answer.fleets]))


_HEADERS = ("FLEET", "TOTAL", "PLACED", "RUNNING", "GENERATION", "IMAGE", "MEMORY", "")


def _row(one: cluster.FleetSummary) -> tuple[str | int, ...]:
    image = f"{one.spec.image.name}@{one.spec.image.snapshot}"
    memory = f"{one.spec.memory_bytes >> 20} MiB"
    deleting = "deleting" if one.deleting else ""
    return (
        one.name, one.total, one.placed, one.running, one.generation, image, memory, deleting,
    )  # fmt: skip


def fleet_json(one: cluster.FleetSummary) -> dict[str, Any]:
    """A fleet as `fleets` and `delete` tell it."""
    return {
        "fleet": one.name,
        "uid": one.uid,
        "number": one.number,
        "total": one.total,
        "placed": one.placed,
        "running": one.running,
        "generation": one.generation,
        "deleting": one.deleting,
        "image": f"{one.spec.image.name}@{one.spec.image.snapshot}",
        "memory_bytes": one.spec.memory_bytes,
        "vcpus": one.spec.vcpus,
    }
