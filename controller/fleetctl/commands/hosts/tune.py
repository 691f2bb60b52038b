"""fleetctl tune: lifts those limits of a host that can be lifted."""

from __future__ import annotations

import click

from fleetctl.commands.hosts.doctor import TIMEOUT, guests_option
from fleetctl.outcome import Failed, Misuse
from fleetctl.output import counted, doing, say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.command()
@click.argument("host", default="")
@click.option("--plan", is_flag=True, help="Only show what would be changed; the default.")
@click.option("--apply", is_flag=True, help="Change it.")
@click.option("--undo", is_flag=True, help="Bring back what was there before the first change.")
@guests_option
@cluster_options
@pass_session
def tune(
    session: Session, host: str, plan: bool, apply: bool, undo: bool, guests: int | None
) -> None:
    """Lift the limits of a host that stand in the way of so many VMs.

    Changes sysctls, open files of running daemons and module parameters at once, and writes them
    for the next boot into files of its own: in /etc/sysctl.d, /etc/modprobe.d, /etc/udev/rules.d,
    /etc/tmpfiles.d and drop-ins of systemd. What needs a reboot is shown with its file and line,
    and never done. HOST may be left out while there is only one.
    """
    if plan + apply + undo > 1:
        raise Misuse("--plan, --apply and --undo exclude each other")
    wish = "apply" if apply else "undo" if undo else "plan"
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.tuning import failures, tune_json, tune_text

    request = cluster_pb2.HostTuneRequest(host=host, apply=apply, undo=undo, guests=guests or 0)
    with doing("tuning the host ..." if apply or undo else "reading the host's limits ..."):
        limit = session.request_timeout or TIMEOUT
        if apply or undo:
            answer = connection.change(lambda stub: stub.Tune, request, again=True, timeout=limit)
        else:
            answer = connection.call(lambda stub: stub.Tune, request, limit)
    if session.json:
        say_json(tune_json(answer, host, wish))
    else:
        say(tune_text(answer, host, wish).rstrip("\n"))
    if failed := failures(answer):
        raise Failed(f"{counted(failed, 'change')} failed; the rest is done")
