"""fleetctl scale: state a number, and see it become true."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.arguments import fleet_argument, for_so_long, total_option, waiting_time
from fleetctl.cli.confirmation import plan_option
from fleetctl.commands.fleets.plan import show_plan
from fleetctl.outcome import ExitCode, Failed, FailedForGood, NotConverged, Trouble
from fleetctl.output import counted, doing, duration, number, pace_text, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from megafleet.connection.follow import Waiting

DEFAULT_TIMEOUT = "10m"


@click.command()
@fleet_argument
@total_option
@plan_option
@click.option("--partial", is_flag=True, help="Place what fits instead of refusing.")
@click.option(
    "--for",
    "for_time",
    metavar="TIME",
    type=for_so_long,
    default="",
    help="It holds for so long (90s, 30m, 2h, up to 7d), and is then again what it was, or what "
    "the schedule says.",
)
@click.option("--token", default="", help="Of a plan: refused if anything has changed since.")
@click.option("--no-wait", is_flag=True, help="Return as soon as it is accepted.")
@click.option(
    "--timeout",
    metavar="TIME",
    type=waiting_time,
    default=DEFAULT_TIMEOUT,
    show_default=True,
    help="How long to wait for it to be true: seconds, or 90s, 8m, 2h.",
)
@cluster_options
@pass_session
def scale(
    session: Session,
    fleet: str,
    total: int,
    plan_only: bool,
    partial: bool,
    for_time: int,
    token: str,
    no_wait: bool,
    timeout: float,
) -> int:
    """Say how many VMs a fleet has, and wait until it is so.

    Ctrl-C ends the waiting, not the scaling: the cluster goes on, and the exit code is 3. So
    does a timeout. When all that is missing has failed for reasons that no waiting mends, they
    are named and the exit code is 6. The name of the fleet may be left out while there is only one.
    """  # fmt: skip
    if plan_only:
        show_plan(session, fleet, total, partial, for_time)
        return ExitCode.DONE
    started = time.monotonic()
    accepted = _scale(session, fleet, total, partial, token, for_time)
    if for_time and not accepted.schedule.held_until_unix:
        raise Failed(
            f"{accepted.fleet} has {number(accepted.total)} as its total, and not for a time "
            "alone: the controller is older and knows no --for; scale it back by hand"
        )
    if no_wait:
        _say_accepted(session, accepted)
        return ExitCode.DONE
    waiting = _begin(accepted, partial, started)
    ending: Trouble | None = None
    try:
        _watch(session, waiting, timeout)
        ending = _ending(waiting, timeout)
    except KeyboardInterrupt:
        ending = NotConverged(
            f"no longer watching; the scaling of {accepted.fleet} to {number(accepted.total)} is "
            f"still going on, see 'fleetctl watch {accepted.fleet}'"
        )
    elapsed = waiting.progress.elapsed(time.monotonic())
    if session.json:
        say_json(_result(accepted, waiting, elapsed, ending))
    elif ending is None:
        say(f"{_done(waiting, elapsed)}{_until(accepted)}")
    if ending is not None:
        raise ending
    return ExitCode.DONE


def _scale(
    session: Session, fleet: str, total: int, partial: bool, token: str, seconds: int
) -> cluster.ScaleResponse:
    connection = session.cluster
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.ScaleRequest(
        fleet=fleet, total=total, partial=partial, plan_token=token, for_seconds=seconds
    )
    try:
        with doing("planning ..."):
            return connection.change(lambda stub: stub.Scale, request, again=not token)
    except KeyboardInterrupt as interrupt:
        raise NotConverged(
            "interrupted before the controller had answered; it may still be carried out, see "
            "'fleetctl status'"
        ) from interrupt


def _say_accepted(session: Session, accepted: cluster.ScaleResponse) -> None:
    if session.json:
        say_json(_accepted(accepted) | {"outcome": "accepted"})
    else:
        say(
            f"{accepted.fleet}: accepted, {number(accepted.from_total)} -> "
            f"{counted(accepted.total, 'VM')}{_until(accepted)}"
        )


def _until(accepted: cluster.ScaleResponse) -> str:
    """Of a total that holds for a time."""
    from fleetctl.views.fleets.schedules import held_text

    held = accepted.schedule.held_until_unix
    return f"; {held_text(accepted.schedule)}" if held else ""


def _begin(accepted: cluster.ScaleResponse, partial: bool, started: float) -> Waiting:
    from megafleet.connection.follow import Waiting
    from megafleet.progress import ChangeProgress, Goal

    plan = accepted.plan
    goal = Goal(accepted.fleet, accepted.total, accepted.change, partial)
    return Waiting(goal, ChangeProgress(started, work=plan.adds + plan.moves + plan.removes))


def _watch(session: Session, waiting: Waiting, timeout: float) -> None:
    from megafleet.connection.follow import NoViewer, wait

    if session.json:
        wait(session.cluster, waiting, timeout, NoViewer())
        return
    from fleetctl.terminal.progress_viewers import progress_viewer

    with progress_viewer(waiting.progress.started) as viewer:
        wait(session.cluster, waiting, timeout, viewer)


def _ending(waiting: Waiting, timeout: float) -> Trouble | None:
    """What the command ends with when it did not end well; None when it did."""
    from fleetctl.views.fleets.failures import failed_for_good
    from megafleet.progress import GoalState, left

    fleet, status = waiting.goal.fleet, waiting.status
    by = f" by {status.changed_by}" if status and status.changed_by else ""
    if waiting.state is GoalState.SUPERSEDED and status:
        return Failed(f"superseded{by}: the total of {fleet} is {number(status.total)} by now")
    if waiting.state is GoalState.DELETED:
        return Failed(f"superseded{by}: {fleet} is being deleted")
    if waiting.state is GoalState.FAILED_FOR_GOOD and status:
        return failed_for_good(status)
    if waiting.state is GoalState.GOING_ON:
        from fleetctl.views.fleets.fleet_status import why_text

        rest = f"{counted(left(status), 'VM')} to go" if status else "no status was seen"
        if status and (why := why_text(status)):
            rest += f" ({why})"
        return NotConverged(
            f"{fleet} has not converged within {duration(timeout)}, {rest}; it is still going on, "
            f"see 'fleetctl status {fleet}'"
        )
    return None


def _done(waiting: Waiting, elapsed: float) -> str:
    from megafleet.progress import running

    status, work = waiting.status, waiting.progress.work
    assert status is not None  # the state came from it
    runs = f"{status.fleet}: {counted(running(status), 'VM')} running"
    hosts = f" on {counted(status.hosts_used, 'host')}" if status.hosts_used else ""
    changed = f"{counted(work, 'VM')} changed in {duration(elapsed)}"
    speed = f", {pace_text(work / elapsed)}" if work and elapsed > 0 else ""
    missing = (
        f"; {number(status.unplaced)} {'fits' if status.unplaced == 1 else 'fit'} nowhere"
        if status.unplaced
        else ""
    )
    return f"{runs}{hosts}{missing} ({changed}{speed})" if work else f"{runs}{hosts}, as before"


def _accepted(accepted: cluster.ScaleResponse) -> dict[str, Any]:
    from fleetctl.views.fleets.plan import plan_json
    from fleetctl.views.fleets.schedules import schedule_json

    result = plan_json(accepted)
    result.pop("token")
    scheduled = accepted.HasField("schedule")
    schedule = schedule_json(accepted.schedule) if scheduled else None
    return result | {"change": accepted.change, "schedule": schedule}


def _result(
    accepted: cluster.ScaleResponse, waiting: Waiting, elapsed: float, ending: Trouble | None
) -> dict[str, Any]:
    from fleetctl.views.cluster.status import hosts_json
    from fleetctl.views.fleets.fleet_status import fleet_json

    response, status = waiting.response, waiting.status
    outcomes = {
        Failed: "superseded",
        NotConverged: "not_converged",
        FailedForGood: "failed_for_good",
    }
    outcome = outcomes[type(ending)] if ending else "done"
    return _accepted(accepted) | {
        "outcome": outcome,
        "message": ending.message if ending else "",
        "elapsed_seconds": round(elapsed, 3),
        "vms_changed": waiting.progress.work,
        "status": fleet_json(status) if status else None,
        "hosts": hosts_json(response.hosts) if response else None,
    }
