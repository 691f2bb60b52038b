"""The files of a machine of the control plane, written from its invitation.

What is there already and is the same machine's stays or is written anew; another's is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from fleet.certificates.authorities import digests
from fleet.transport import Identity
from fleetctl.founding.invitation import Invitation
from fleetctl.founding.machine import (
    CONTROLLER_USER,
    ETCD_USER,
    Machine,
    write_settings,
)
from fleetctl.founding.replica import Replica, controller_text, etcd_text, is_ours, written
from fleetctl.local.certificate_authority import CA_FILE, write_identity, write_issuing
from fleetctl.local.etcd_member import beside, move_aside, refuse_running
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
    _install_certificates(machine, invitation)
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


def renew(machine: Machine, invitation: Invitation) -> list[str]:
    """Certificates and the issuing key anew, and nothing else. What was written, in words. Raises
    Failed, OSError."""
    refuse_anothers(machine, invitation.replica, invitation.identities)
    _install_certificates(machine, invitation)
    return [
        f"certificates of controller {invitation.replica.name} in {machine.settings}, and its copy "
        "of the key by which hosts are signed"
    ]


def refuse_anothers(machine: Machine, meant: Replica, identities: Mapping[str, Identity]) -> None:
    """Raises Failed where certificates are not this machine's, or another cluster's."""
    there = written(machine)
    if there is None or (there.name, there.address) != (meant.name, meant.address):
        here = f"controller {there.name} at {there.address}" if there else "no controller"
        raise Failed(
            f"these are certificates of controller {meant.name} at {meant.address}, and this "
            f"machine is {here}"
        )
    for folder, identity in identities.items():
        file = machine.settings / folder / CA_FILE
        if not _trust_alike(file.read_bytes(), identity.ca):
            raise Failed(
                f"these are certificates of another cluster: {file} is of another authority"
            )


def _trust_alike(one: bytes, other: bytes) -> bool:
    """While an authority is replaced, one of them may be older than the other."""
    return not set(digests(one)).isdisjoint(digests(other))


def _install_certificates(machine: Machine, invitation: Invitation) -> None:
    for folder, identity in invitation.identities.items():
        where = machine.settings / folder
        write_identity(where, identity)
        close_to_others(where)
        machine.hand_over(where, _OWNERS[folder])
    write_issuing(machine.issuing, invitation.issuing)
    close_to_others(machine.issuing)
    machine.hand_over(machine.issuing, CONTROLLER_USER)


def move_data_aside(machine: Machine) -> Path | None:
    """What an earlier member left: a new one begins without. Raises Failed while an etcd runs on
    it."""
    data = machine.etcd_data
    if not (data / "member").exists():
        return None
    refuse_running(data)
    aside = beside(data, f"before-{datetime.now():%Y%m%d-%H%M%S}")
    move_aside(data, aside)
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
