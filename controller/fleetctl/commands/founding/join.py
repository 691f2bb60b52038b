"""fleetctl cluster join: a machine made a controller, or given new certificates, by a line that was
printed for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetctl.commands.founding.options import root_option
from fleetctl.output import note, say, say_json
from fleetctl.session import Session, output_option, pass_session

if TYPE_CHECKING:
    from fleetctl.founding.invitation import Invitation
    from fleetctl.founding.machine import Machine


@click.command()
@click.argument("invitation", metavar="LINE")
@root_option
@output_option
@pass_session
def join(session: Session, invitation: str, root: Path) -> None:
    """Make this machine a controller of the cluster that LINE is from; - reads it from stdin.

    It writes certificates and settings, and starts etcd and the controller where systemd runs. Data
    of an earlier member of etcd is moved aside first; it refuses while an etcd runs on it.

    A LINE that 'cluster renew' printed brings new certificates to the controller that this machine
    is: the controller is restarted, which stops no VM, and nothing else is changed.
    """  # fmt: skip
    from fleetctl.founding.installing import renew
    from fleetctl.founding.invitation import read_invitation
    from fleetctl.founding.machine import Machine
    from fleetctl.founding.units import restart_controller

    given = read_invitation(sys.stdin.read(1 << 20) if invitation == "-" else invitation)
    machine = Machine(root)
    if given.renews:
        made, commands = renew(machine, given), list[str]()
        made.append(restart_controller(machine, until_ready=False))
    else:
        made, commands = _made_a_controller(machine, given)
    if session.json:
        shown = {
            "name": given.replica.name,
            "endpoint": given.replica.endpoint,
            "made": made,
            "commands": commands,
        }
        say_json(shown)
        return
    say("\n".join(made))
    if commands:
        note("systemd does not run here. Run these, each in a terminal of its own:")
        say("\n".join(f"  {one}" for one in commands))


def _made_a_controller(machine: Machine, given: Invitation) -> tuple[list[str], list[str]]:
    """What was made, in words, and what is to be started by hand."""
    from fleetctl.founding import units
    from fleetctl.founding.installing import install, move_data_aside, refuse_another

    refuse_another(machine)
    aside = move_data_aside(machine)
    made = install(machine, given)
    if aside:
        made.append(f"what an earlier member of etcd had is in {aside}: remove it when all is well")
    both = (units.etcd_unit(machine), units.controller_unit(machine))
    if not units.has_systemd(machine):
        return made, [units.foreground(machine, unit) for unit in both]
    for unit in both:
        units.start(unit, anew=True)
    made.append("etcd and the controller started: journalctl -u etcd -u fleet-controller")
    return made, []
