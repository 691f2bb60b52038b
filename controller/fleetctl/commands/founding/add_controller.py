"""fleetctl cluster add-controller: the line for one more controller, and its vote in etcd."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetctl.commands.founding.options import (
    checked_replica,
    no_wait_option,
    ports_options,
    root_option,
    timeout_option,
)
from fleetctl.session import Session, output_option, pass_session

if TYPE_CHECKING:
    from fleetctl.founding.membership import Membership


@click.command("add-controller")
@click.argument("name")
@click.option("--address", required=True, metavar="ADDRESS", help="Where others reach it.")
@ports_options
@root_option
@no_wait_option
@timeout_option
@output_option
@pass_session
def add_controller(
    session: Session,
    name: str,
    address: str,
    port: int,
    client_port: int,
    peer_port: int,
    join_port: int,
    root: Path,
    no_wait: bool,
    timeout: float,
) -> None:
    """Print the line that makes another machine a controller, and wait until it is one.

    Its etcd joins as a learner, without a vote, and is given one when it has caught up. The line
    has keys in it: hand it over as you would a key. Ctrl-C ends the waiting alone; the same
    command prints a new line and goes on.
    """  # fmt: skip
    from fleetctl.commands.founding.admitting import admit
    from fleetctl.founding.invitation import Invitation
    from fleetctl.founding.replica import Replica

    replica: Replica = checked_replica(name, address, (port, client_port, peer_port, join_port))

    def invite(membership: Membership) -> Invitation:
        return membership.add(replica)

    admit(session, replica, root, invite, wait=not no_wait, seconds=timeout)
