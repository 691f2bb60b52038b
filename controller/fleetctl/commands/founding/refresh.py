"""fleetctl cluster refresh: this machine's controller told of all members of etcd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleet.private_file import said_of
from fleetctl.commands.founding.options import root_option
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
    """Tell this machine's controller of the members that etcd has now.

    On each controller, after one was added or replaced: the controller is restarted where its
    settings change, which stops no VM.
    """  # fmt: skip
    from fleet.transport import Identity
    from fleetctl.founding.etcd_admin import EtcdAdmin
    from fleetctl.founding.machine import Machine
    from fleetctl.founding.replica import store_clients
    from fleetctl.outcome import Failed

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
        say("\n".join(lines) or f"{machine.controller_settings} names all members already")


def refresh_settings(machine: Machine, members: Members, tell: Callable[[str], None]) -> bool:
    """Whether they had to change."""
    from fleetctl.founding import units
    from fleetctl.founding.machine import write_settings
    from fleetctl.founding.replica import clients_in, with_clients

    file = machine.controller_settings
    text = file.read_text()
    there = clients_in(text)
    now = [
        one.client_url.partition("://")[2] for one in members if one.client_url and not one.learner
    ]
    # Its own member first, as it was.
    wanted = [one for one in there if one in now] + [one for one in now if one not in there]
    if not now or wanted == there:
        return False
    write_settings(file, with_clients(text, wanted))
    tell(f"{file} names {len(wanted)} members of etcd now")
    tell(units.restart_controller(machine))
    return True
