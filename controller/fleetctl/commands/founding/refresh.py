"""fleetctl cluster refresh: this machine's controller told of all members of etcd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet.private_file import said_of
from fleetctl.commands.founding.options import root_option
from fleetctl.outcome import Failed
from fleetctl.output import say, say_json
from fleetctl.session import Session, output_option, pass_session

if TYPE_CHECKING:
    from fleetctl.founding.machine import Machine
    from fleetctl.founding.quorum import Members


@click.command()
@root_option
@output_option
@pass_session
def refresh(session: Session, root: Path) -> None:
    """Tell this machine's controller and its etcd of the members that there are now.

    On each controller, after one was added or replaced: the controller is restarted where its
    settings change, which stops no VM. etcd's settings name the members that a restore makes.
    """  # fmt: skip
    from fleet.transport import Identity
    from fleetctl.founding.etcd_admin import EtcdAdmin
    from fleetctl.founding.machine import Machine
    from fleetctl.founding.replica import store_clients

    machine = Machine(root)
    clients = store_clients(root)
    try:
        identity = Identity.load(machine.etcd_client)
    except OSError as error:
        raise Failed(
            f"the controller's certificate for etcd cannot be read: {said_of(error)}"
        ) from error
    lines: list[str] = []
    with EtcdAdmin(clients, identity) as etcd:
        changed = refresh_settings(machine, etcd.members(), lines.append)
    if session.json:
        say_json({"changed": changed, "clients": store_clients(root)})
    else:
        files = f"{machine.controller_settings} and {machine.etcd_settings}"
        say("\n".join(lines) or f"{files} name all members already")


def refresh_settings(machine: Machine, members: Members, tell: Callable[[str], None]) -> bool:
    """Whether they had to change. Raises Failed, OSError."""
    voting = [one for one in members if not one.learner]
    listed = _name_peers(machine, voting, tell)
    return _name_clients(machine, voting, tell) or listed


def _name_peers(machine: Machine, members: Members, tell: Callable[[str], None]) -> bool:
    """In etcd's settings, for a restore: only where they are ours, and it is one of the members."""
    from fleetctl.founding.machine import write_settings
    from fleetctl.founding.replica import is_ours, with_members
    from fleetctl.local.etcd_member import settings_in

    file = machine.etcd_settings
    try:
        text = file.read_text()
        settings = settings_in(text)
    except FileNotFoundError:
        return False
    except ValueError as error:
        raise Failed(f"{file} cannot be read as settings of etcd: {error}") from error
    peers = {one.name: one.peer_url for one in members if one.name and one.peer_url}
    own = settings.get("ETCD_NAME", "")
    if not is_ours(text, machine.etcd_data) or own not in peers or len(peers) < len(members):
        return False
    wanted = with_members(text, peers)
    if settings_in(wanted) == settings:
        return False
    write_settings(file, wanted)
    tell(f"{file} names {len(peers)} members of etcd now, for a restore")
    return True


def _name_clients(machine: Machine, members: Members, tell: Callable[[str], None]) -> bool:
    from fleetctl.founding import units
    from fleetctl.founding.machine import write_settings
    from fleetctl.founding.replica import clients_in, with_clients

    file = machine.controller_settings
    text = file.read_text()
    there = clients_in(text)
    now = [one.client_url.partition("://")[2] for one in members if one.client_url]
    # Its own member first, as it was.
    wanted = [one for one in there if one in now] + [one for one in now if one not in there]
    if not now or wanted == there:
        return False
    write_settings(file, with_clients(text, wanted))
    tell(f"{file} names {len(wanted)} members of etcd now")
    tell(units.restart_controller(machine))
    return True
