"""fleetctl tune: lifts those limits of a host that can be lifted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetctl.commands.hosts.doctor import TIMEOUT, guests_option
from fleetctl.commands.hosts.everywhere import failed as not_well
from fleetctl.commands.hosts.everywhere import on_each, say_outcomes
from fleetctl.commands.hosts.host_choice import Choice, chosen, several_hosts
from fleetctl.outcome import Failed, Misuse
from fleetctl.output import counted, doing, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import agent_pb2 as agent
    from megafleet.connection.cluster import Cluster


@click.command()
@several_hosts(argument=True)
@click.option("--plan", is_flag=True, help="Only show what would be changed; the default.")
@click.option("--apply", is_flag=True, help="Change it.")
@click.option("--undo", is_flag=True, help="Bring back what was there before the first change.")
@guests_option
@cluster_options
@pass_session
def tune(
    session: Session, choice: Choice, plan: bool, apply: bool, undo: bool, guests: int | None
) -> None:
    """Lift the limits of a host that stand in the way of so many VMs.

    Changes sysctls, open files of running daemons and module parameters at once, and writes them
    for the next boot into files of its own: in /etc/sysctl.d, /etc/modprobe.d, /etc/udev/rules.d,
    /etc/tmpfiles.d and drop-ins of systemd. What needs a reboot is shown with its file and line,
    and never done. HOST may be left out while there is only one. Of
    several hosts there is a line for all that agree.
    """
    if plan + apply + undo > 1:
        raise Misuse("--plan, --apply and --undo exclude each other")
    wish = "apply" if apply else "undo" if undo else "plan"
    if choice.of_many:
        _tune_many(session, choice, wish, guests)
        return
    connection, host = session.cluster, choice.one
    from fleetctl.views.hosts.tuning import failures, tune_json, tune_text

    with doing("tuning the host ..." if apply or undo else "reading the host's limits ..."):
        answer = _tuned(connection, host, wish, guests, session.request_timeout)
    if session.json:
        say_json(tune_json(answer, host, wish))
    else:
        say(tune_text(answer, host, wish).rstrip("\n"))
    if failed := failures(answer):
        raise Failed(f"{counted(failed, 'change')} failed; the rest is done")


def _tune_many(session: Session, choice: Choice, wish: str, guests: int | None) -> None:
    """Raises Failed."""
    from fleetctl.views.hosts.tuning import failures, tune_json, tune_words

    limit = session.request_timeout
    outcomes = on_each(
        session, chosen(session, choice), "tuning" if wish != "plan" else "reading limits",
        lambda connection, host: _tuned(connection, host, wish, guests, limit),
    )  # fmt: skip
    say_outcomes(
        session, outcomes,
        lambda answer: tune_words(answer, wish),
        lambda host, answer: tune_json(answer, host, wish),
    )  # fmt: skip
    if count := not_well(outcomes, lambda answer: not failures(answer)):
        raise Failed(f"{counted(count, 'host')} of {len(outcomes):,} could not be tuned whole")


def _tuned(
    connection: Cluster, host: str, wish: str, guests: int | None, limit: float | None
) -> agent.TuneResponse:
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.HostTuneRequest(
        host=host, apply=wish == "apply", undo=wish == "undo", guests=guests or 0
    )
    seconds = limit or TIMEOUT
    if wish == "plan":
        return connection.call(lambda stub: stub.Tune, request, seconds)
    return connection.change(lambda stub: stub.Tune, request, again=True, timeout=seconds)
