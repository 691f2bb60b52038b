"""fleetctl cluster replace-member: a member of etcd that is gone, and its controller, made anew."""

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


@click.command("replace-member")
@click.argument("name")
@click.option("--address", required=True, metavar="ADDRESS", help="Of the machine in its place.")
@click.option("--new-name", default="", metavar="NAME", help="Another name for it.")
@click.option("--force", is_flag=True, help="Though the old one answers.")
@ports_options
@root_option
@no_wait_option
@timeout_option
@output_option
@pass_session
def replace_member(
    session: Session,
    name: str,
    address: str,
    new_name: str,
    force: bool,
    port: int,
    client_port: int,
    peer_port: int,
    join_port: int,
    root: Path,
    no_wait: bool,
    timeout: float,
) -> None:
    """Take out a member of etcd whose machine or data is gone, and print the line for a new one.

    The same machine, made anew, or another one. It is refused where the members left would be no
    quorum, or where the new one could not be added: nothing is changed then. One that was added at
    a wrong address has no name yet: give its URL, and --new-name. The rest is as with 'cluster
    add-controller'.
    """  # fmt: skip
    from fleetctl.commands.founding.admitting import admit
    from fleetctl.founding.invitation import Invitation

    replica = checked_replica(new_name or name, address, (port, client_port, peer_port, join_port))

    def invite(membership: Membership) -> Invitation:
        return membership.replace(name, replica, force=force)

    admit(session, replica, root, invite, wait=not no_wait, seconds=timeout)
