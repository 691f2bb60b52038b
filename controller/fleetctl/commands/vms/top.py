"""fleetctl top: what VMs use."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.arguments import fleet_name
from fleetctl.outcome import Failed, Misuse, Trouble, Unavailable
from fleetctl.output import doing, note, on_screen, say, say_json, say_json_line
from fleetctl.session import Session, connection_options, format_options, pass_session
from fleetctl.tables.formats import JSON, TABLE

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from megafleet.connection.follow import ReachabilityListener

ORDERS = ("cpu", "memory", "network", "block", "name")
MAX_ROWS = 1000
# Of a table that is no screen's.
SHORT = 20
_OTHER_LINES = 5  # of a screen: sums, gap, header, the rest of them, the next prompt
# Seconds a stream is kept before it is opened anew, and between two attempts to open one.
STREAM_SECONDS = 3600.0
PAUSE = 0.5


@click.command()
@click.argument("target", metavar="[HOST|FLEET]", default="")
@click.option("--host", default="", help="Only what runs on this host.")
@click.option("--fleet", metavar="FLEET", type=fleet_name, default="", help="Only this fleet's.")
@click.option(
    "--sort",
    type=click.Choice(ORDERS),
    default="cpu",
    show_default=True,
    help="The greatest users of this first; network and block: in both directions a second.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_ROWS),
    default=None,
    help="At most so many VMs; without it as many as the screen has lines, 20 elsewhere.",
)
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(1, 3600),
    default=2,
    show_default=True,
    help="Between two samples: rates are taken over it.",
)
@click.option("--once", is_flag=True, help="One sample, and leave.")
@format_options
@connection_options
@pass_session
def top(
    session: Session,
    target: str,
    host: str,
    fleet: str,
    sort: str,
    limit: int | None,
    interval: float,
    once: bool,
) -> None:
    """Show what VMs use: CPU, memory, network and disks, summed per host and fleet.

    Live on a terminal until q or Ctrl-C: s sorts by the next of cpu, memory, network, block and
    name, space pauses, arrows scroll, / filters by name and host. Else a table each interval, with
    -o json one JSON object a line. The other formats have the VMs alone, without the sums.
    """  # fmt: skip
    listed = session.listing.output not in (TABLE, JSON) or bool(session.listing.columns)
    if session.listing.of_document and not session.json and not once:
        raise Misuse("without --once, top prints as table, wide, csv, name or json")
    if target:
        host, fleet = _resolved(session, target, host, fleet)
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.enum_names import top_order

    request = cluster_pb2.ClusterTopRequest(
        host=host,
        fleet=fleet,
        interval_seconds=interval,
        limit=limit or 0,
        order=top_order(sort),
        samples=1 if once else 0,
    )
    try:
        if listed:
            samples = iter([_once(connection, request)]) if once else _noted(session, request)
            _list(session, samples)
        elif once:
            _say(session, _once(connection, request), limit, one_of_many=False)
        elif on_screen() and not session.json:
            _live(connection, request, sort)
        else:
            _lines(session, request, limit)
    except KeyboardInterrupt:
        return


def _resolved(session: Session, target: str, host: str, fleet: str) -> tuple[str, str]:
    """What the one argument means: a host or a fleet. Raises Trouble."""
    if host or fleet:
        raise Misuse(f"{target[:80]!r} and --host or --fleet: say which is meant by those alone")
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    fleets = connection.call(lambda stub: stub.ListFleets, cluster_pb2.ListFleetsRequest())
    is_fleet = any(one.name == target for one in fleets.fleets)
    try:
        connection.call(lambda stub: stub.GetHost, cluster_pb2.GetHostRequest(id=target))
        is_host = True
    except Trouble as trouble:
        if trouble.reason != "NO_SUCH_HOST":
            raise
        is_host = False
    if is_host and is_fleet:
        raise Misuse(f"{target} is a host and a fleet: say --host or --fleet")
    if not is_host and not is_fleet:
        raise Failed(f"there is no host and no fleet {target[:80]!r}")
    return (target, "") if is_host else ("", target)


def _once(connection: Any, request: cluster.ClusterTopRequest) -> cluster.ClusterTopSample:
    timeout = request.interval_seconds + connection.timeout
    with doing("asking the hosts ..."):
        for sample in connection.stream(lambda stub: stub.Top, request, timeout):
            found: cluster.ClusterTopSample = sample
            return found
    raise Failed("the controller ended the call without a sample")


def _samples(
    connection: Any, request: cluster.ClusterTopRequest, listener: ReachabilityListener
) -> Generator[cluster.ClusterTopSample, None, None]:
    """Until an interrupt; over failovers of the controller."""
    from megafleet.connection.follow import Reachability

    reachability = Reachability(listener)
    while True:
        try:
            for sample in connection.stream(lambda stub: stub.Top, request, STREAM_SECONDS):
                reachability.answered()
                yield sample
        except Unavailable as trouble:
            reachability.failed(trouble.message)
        time.sleep(PAUSE)


def _live(connection: Any, request: cluster.ClusterTopRequest, order: str) -> None:
    from contextlib import closing

    from fleetctl.terminal.live_run import run_live
    from fleetctl.terminal.live_top import LiveTop
    from fleetctl.views.enum_names import top_order

    shown = LiveTop(order, request.limit or MAX_ROWS)

    def hear() -> None:
        """Asked anew whenever keys want another order, or more."""
        while True:
            wanted = shown.wanted
            request.order, request.limit = top_order(wanted[0]), wanted[1]
            with closing(_samples(connection, request, shown)) as samples:
                for sample in samples:
                    shown.show(sample)
                    if shown.wanted != wanted:
                        break

    run_live(shown, hear)


def _noted(
    session: Session, request: cluster.ClusterTopRequest
) -> Iterator[cluster.ClusterTopSample]:
    from fleetctl.terminal.progress_viewers import ReachabilityNotes

    return _samples(session.cluster, request, ReachabilityNotes())


def _lines(session: Session, request: cluster.ClusterTopRequest, limit: int | None) -> None:
    for sample in _noted(session, request):
        _say(session, sample, limit, one_of_many=True)


def _list(session: Session, samples: Iterator[cluster.ClusterTopSample]) -> None:
    """The VMs of each sample as a list, in the order that was asked for."""
    from fleetctl.tables.listing import Listing, say_document
    from fleetctl.views.vms.top import DOMAIN_COLUMNS, silent_line, top_json

    listing = Listing(DOMAIN_COLUMNS, session.listing)
    for sample in samples:
        if session.listing.of_document:
            say_document(top_json(sample), session.listing.output)
        else:
            listing.say(sample.domains)
        if sample.silent:
            note(silent_line(sample.silent))


def _say(
    session: Session, sample: cluster.ClusterTopSample, limit: int | None, *, one_of_many: bool
) -> None:
    from fleetctl.tables.listing import screen_width
    from fleetctl.views.vms.top import top_json, top_text

    if not session.json:
        text = top_text(sample, screen_width(), *_rows(sample, limit))
        say(text + ("\n" if one_of_many else ""))
    elif one_of_many:
        say_json_line(top_json(sample))
    else:
        say_json(top_json(sample))


def _rows(sample: cluster.ClusterTopSample, limit: int | None) -> tuple[int, int]:
    """How many domains and how many hosts are shown: what the sums are above stays on the
    screen."""
    lines = SHORT
    if on_screen():
        lines = max(2, shutil.get_terminal_size().lines - _OTHER_LINES)
    listed = len(sample.hosts) if len(sample.hosts) > 1 else 0
    hosts = min(listed, max(1, lines // 3))
    taken = hosts + 3 if listed and on_screen() else 0  # its header, the gap, the rest of them
    return limit or max(1, lines - taken), hosts
