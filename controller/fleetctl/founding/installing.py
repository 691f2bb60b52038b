"""The files of a machine of the control plane, written from its invitation.

What is there already and is the same machine's stays or is written anew; another's is refused.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fleetctl.founding.invitation import Invitation
from fleetctl.founding.machine import (
    CONTROLLER_USER,
    ETCD_USER,
    Machine,
    write_settings,
)
from fleetctl.founding.replica import controller_text, etcd_text, is_ours
from fleetctl.local.certificate_authority import write_identity, write_issuing
from fleetctl.local.etcd_member import refuse_running
from fleetctl.local.key_files import close_to_others
from fleetctl.outcome import Failed

_OWNERS = {"controller": CONTROLLER_USER, "etcd-client": CONTROLLER_USER, "etcd": ETCD_USER}


def refuse_another(machine: Machine) -> None:
    """Raises Failed where etcd's settings are somebody else's, or cannot be written."""
    try:
        text = machine.etcd_settings.read_text()
    except FileNotFoundError:
        return
    if not is_ours(text, machine.etcd_data):
        raise Failed(
            f"{machine.etcd_settings} has settings of another etcd: move that etcd, or the file, "
            "away first; Megafleet runs beside its controller an etcd of its own"
        )


def install(machine: Machine, invitation: Invitation) -> list[str]:
    """Certificates first, settings last: units start once these are there. What was written, in
    words. Raises Failed, OSError."""
    refuse_another(machine)
    replica = invitation.replica
    for folder, identity in invitation.identities.items():
        where = machine.settings / folder
        write_identity(where, identity)
        close_to_others(where)
        machine.hand_over(where, _OWNERS[folder])
    write_issuing(machine.issuing, invitation.issuing)
    close_to_others(machine.issuing)
    machine.hand_over(machine.issuing, CONTROLLER_USER)
    _make_data_folder(machine)
    write_settings(
        machine.etcd_settings,
        etcd_text(machine, replica, invitation.others, invitation.state),
    )
    clients = (replica.client, *invitation.clients)
    write_settings(machine.controller_settings, controller_text(machine, replica, clients))
    return [
        f"certificates in {machine.settings}",
        f"settings of etcd member {replica.name} in {machine.etcd_settings}",
        f"settings of controller {replica.name} in {machine.controller_settings}",
    ]


def move_data_aside(machine: Machine) -> Path | None:
    """What an earlier member left: a new one begins without. Raises Failed while an etcd runs on
    it."""
    data = machine.etcd_data
    if not (data / "member").exists():
        return None
    refuse_running(data)
    aside = data.with_name(f"{data.name}.before-{datetime.now():%Y%m%d-%H%M%S}")
    data.rename(aside)
    return aside


def _make_data_folder(machine: Machine) -> None:
    """Raises Failed."""
    machine.etcd_data.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        close_to_others(machine.etcd_data)
    except NotADirectoryError as error:
        raise Failed(
            f"{machine.etcd_data} is a link, and must be a folder: mount there what is to hold it"
        ) from error
    machine.hand_over(machine.etcd_data, ETCD_USER)
