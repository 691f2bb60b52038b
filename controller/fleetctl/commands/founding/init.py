"""fleetctl cluster init: the first controller of a cluster, on this machine."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from fleetctl.commands.founding.options import (
    checked_operator,
    checked_replica,
    own_address,
    ports_options,
    root_option,
)
from fleetctl.outcome import ExitCode
from fleetctl.output import note, say, say_json
from fleetctl.session import Session, output_option, pass_session


@click.command()
@click.option("--name", default="", metavar="NAME", help="Of this controller; else the machine's.")
@click.option(
    "--address", default="", metavar="ADDRESS",
    help="Where others reach this machine; else its own towards its default route.",
)  # fmt: skip
@click.option("--operator", default="", metavar="NAME", help="Of the first operator; else yours.")
@click.option(
    "--context", "context_name", default="site", show_default=True, metavar="NAME",
    help="What fleetctl calls this cluster.",
)  # fmt: skip
@ports_options
@root_option
@output_option
@pass_session
def init(
    session: Session,
    name: str,
    address: str,
    operator: str,
    context_name: str,
    port: int,
    client_port: int,
    peer_port: int,
    join_port: int,
    root: Path,
) -> int:
    """Make a cluster of this machine: authorities, etcd, controller, and your own context.

    Machines join it as hosts by a token ('fleetctl tokens create').

    etcd and the controller are started as units of systemd. Where that does not run, what is to be
    started is printed; give the same command again once it is, and it goes on. A repeated init
    changes nothing that is there.

    Beside fleetctl's contexts file it keeps both authorities, the key by which controllers
    sign hosts, and the credentials of etcd's root.
    Who has these may be anybody: keep the folder secret, and a copy of it elsewhere.
    """  # fmt: skip
    from fleetctl.founding.first_controller import found
    from fleetctl.founding.founder import Founder
    from fleetctl.founding.machine import Machine

    own_name = name or socket.gethostname().partition(".")[0].lower()
    replica = checked_replica(
        own_name, address or own_address(), (port, client_port, peer_port, join_port)
    )
    tell = (lambda _: None) if session.json else say
    done = found(
        Machine(root),
        Founder.here(),
        replica,
        checked_operator(operator),
        context_name,
        tell,
    )
    if session.json:
        shown = {
            "name": replica.name,
            "endpoint": replica.endpoint,
            "made": done.made,
            "commands": done.commands,
            "done": not done.commands,
        }
        say_json(shown)
    elif done.commands:
        note("systemd does not run here. Run this, in a terminal of its own:")
        say("\n".join(f"  {one}" for one in done.commands))
        note("and give this command again: it goes on from there")
    else:
        say(f"the cluster is there, at {replica.endpoint}; two more controllers:")
        say("  fleetctl cluster add-controller NAME --address ADDRESS")
        say("machines join it as hosts by a token:")
        say("  fleetctl tokens create")
    return ExitCode.NOT_CONVERGED if done.commands else ExitCode.DONE
