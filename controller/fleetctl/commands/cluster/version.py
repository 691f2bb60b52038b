"""fleetctl version: of both sides."""

from __future__ import annotations

from typing import Any

import click

from fleetctl.outcome import Trouble, exit_code
from fleetctl.output import note, say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.command()
@click.option("--client", is_flag=True, help="Only fleetctl's own.")
@cluster_options
@pass_session
def version(session: Session, client: bool) -> int | None:
    """Show the versions of fleetctl and of the controller.

    Fleetctl's own is shown also when no controller answers; the exit code is then 4.
    """
    from importlib.metadata import version as installed

    versions: dict[str, Any] = {"client": installed("megafleet"), "controller": None}
    trouble: Trouble | None = None
    lines: list[str] = []
    if not client:
        try:
            versions["controller"], lines = _controller(session)
        except Trouble as error:
            trouble = error
    if session.json:
        say_json(versions)
    else:
        say(f"fleetctl    {versions['client']}")
        if held := versions["controller"]:
            leads = _role(held["leader"], held["leader_address"])
            say(f"controller  {held['version']}  (replica {held['replica']}, {leads})")
            say(f"store       {held['store']}")
            for line in lines:
                say(f"            {line}")
    if trouble:
        note(f"fleetctl: {trouble.message}")
        return exit_code(trouble)
    return None


def _role(leader: bool, leader_address: str) -> str:
    if leader:
        return "leads"
    return f"stands by for {leader_address}" if leader_address else "stands by; none leads"


def _controller(session: Session) -> tuple[dict[str, Any], list[str]]:
    """As JSON, and what is said of the store's health beside it."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.cluster.status import store_json, store_lines

    answer = connection.call(lambda stub: stub.Version, cluster_pb2.VersionRequest())
    health = answer.store_health if answer.HasField("store_health") else None
    held = {
        "version": answer.version,
        "replica": answer.replica,
        "leader": answer.leader,
        "leader_address": answer.leader_address,
        "store": answer.store,
        "durable": answer.durable,
        "store_health": store_json(health),
    }
    return held, list(store_lines(health)) if health is not None else []
