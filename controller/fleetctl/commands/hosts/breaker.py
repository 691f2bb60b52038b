"""fleetctl breaker: whether lost hosts are replaced, and letting them be in spite of it."""

from __future__ import annotations

import click

from fleetctl.cli.arguments import span
from fleetctl.cli.lazy_group import ShowingGroup
from fleetctl.output import BAD, GOOD, say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.group(cls=ShowingGroup)
def breaker() -> None:
    """Show whether lost hosts are replaced, and have them replaced all the same. Without a
    command: show.

    When too many hosts of a rack, or of all, are gone at once, none of them is declared lost:
    more likely it is their network that is gone, and they come back together.
    """


@breaker.command("show")
@cluster_options
@pass_session
def show(session: Session) -> None:
    """Show what holds up the replacement of hosts, if anything does."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.loss import breaker_json, breaker_text, released_seconds_json

    answer = connection.call(lambda stub: stub.Status, cluster_pb2.StatusRequest())
    if session.json:
        released = released_seconds_json(answer)
        say_json({"breaker": breaker_json(answer), "breaker_released_seconds": released})
    else:
        is_open = answer.HasField("breaker")
        said = breaker_text(answer) or "closed: lost hosts are replaced"
        say(click.style(said, fg=BAD if is_open else GOOD))


@breaker.command("release")
@click.option(
    "--for", "seconds", metavar="DURATION", type=span, default="10m", show_default=True,
    help="How long lost hosts are replaced whatever else is gone: 90s, 10m, 2h.",
)  # fmt: skip
@cluster_options
@pass_session
def release(session: Session, seconds: float) -> None:
    """Replace lost hosts for a while, whatever share of them is gone."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.loss import released_json, released_text

    request = cluster_pb2.ReleaseBreakerRequest(seconds=seconds)
    answer = connection.change(lambda stub: stub.ReleaseBreaker, request, again=True)
    if session.json:
        say_json(released_json(answer))
    else:
        say(released_text(answer, seconds))
