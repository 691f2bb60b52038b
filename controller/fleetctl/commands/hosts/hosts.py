"""fleetctl hosts: which there are, how one stands, keeping VMs from one, and verdicts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import Labels, label, selector_option_with
from fleetctl.cli.empty_texts import MAY_BE_EMPTY
from fleetctl.cli.lazy_group import ListingGroup
from fleetctl.cli.paging import more_text, pages
from fleetctl.commands.hosts.claims import approve, bound, pin, unpin
from fleetctl.commands.hosts.cordons import cordon, uncordon
from fleetctl.commands.hosts.expelling import expel, readmit
from fleetctl.commands.hosts.leaving import drain, remove
from fleetctl.commands.hosts.lost import declare_lost, release
from fleetctl.commands.hosts.reset import reset
from fleetctl.output import say, say_json
from fleetctl.session import (
    Session,
    cluster_options,
    connection_options,
    list_options,
    pass_session,
    watch_option,
)
from fleetctl.terminal.shown_list import show_list

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from fleetctl.tables.answer import ListAnswer

PAGE = 1000
HEALTHS = ("live", "unreachable", "suspect", "lost")


@click.group(cls=ListingGroup)
def hosts() -> None:
    """List hosts, show one, say what becomes of it. Without a command: list."""


hosts.add_command(cordon)
hosts.add_command(uncordon)
hosts.add_command(drain)
hosts.add_command(remove)
hosts.add_command(declare_lost)
hosts.add_command(release)
hosts.add_command(bound)
hosts.add_command(pin)
hosts.add_command(unpin)
hosts.add_command(approve)
hosts.add_command(reset)
hosts.add_command(expel)
hosts.add_command(readmit)


@hosts.command("list")
@click.option("--health", type=click.Choice(HEALTHS), default=None, help="Only these.")
@click.option("--cordoned", is_flag=True, help="Only hosts that an operator keeps VMs from.")
@click.option("--draining", is_flag=True, help="Only hosts that are drained, or empty by it.")
@click.option("--quarantined", is_flag=True, help="Only hosts on which too many VMs failed.")
@click.option(
    "--label",
    "labels",
    metavar="NAME=VALUE",
    type=label,
    multiple=True,
    help="Only hosts with this label; may be given several times.",
)
@selector_option_with("Only hosts with all of these labels.")
@click.option(
    "--limit", type=click.IntRange(1, PAGE), default=100, show_default=True, help="At most so many."
)
@click.option("--cursor", type=MAY_BE_EMPTY, default="", help="Where the list before ended.")
@click.option("--all", "everything", is_flag=True, help="All of them, whatever their number.")
@watch_option
@list_options
@connection_options
@pass_session
def list_hosts(
    session: Session,
    health: str | None,
    cordoned: bool,
    draining: bool,
    quarantined: bool,
    labels: Labels,
    selector: Labels,
    limit: int,
    cursor: str,
    everything: bool,
    watch: bool,
) -> None:
    """List hosts: those that all of the options hold for. Lost ones: --health lost."""
    filters = _Filters(health, cordoned, draining, quarantined, dict((*labels, *selector)))

    def look() -> ListAnswer[cluster.HostSummary]:
        found = _pages(session, filters, PAGE if everything else limit, cursor)
        return _listed(list(found) if everything else [next(found)])

    show_list(look, session.listing, watched=watch)


def _listed(answers: Sequence[cluster.ListHostsResponse]) -> ListAnswer[cluster.HostSummary]:
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.views.hosts.host_list import host_columns
    from fleetctl.views.hosts.hosts import host_json

    found = [one for answer in answers for one in answer.hosts]
    last = answers[-1]
    return ListAnswer(
        host_columns(time.time()),
        found,
        lambda: {
            "hosts": [host_json(one) for one in found],
            "matching": last.matching,
            "next_cursor": last.next_cursor,
        },
        "No hosts.",
        more_text(len(found), last),
    )


@dataclass(frozen=True, slots=True)
class _Filters:
    health: str | None
    cordoned: bool
    draining: bool
    quarantined: bool
    labels: Mapping[str, str]


def _pages(
    session: Session, filters: _Filters, limit: int, cursor: str
) -> Iterator[cluster.ListHostsResponse]:
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.enum_names import host_health

    def fetch(cursor: str) -> cluster.ListHostsResponse:
        request = cluster_pb2.ListHostsRequest(
            health=host_health(filters.health),
            cursor=cursor,
            limit=limit,
            selector=filters.labels,
            cordoned_only=filters.cordoned,
            draining_only=filters.draining,
            quarantined_only=filters.quarantined,
        )
        return connection.call(lambda stub: stub.ListHosts, request)

    return pages(fetch, cursor)


@hosts.command("show")
@click.argument("host")
@cluster_options
@pass_session
def show_host(session: Session, host: str) -> None:
    """Show one host: its facts, its capacity, what it runs and what troubles it."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.tables.listing import screen_width
    from fleetctl.views.hosts.hosts import detail_json, detail_text

    answer = connection.call(lambda stub: stub.GetHost, cluster_pb2.GetHostRequest(id=host))
    if session.json:
        say_json(detail_json(answer))
    else:
        say(detail_text(answer, screen_width()))
