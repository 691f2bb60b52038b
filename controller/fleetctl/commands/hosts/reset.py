"""fleetctl hosts reset: a distrusted host is made to obey this cluster's controllers."""

from __future__ import annotations

import click

from fleetctl.cli.confirmation import confirm, yes_option
from fleetctl.output import say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.command("reset")
@click.argument("host")
@yes_option
@cluster_options
@pass_session
def reset(session: Session, host: str, yes: bool) -> None:
    """Make a distrusted host obey this cluster's controllers.

    Its agent forgets which leader and which assignment it has heard of, and is told the store's.
    Nothing is stopped: what it runs and the store does not have for it stays, as orphans. Right for
    a host that was moved here from another cluster. Wrong where the store came back older than its
    hosts: then 'fleetctl recover --begin' keeps what they have.
    """
    if not yes:
        question = f"Have {host} forget what it was told, and obey this cluster?"
        confirm("reset", question, "nothing was reset")
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.hosts import host_json

    request = cluster_pb2.ResetHostRequest(id=host)
    answer = connection.change(lambda stub: stub.ResetHost, request, again=True)
    if session.json:
        say_json(host_json(answer))
    else:
        say(f"{answer.id} was reset: it is told what the store has for it")
