"""fleetctl cluster renew: certificates of the control plane, before they end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetctl.commands.founding.options import (
    checked_replica,
    root_option,
)
from fleetctl.outcome import Misuse, Trouble, Unreachable
from fleetctl.output import note, say, say_json
from fleetctl.session import Session, output_option, pass_session

if TYPE_CHECKING:
    from fleetctl.founding.founder import Founder
    from fleetctl.founding.machine import Machine
    from fleetctl.founding.quorum import EtcdMember


@click.command()
@click.argument("name", required=False, default="")
@click.option(
    "--address", default="", metavar="ADDRESS",
    help="Where others reach NAME, while no member of etcd answers that knows it.",
)  # fmt: skip
@root_option
@output_option
@pass_session
def renew(session: Session, name: str, address: str, root: Path) -> None:
    """Make the control plane's certificates anew, by the same authorities, for another year.

    Without NAME, or with this machine's own: those here, with the operator's, those of etcd's root,
    and the key by which controllers sign hosts. The controller is restarted, which stops no VM.
    With NAME of another controller: a line is printed, to be run there, as with 'add-controller'.
    Renew this machine first, and then each of the others: all sign hosts by the same key.
    """  # fmt: skip
    from fleetctl.founding.founder import Founder
    from fleetctl.founding.machine import Machine
    from fleetctl.founding.replica import written

    founder, machine = Founder.here(), Machine(root)
    here = written(machine)
    if name and (here is None or name != here.name):
        _print_line(session, founder, name, address or _address_of(founder, name, root))
        return
    made = _renew_here(founder, machine)
    others = [f"fleetctl cluster renew {one}" for one in _others(founder, machine)]
    if session.json:
        say_json({"name": here.name if here else None, "made": made, "commands": others})
        return
    say("\n".join(made))
    if others:
        note("then, for the other controllers:")
        say("\n".join(f"  {one}" for one in others))


def _renew_here(founder: Founder, machine: Machine) -> list[str]:
    """What was done, in words. A machine that is no controller has those of who founded alone."""
    from fleetctl.founding import installing, units
    from fleetctl.founding.invitation import Invitation
    from fleetctl.founding.replica import written

    here = written(machine)
    if here is None:
        return founder.renew()
    identities = founder.identities(here)
    installing.refuse_anothers(machine, here, identities)
    made = founder.renew()
    given = Invitation(here, identities, founder.issuing_key(), {}, ())
    made += installing.renew(machine, given)
    return [*made, units.restart_controller(machine, until_ready=False)]


def _print_line(session: Session, founder: Founder, name: str, address: str) -> None:
    from fleetctl.founding.invitation import Invitation

    replica = checked_replica(name, address)
    given = Invitation(
        replica, founder.identities(replica), founder.issuing_key(), {}, (), renews=True
    )
    line = f"echo {given.text()} | fleetctl cluster join -"
    if session.json:
        say_json({"name": name, "address": address, "line": line})
        return
    note(f"on {name} ({address}), as root; it has keys in it:")
    say(line)


def _members(founder: Founder, root: Path) -> list[EtcdMember]:
    from fleetctl.founding.etcd_admin import EtcdAdmin
    from fleetctl.founding.replica import store_clients

    with EtcdAdmin(store_clients(root), founder.root_of_etcd()) as etcd:
        return etcd.members()


def _address_of(founder: Founder, name: str, root: Path) -> str:
    """As etcd's members know it. Raises Trouble."""
    from fleetctl.founding.replica import address_in

    try:
        members = _members(founder, root)
    except Trouble as error:
        raise Unreachable(f"{error.message}; or say with --address where {name} is") from error
    for one in members:
        if one.name == name:
            return address_in(one.peer_url)
    known = ", ".join(one.shown for one in members)
    raise Misuse(f"no member of etcd is called {name}; there are: {known}")


def _others(founder: Founder, machine: Machine) -> list[str]:
    """Names of the other controllers, as far as etcd tells."""
    from fleetctl.founding.replica import written

    here = written(machine)
    if here is None:
        return []
    try:
        members = _members(founder, machine.root)
    except Trouble:
        return []
    return [one.name for one in members if one.name and one.name != here.name]
