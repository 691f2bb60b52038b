"""fleetctl ui: a screen to live in."""

from __future__ import annotations

import sys

import click

from fleetctl.cli.arguments import fleet_name
from fleetctl.outcome import Misuse
from fleetctl.output import on_screen
from fleetctl.session import Session, connection_options, pass_session

PANES = ("fleets", "hosts", "vms", "events", "problems")
# Seconds for what is asked again and again: a controller that is silent for longer is told of.
MOST_SECONDS = 5.0
# Rows that are asked for before it is known how many lines there are.
_ROWS = 60


@click.command()
@click.argument("pane", type=click.Choice(PANES), default="fleets")
@click.option(
    "--fleet", metavar="FLEET", type=fleet_name, default="", help="Whose VMs are listed first."
)
@connection_options
@pass_session
def ui(session: Session, pane: str, fleet: str) -> int:
    """See fleets, hosts, VMs, events and problems on one screen, and act on them.

    Arrows choose a row, / filters, s sorts, enter shows details; c opens a VM's console; d drains a
    host, c and u cordon and uncordon it. ? shows all keys, q leaves.
    """
    if not (on_screen() and sys.stdin.isatty()):
        raise Misuse(
            "ui needs a terminal that can be drawn on; for scripts there are status, hosts, vms "
            "and events, with -o json"
        )
    connection = session.cluster
    connection.timeout = min(connection.timeout, MOST_SECONDS)
    from megafleet.connection.waiting import no_sign

    connection.waiting, connection.plain = no_sign, True
    from fleetctl.ui.background import Background
    from fleetctl.ui.panes import all_panes

    panes, background = all_panes(fleet, ""), Background()
    rows = panes[pane].rows
    # While Textual is loaded the controller answers.
    first = background.begin(lambda: rows.ask(connection, 0, _ROWS))
    from fleetctl.ui.app import FleetScreen

    where = ", ".join(connection.context.endpoints[:3])
    screen = FleetScreen(connection, panes, background, pane=pane, where=where, first=first)
    screen.run(mouse=False)  # names are to be marked and copied
    return screen.return_code or 0
