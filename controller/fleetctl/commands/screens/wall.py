"""fleetctl wall: every VM a pixel, live, in a browser."""

from __future__ import annotations

import click

from fleetctl.output import say
from fleetctl.session import Session, cluster_options, pass_session


@click.command()
@click.option("--no-open", is_flag=True, help="Only print the address; open no browser.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Of 127.0.0.1; by default one that is free.",
)
@cluster_options
@pass_session
def wall(session: Session, no_open: bool, port: int) -> None:
    """Show every VM as a pixel, live, in a browser, until Ctrl-C.

    Serves one page on 127.0.0.1, under an address that nobody can guess, and opens it where there
    is a browser. The page shows what your certificate may see, and changes nothing.
    """
    import threading
    from dataclasses import replace

    from fleetctl.views.cluster.events import event_json
    from fleetctl.wall.feed import Feed
    from fleetctl.wall.questions import Questions
    from fleetctl.wall.server import WallServer
    from megafleet.connection.waiting import no_sign

    connection, ending = session.cluster, threading.Event()
    connection.waiting = no_sign
    connection.plain = True  # also with -o json: what hosts say reaches the page line by line
    questions = Questions(lambda: replace(connection), event_json)
    feed = Feed(lambda: replace(connection), questions, ending)
    feed.check_admitted()  # so that what a page would only show is told here
    with WallServer(feed, port) as server:
        say(server.address)
        if not no_open:
            _open(server.address)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return
        finally:
            ending.set()


def _open(address: str) -> None:
    """Where there is no browser, the address was printed."""
    import os
    import sys
    import webbrowser

    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)
