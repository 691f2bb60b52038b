"""fleetctl hosts bound, pin, unpin, approve: how far hosts are believed about themselves."""

from __future__ import annotations

import click

from fleetctl.cli.arguments import label
from fleetctl.output import say, say_json
from fleetctl.session import Session, cluster_options, pass_session

MOST_GUESTS = 10_000


@click.command("bound")
@click.argument("host")
@click.option(
    "--max-guests", metavar="NUMBER", type=click.IntRange(0, MOST_GUESTS), required=True,
    help="VMs it may have at most, whatever it claims; 0 takes the bound away.",
)  # fmt: skip
@cluster_options
@pass_session
def bound(session: Session, host: str, max_guests: int) -> None:
    """Say how many VMs a host may have at most.

    Without a bound, a claim of more than 4 times what hosts usually have is void. With one, a host
    is believed up to that, more than others have as well. What runs there stays.
    """
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.hosts import bound_text, host_json

    request = cluster_pb2.BoundHostRequest(host=host, max_guests=max_guests)
    answer = connection.change(lambda stub: stub.BoundHost, request, again=True)
    if session.json:
        say_json(host_json(answer))
    else:
        say(bound_text(answer))


@click.command("pin")
@click.argument("host")
@click.option(
    "--label", "labels", metavar="NAME=VALUE", type=label, multiple=True,
    help="Set this label first; an empty value takes it away. May be given several times.",
)  # fmt: skip
@cluster_options
@pass_session
def pin(session: Session, host: str, labels: tuple[tuple[str, str], ...]) -> None:
    """Keep a host's labels and capacity as they are, whatever it announces."""
    _pin(session, host, dict(labels), undo=False)


@click.command("unpin")
@click.argument("host")
@cluster_options
@pass_session
def unpin(session: Session, host: str) -> None:
    """Take labels and capacity from a host's next announcement again."""
    _pin(session, host, {}, undo=True)


def _pin(session: Session, host: str, labels: dict[str, str], *, undo: bool) -> None:
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.hosts import host_json, pinned_text

    request = cluster_pb2.PinHostRequest(host=host, labels=labels, undo=undo)
    answer = connection.change(lambda stub: stub.PinHost, request, again=True)
    if session.json:
        say_json(host_json(answer))
    else:
        say(pinned_text(answer))


@click.command("approve")
@click.argument("hosts", nargs=-1, required=True, metavar="HOST...")
@cluster_options
@pass_session
def approve(session: Session, hosts: tuple[str, ...]) -> None:
    """Let new hosts have VMs, where controllers run with --approve-hosts."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.hosts import approved_text
    from fleetctl.views.hosts.loss import hosts_json

    request = cluster_pb2.ApproveHostsRequest(hosts=dict.fromkeys(hosts))
    answer = connection.change(lambda stub: stub.ApproveHosts, request, again=True)
    if session.json:
        say_json(hosts_json(answer.hosts))
    else:
        say(approved_text(answer.hosts))
