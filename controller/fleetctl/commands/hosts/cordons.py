"""fleetctl hosts cordon, uncordon: hosts that get no further VMs for now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetctl.commands.hosts.everywhere import failed, on_each, say_outcomes
from fleetctl.commands.hosts.host_choice import Choice, chosen, several_hosts
from fleetctl.outcome import Failed
from fleetctl.output import counted, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from megafleet.connection.cluster import Cluster


@click.command("cordon")
@several_hosts(argument=True)
@cluster_options
@pass_session
def cordon(session: Session, choice: Choice) -> None:
    """Place no more VMs on hosts. What runs there goes on."""
    _set(session, choice, cordoned=True)


@click.command("uncordon")
@several_hosts(argument=True)
@cluster_options
@pass_session
def uncordon(session: Session, choice: Choice) -> None:
    """Let cordoned hosts take VMs again."""
    _set(session, choice, cordoned=False)


def _set(session: Session, choice: Choice, *, cordoned: bool) -> None:
    hosts = chosen(session, choice)
    from fleetctl.views.hosts.hosts import cordon_text, cordon_words, host_json

    if not choice.of_many:
        answer = _one(session.cluster, hosts[0], cordoned)
        if session.json:
            say_json(host_json(answer))
        else:
            say(cordon_text(answer))
        return
    outcomes = on_each(
        session, hosts, "cordoning" if cordoned else "uncordoning",
        lambda connection, host: _one(connection, host, cordoned),
    )  # fmt: skip
    say_outcomes(session, outcomes, cordon_words, lambda _, answer: host_json(answer))
    if count := failed(outcomes, lambda answer: answer.cordoned == cordoned):
        raise Failed(f"{counted(count, 'host')} of {len(hosts):,} could not be changed")


def _one(connection: Cluster, host: str, cordoned: bool) -> cluster.HostSummary:
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.SetCordonRequest(id=host, cordoned=cordoned)
    return connection.change(lambda stub: stub.SetCordon, request, again=True)
