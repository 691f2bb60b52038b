"""fleetctl hosts drain, remove: hosts that go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import waiting_time
from fleetctl.cli.confirmation import confirm, must_ask, plan_option, yes_option
from fleetctl.commands.hosts.draining import DrainBounds, confirm_all, drain_all, plan_all
from fleetctl.commands.hosts.host_choice import Choice, chosen, several_hosts
from fleetctl.outcome import ExitCode, Misuse, NotConverged
from fleetctl.output import counted, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster

DEFAULT_TIMEOUT = "1h"


@click.command("drain")
@several_hosts(argument=True)
@click.option("--cancel", is_flag=True, help="Drain no more; what has moved stays where it is.")
@plan_option
@click.option("--no-wait", is_flag=True, help="Return as soon as it is accepted.")
@click.option(
    "--force", is_flag=True,
    help="Give up all that a lost host has, of fleets that would wait for it too.",
)  # fmt: skip
@click.option(
    "--deadline", metavar="TIME", type=waiting_time, default=None,
    help="How long the drain may last: seconds, or 90s, 8m, 2h; see --then.",
)  # fmt: skip
@click.option(
    "--then", "then", type=click.Choice(["stop", "force"]), default=None,
    help="At the deadline: end it as --cancel does (the default), or go on beyond the disruption "
    "budgets of fleets.",
)  # fmt: skip
@click.option(
    "--ignore-budget", is_flag=True,
    help="Heed no disruption budget, from the beginning: the host must go.",
)  # fmt: skip
@click.option(
    "--timeout", metavar="TIME", type=waiting_time,
    default=DEFAULT_TIMEOUT, show_default=True,
    help="How long to wait for it to be empty: seconds, or 90s, 8m, 2h.",
)  # fmt: skip
@yes_option
@cluster_options
@pass_session
def drain(
    session: Session,
    choice: Choice,
    cancel: bool,
    plan_only: bool,
    no_wait: bool,
    force: bool,
    deadline: float | None,
    then: str | None,
    ignore_budget: bool,
    timeout: float,
    yes: bool,
) -> int:
    """Move all VMs off a host, and place no more there.

    Disks do not move: each VM begins elsewhere with a fresh clone. Other hosts clone and define
    first; then this one stops a VM, and when it has let it go the other starts it. What fits on no
    other host stays. Several hosts are drained together. Ctrl-C ends the watching, not the drain:
    then the exit code is 3. No more VMs of a fleet are down at once than its disruption budget
    allows.
    """
    if then and not deadline:
        raise Misuse("--then says what becomes of a drain at its --deadline; give one")
    if deadline and not 0 < deadline < float("inf"):
        raise Misuse("--deadline is a time, such as 30m")
    bounds = DrainBounds(deadline or 0.0, then, ignore_budget)
    if bounds != DrainBounds() and (cancel or force or plan_only):
        raise Misuse("--deadline and --ignore-budget go with neither --cancel, --force nor --plan")
    if cancel and (force or plan_only):
        raise Misuse("--cancel goes with neither --force nor --plan")
    hosts = chosen(session, choice)
    if choice.of_many:
        if plan_only:
            return plan_all(session, hosts, force)
        if not (cancel or yes):
            confirm_all(hosts)
        return drain_all(session, hosts, cancel, no_wait, force, timeout, bounds)
    (host,) = hosts
    if plan_only:
        _say_plan(session, host, force)
        return ExitCode.DONE
    if not (cancel or yes):
        _confirm_drain(session, host, force)
    request = _request(host, cancel, no_wait, force)
    bounds.put_into(request)
    last = _watch(session, host, request, timeout)
    return _say_outcome(session, host, last, cancel, no_wait)


@click.command("remove")
@click.argument("host")
@click.option(
    "--force", is_flag=True,
    help="Though VMs are assigned to it: it is gone for good, and they are placed elsewhere.",
)  # fmt: skip
@plan_option
@yes_option
@cluster_options
@pass_session
def remove(session: Session, host: str, force: bool, plan_only: bool, yes: bool) -> None:
    """Forget a host that has nothing left; see drain.

    With --force one that is dead: a host that answers is never removed so. What it held may be
    placed elsewhere at once; should it still run, it runs twice until the host is heard again,
    which then lets it go.
    """
    if plan_only:
        _say_removal(session, host, force)
        return
    if not yes:
        _confirm_removal(session, host, force)
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.drains import removed_json, removed_text

    request = cluster_pb2.RemoveHostRequest(host=host, force=force)
    answer = connection.change(lambda stub: stub.RemoveHost, request)
    if session.json:
        say_json(removed_json(host, answer))
    else:
        say(removed_text(host, answer))


def _confirm_drain(session: Session, host: str, force: bool) -> None:
    """Raises Failed for a no, and where there is no such host."""
    must_ask("drain")
    from fleetctl.views.hosts.drains import drain_question

    plans = list(session.cluster.follow(lambda stub: stub.Drain, _plan_request(host, force)))
    confirm("drain", drain_question(host, plans[-1]), f"{host} is not drained")


def _confirm_removal(session: Session, host: str, force: bool) -> None:
    """Raises Failed for a no, and where there is no such host."""
    must_ask("remove")
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.GetHostRequest(id=host)
    found = session.cluster.call(lambda stub: stub.GetHost, request).summary
    more = f", with {counted(found.assigned, 'VM')} that it has" if force and found.assigned else ""
    confirm("remove", f"Remove {host}{more}?", f"{host} is not removed")


def _plan_request(host: str, force: bool) -> cluster.DrainRequest:
    from fleet.v1 import cluster_pb2

    return cluster_pb2.DrainRequest(host=host, force=force, plan_only=True)


def _watch_request(host: str) -> cluster.DrainRequest:
    """Follows a drain that was asked for, and starts none: somebody may have cancelled it since."""
    from fleet.v1 import cluster_pb2

    return cluster_pb2.DrainRequest(host=host, watch_only=True)


def _request(host: str, cancel: bool, no_wait: bool, force: bool) -> cluster.DrainRequest:
    from fleet.v1 import cluster_pb2

    return cluster_pb2.DrainRequest(host=host, cancel=cancel, no_wait=no_wait, force=force)


def _watch(
    session: Session, host: str, request: cluster.DrainRequest, timeout: float
) -> cluster.DrainProgress | None:
    """The last that was heard within the time; None when it was interrupted before anything."""
    from fleetctl.terminal.progress_line import progress_line
    from fleetctl.views.hosts.drains import drain_line

    deadline = time.monotonic() + timeout
    last: cluster.DrainProgress | None = None
    with progress_line(json=session.json) as line:
        try:
            answers = session.cluster.follow(
                lambda stub: stub.Drain, request, then=_watch_request(host)
            )
            for last in answers:
                line.show(drain_line(host, last))
                if time.monotonic() >= deadline:
                    break
        except KeyboardInterrupt:
            return last
    return last


def _say_outcome(
    session: Session, host: str, last: cluster.DrainProgress | None, cancel: bool, no_wait: bool
) -> int:
    from fleetctl.views.hosts.drains import drain_json, drain_line, drained_text

    if last is None:
        raise NotConverged(
            f"interrupted before the controller had answered; see 'fleetctl hosts show {host}'"
        )
    outcome = _outcome(last, cancel, no_wait)
    if session.json:
        say_json(drain_json(host, last, outcome))
    elif outcome == "cancelled":
        say(f"{host}: not drained; it takes VMs unless it is cordoned")
    elif outcome == "accepted":
        say(f"{drain_line(host, last)}; the drain goes on")
    elif outcome == "done":
        say(drained_text(host, last))
    if outcome == "going_on":
        raise NotConverged(
            f"no longer watching; the drain of {drain_line(host, last)}; it goes on, and "
            f"'fleetctl hosts drain {host} --cancel' ends it"
        )
    return ExitCode.DONE


def _outcome(last: cluster.DrainProgress, cancel: bool, no_wait: bool) -> str:
    if cancel:
        return "cancelled"
    if last.done:
        return "done"
    return "accepted" if no_wait else "going_on"


def _say_plan(session: Session, host: str, force: bool) -> None:
    from fleetctl.views.hosts.drains import drain_json, drain_plan_text

    for plan in session.cluster.follow(lambda stub: stub.Drain, _plan_request(host, force)):
        if session.json:
            say_json(drain_json(host, plan, "plan"))
        else:
            say(drain_plan_text(host, plan))


def _say_removal(session: Session, host: str, force: bool) -> None:
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.drains import removal_plan_text
    from fleetctl.views.hosts.hosts import detail_json, detail_text

    request = cluster_pb2.GetHostRequest(id=host)
    answer = session.cluster.call(lambda stub: stub.GetHost, request)
    if session.json:
        say_json(detail_json(answer))
    else:
        say(f"{detail_text(answer)}\n\n{removal_plan_text(answer, force)}")
